#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/base/secret.h"

// What a request and a reply are to the proxy, whatever the protocol. A codec
// knows one protocol's bytes; the data path (pkg/proxy) knows clients, servers and
// their order. Nothing here does I/O or allocates per request.

namespace cashew::protocol {

enum class Action : uint8_t {
  kForward,    // to the server of its key, or of all its `keys`; one reply
  kSplit,      // several keys: one part for each server involved, replies merged
  kBroadcast,  // every server, replies merged
  kAnswer,     // the proxy answers with `answer`
  kStats,      // the proxy answers from its own metrics
  kQuit,       // `answer`, and close, once earlier replies are out
};

// How the replies of a request's parts become one.
enum class Merge : uint8_t {
  kBlocks,  // each key's stretch, in the order of the request
  kSum,     // of the numbers that the parts said
  kAgree,   // all did it: one answer says so
  kWhole,   // as Codec::MergeWhole makes of them
};

// Which connection to its server a request needs.
enum class Lease : uint8_t {
  kShared,  // any client's; the client's own, if it has one to that server
  kOnce,    // one that nobody else uses until the reply is here (blocking commands)
  kBegin,   // one that stays this client's until kEnd (WATCH)
  kEnd,     // the last request on that one (EXEC)
};

// Which replies the client does not want to see. The server always answers: the
// words for it (noreply, q) are taken out before a request is forwarded.
enum class Quiet : uint8_t { kNo, kAll, kNominal };

// What came back, as far as the proxy cares.
enum class Outcome : uint8_t {
  kNormal,
  kNominal,      // the uninteresting reply that a quiet request hides
  kServerError,  // the server's own trouble, in step
  kDesync,       // an error to a line that we had validated: in or out of step, who knows
  kInterim,      // a reply that comes before the one the client waits for: nobody sees it
  kUnasked,      // no reply at all, but a message that servers may send at any time: dropped
};

// What a server's error reply says of the server, for the counters.
enum class Trouble : uint8_t { kNone, kLoading, kReadonly, kMasterDown, kOutOfMemory, kBusy };

// Where a word lies in a message.
struct Word {
  size_t begin;
  size_t length;
};

// What routes a command without a key, as in nutcracker.
inline constexpr std::string_view kPlaceholder = "placeholder";

// One parsed request. Views are into the parsed bytes or into `rebuilt`, and hold
// until the next Parse() with this Command. One per worker, reused.
struct Command {
  Action action = Action::kAnswer;
  Quiet quiet = Quiet::kNo;
  Merge merge = Merge::kBlocks;
  Lease lease = Lease::kShared;
  bool close_after = false;     // kAnswer: the two sides are out of step
  bool is_read = false;         // changes nothing, so `get_errors: miss` may answer it
  bool expires = true;          // fails after the pool's timeout (noreply does not)
  bool shed_when_full = false;  // carries a value: refused first when memory is short
  bool barrier = false;         // nothing more is parsed until the client has its reply
  bool login_failed = false;    // kAnswer: for the counters
  uint8_t reply_kind = 0;       // for the codec's ReplyParser
  uint8_t group = 0;            // of server connections: one for each version of the protocol
  bool scan = false;            // kForward to server `scan_at`, not by key: a walk over all servers
  uint32_t scan_at = 0;         // index of the server, in the snapshot whose …
  uint32_t scan_check = 0;      // … checksum this is part of; 0: the walk begins
  uint32_t interim = 0;         // replies that come before the one that counts
  uint32_t signature = 0;       // of `key`, when the reply names the key; else 0
  uint32_t gets = 0;            // keys whose values it gets, for the hit ratio; else 0
  int64_t wait_ms = -1;         // how long the server may take: -1 the pool's timeout, 0 for ever
  int64_t delay_ms = 0;         // kAnswer: not sooner than this

  std::string_view key;   // what routes it
  std::string_view head;  // what the server gets: head, then body
  std::string_view body;
  std::string_view answer;               // kAnswer, kQuit
  std::string_view verb, verb_argument;  // kSplit: what each part begins with
  // kSplit: the keys. kForward, when there are several: they must share a server.
  std::vector<std::string_view> keys;
  // kSplit: each key's bytes as its part carries them; empty: the key itself.
  std::vector<std::string_view> stretches;

  std::string rebuilt;  // backs `head` or `answer` when the bytes were not fit as they came
  std::string decoded;  // backs `key` when it came encoded
  // Scratch of parsers, here so that an idle client holds none.
  std::vector<std::string_view> words;
  std::vector<Word> places;
  std::vector<uint32_t> positions;

  // As new; the memory stays.
  void Clear() {
    action = Action::kAnswer;
    quiet = Quiet::kNo;
    merge = Merge::kBlocks;
    lease = Lease::kShared;
    close_after = is_read = shed_when_full = barrier = login_failed = false;
    expires = true;
    reply_kind = group = 0;
    scan = false;
    scan_at = scan_check = 0;
    interim = signature = gets = 0;
    wait_ms = -1;
    delay_ms = 0;
    key = head = body = answer = verb = verb_argument = {};
    keys.clear();
    stretches.clear();
  }
};

enum class ParseStatus : uint8_t { kDone, kNeedMore, kInvalid };

struct ParseResult {
  ParseStatus status = ParseStatus::kNeedMore;
  // Bytes at the front that are dealt with. kNeedMore may consume too (a value
  // that is being skipped).
  size_t consumed = 0;
  // kNeedMore: the message's size as far as it is known, so that the reader can make
  // room for it at once; more than it was given, or 0.
  size_t wanted = 0;
  // kNeedMore: the message is all here, but takes effect only when the client's earlier
  // requests are answered: call again then, with the same bytes.
  bool alone = false;
};

// One client connection's requests. Keeps its place inside a partial request, so
// a request may arrive cut at any byte; never scans a byte twice.
class RequestParser {
 public:
  virtual ~RequestParser() = default;
  // Parses from the front of `in`, which begins where the last consumed byte
  // ended. After kInvalid the connection is to be closed without a word.
  virtual ParseResult Parse(std::string_view in, Command* out) = 0;
  // Gives up the message whose size Parse() last told (`wanted`): the rest of it is
  // passed over. The caller answers for it, unless the client wants no reply: which
  // of them is returned.
  virtual Quiet SkipMessage() = 0;
  // Bytes that it keeps for this client (a queued transaction).
  virtual size_t held_bytes() const { return 0; }
  // False while the client has yet to log in.
  virtual bool trusted() const { return true; }
  // The command's group of server connections cannot be had (the servers do not speak
  // it): back to the one before. Returns the answer.
  virtual std::string RefuseGroup() { return {}; }
  // What a parser in another process must know to go on with this client, between two
  // requests; nothing when it cannot be told now (a transaction is queued, a message is
  // being passed over).
  virtual std::optional<std::string> SaveState() const = 0;
  // On a new parser: what SaveState() gave. False when it is not that.
  virtual bool RestoreState(std::string_view state) = 0;
};

// What a server owes for one request it was sent.
struct Expectation {
  uint8_t reply_kind = 0;
  // Signatures of the keys asked for, in order, when the reply names keys. The
  // parser moves `next` along; a key that is not among those left is a desync.
  const uint32_t* signatures = nullptr;
  uint32_t count = 0;
  uint32_t next = 0;
  uint32_t interim = 0;  // replies to pass over first; the parser counts it down
  int64_t number = 0;    // Merge::kSum, or a walk's cursor: what the reply said
  uint32_t found = 0;    // values in the reply to Command::gets
};

// A stretch of a multi-key reply that belongs to one key.
struct Block {
  uint32_t key;  // its index among the part's keys
  uint32_t bytes;
};

// One server connection's replies.
class ReplyParser {
 public:
  struct Result {
    ParseStatus status = ParseStatus::kNeedMore;  // kInvalid: not this protocol
    Outcome outcome = Outcome::kNormal;           // with kDone
    // Bytes at the front that belong to the reply; the caller takes them away.
    size_t consumed = 0;
    // kNeedMore inside a value: how many of its bytes are still to come.
    size_t body_left = 0;
    // As many of the consumed bytes, from the front, are not for the client: frames that
    // merging makes anew, and all of kInterim and kUnasked.
    size_t dropped = 0;
    Trouble trouble = Trouble::kNone;  // with kDone
  };

  virtual ~ReplyParser() = default;
  // `blocks`, when not null, gets an entry for each key's stretch that begins in
  // these bytes.
  virtual Result Parse(std::string_view in, Expectation* expect, std::vector<Block>* blocks) = 0;
  // True when `in` begins, or goes on with, a message that belongs to no request.
  virtual bool IsUnasked(std::string_view in) const { return false; }
};

// What is said on a new server connection before any request: login, database.
class Greeting {
 public:
  virtual ~Greeting() = default;
  virtual std::string_view request() const = 0;
  // Takes what the server answers; stray bytes behind the answers are kInvalid, like a
  // refusal. The bytes must be given again, with more, after kNeedMore.
  virtual ParseStatus Check(std::string_view replies) = 0;
  // After kInvalid: what to tell clients and the log. After kDone: a warning, or empty.
  virtual const std::string& problem() const = 0;
  // After kInvalid: the server does not speak this group's version of the protocol.
  virtual bool not_spoken() const = 0;
};

// Names and values.
using Stats = std::vector<std::pair<std::string, std::string>>;

// One protocol. Immutable, shared by threads.
class Codec {
 public:
  struct Limits {
    bool strict = false;  // nutcracker's hang-ups instead of error lines
    bool allow_flush = false;
    size_t max_value = 64 << 20;  // a larger value is refused, and skipped
    // What clients of the pool must say, and what its servers are told.
    base::Secret password;
    std::string user;  // empty: the servers' default user
    int database = 0;
    bool cluster_commands = false;    // asks every server
    bool dangerous_commands = false;  // the same for those that empty or list everything
  };
  // Groups of server connections: 0 is any client's first.
  static constexpr uint8_t kGroups = 2;

  virtual ~Codec() = default;
  // `limits` outlives the parser, and may change between two calls to it.
  virtual std::unique_ptr<RequestParser> NewRequestParser(const Limits& limits) const = 0;
  std::unique_ptr<RequestParser> NewRequestParser(Limits&& limits) const = delete;
  virtual std::unique_ptr<ReplyParser> NewReplyParser(uint8_t group) const = 0;
  // Null when there is nothing to say.
  virtual std::unique_ptr<Greeting> NewGreeting(const Limits& limits, uint8_t group) const {
    return nullptr;
  }

  // Appends to `out` the request for some of a kSplit command's keys (their stretches,
  // when it has them).
  virtual void EncodePart(const Command& command, std::span<const std::string_view> keys,
                          std::string* out) const = 0;
  // How many of `keys`, from the front, fit one request to a server.
  virtual size_t KeysPerPart(const Command& command,
                             std::span<const std::string_view> keys) const = 0;
  // What a merged reply begins and ends with: `keys` of the request, `sum` of the parts.
  // A part's reply, as its parser leaves it, ends with the same end.
  virtual std::string MergedBegin(Merge merge, size_t keys, int64_t sum) const = 0;
  virtual std::string_view MergedEnd(Merge merge) const = 0;
  // A read that found nothing: the answer of `get_errors: miss`.
  virtual std::string_view Miss(uint8_t reply_kind) const = 0;
  // Merge::kWhole: one reply of the parts' replies, in the order of servers.
  virtual std::string MergeWhole(uint8_t reply_kind,
                                 const std::vector<std::string>& replies) const {
    return Error("cannot merge");
  }
  // A walk over all servers: the part of a membership checksum that its cursors carry, and
  // what begins the reply: the server's cursor, or the next server's first.
  virtual uint32_t ScanCheck(uint32_t membership_checksum) const { return 0; }
  virtual std::string ScanBegin(uint32_t server, size_t servers, uint32_t check,
                                int64_t cursor) const {
    return {};
  }
  // The word that a request begins with, as its client wrote it; `message` are its bytes. Empty
  // when there is none.
  virtual std::string_view CommandWord(std::string_view message) const = 0;
  // An error line made by the proxy: "SERVER_ERROR text\r\n".
  virtual std::string Error(std::string_view text) const = 0;
  // Whether an answer of the proxy's own is an error.
  virtual bool IsError(std::string_view answer) const = 0;
  // The keys of a request that one server must answer lie on several.
  virtual std::string CrossServer() const { return Error("keys are on several servers"); }
  // The answer of kStats.
  virtual std::string FormatStats(const Stats& stats) const = 0;
  // The request that makes a connection fit for another client; one reply.
  virtual std::string_view ResetRequest() const { return {}; }

  // The request of a health probe, and whether `reply` answers it: kDone yes,
  // kNeedMore not yet, kInvalid no.
  virtual std::string_view ProbeRequest() const = 0;
  virtual ParseStatus CheckProbe(std::string_view reply) const = 0;
};

// Tells keys apart, well enough to notice a reply to another request. Never 0.
uint32_t KeySignature(std::string_view key);

// The letters, digits, '-' and '_' that `text` begins with.
std::string_view FirstWord(std::string_view text);

const Codec& MemcachedCodec();
const Codec& RedisCodec();

}  // namespace cashew::protocol

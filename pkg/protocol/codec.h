#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// What a request and a reply are to the proxy, whatever the protocol. A codec
// knows one protocol's bytes; the data path (pkg/proxy) knows clients, servers and
// their order. Nothing here does I/O or allocates per request.

namespace cashew::protocol {

enum class Action : uint8_t {
  kForward,    // one key, one server, one reply
  kSplit,      // several keys: one part for each server involved, replies merged
  kBroadcast,  // every server; one reply says they all agreed
  kAnswer,     // the proxy answers with `answer`
  kStats,      // the proxy answers from its own metrics
  kQuit,       // close once earlier replies are out
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
};

// One parsed request. Views are into the parsed bytes or into `rebuilt`, and hold
// until the next Parse() with this Command. One per worker, reused.
struct Command {
  Action action = Action::kAnswer;
  Quiet quiet = Quiet::kNo;
  bool close_after = false;     // kAnswer: the two sides are out of step
  bool is_read = false;         // changes nothing, so `get_errors: miss` may answer it
  bool expires = true;          // fails after the pool's timeout (noreply does not)
  bool shed_when_full = false;  // carries a value: refused first when memory is short
  uint8_t reply_kind = 0;       // for the codec's ReplyParser
  uint32_t signature = 0;       // of `key`, when the reply names the key; else 0

  std::string_view key;   // what routes it
  std::string_view head;  // what the server gets: head, then body
  std::string_view body;
  std::string_view answer;               // kAnswer
  std::vector<std::string_view> keys;    // kSplit
  std::string_view verb, verb_argument;  // kSplit: what each part begins with

  std::string rebuilt;  // backs `head` when the line was not fit to forward as it came
  std::string decoded;  // backs `key` when it came encoded
};

enum class ParseStatus : uint8_t { kDone, kNeedMore, kInvalid };

struct ParseResult {
  ParseStatus status = ParseStatus::kNeedMore;
  // Bytes at the front that are dealt with. kNeedMore may consume too (a value
  // that is being skipped).
  size_t consumed = 0;
  // kNeedMore: the whole message's size when known, so that the reader can make
  // room for it at once; else 0.
  size_t wanted = 0;
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
};

// What a server owes for one request it was sent.
struct Expectation {
  uint8_t reply_kind = 0;
  // Signatures of the keys asked for, in order, when the reply names keys. The
  // parser moves `next` along; a key that is not among those left is a desync.
  const uint32_t* signatures = nullptr;
  uint32_t count = 0;
  uint32_t next = 0;
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
  };

  virtual ~ReplyParser() = default;
  // `blocks`, when not null, gets an entry for each key's stretch that begins in
  // these bytes.
  virtual Result Parse(std::string_view in, Expectation* expect, std::vector<Block>* blocks) = 0;
};

// One protocol. Immutable, shared by threads.
class Codec {
 public:
  struct Limits {
    bool strict = false;  // nutcracker's hang-ups instead of error lines
    bool allow_flush = false;
    size_t max_value = 64 << 20;  // a larger value is refused, and skipped
  };

  virtual ~Codec() = default;
  virtual std::unique_ptr<RequestParser> NewRequestParser(const Limits& limits) const = 0;
  virtual std::unique_ptr<ReplyParser> NewReplyParser() const = 0;

  // Appends to `out` the request for some of a kSplit command's keys.
  virtual void EncodePart(const Command& command, std::span<const std::string_view> keys,
                          std::string* out) const = 0;
  // How many of `keys`, from the front, fit one request to a server.
  virtual size_t KeysPerPart(const Command& command,
                             std::span<const std::string_view> keys) const = 0;
  // What ends a merged reply, and what each part's reply ends with.
  virtual std::string_view MergedEnd() const = 0;
  // A read that found nothing: the answer of `get_errors: miss`.
  virtual std::string_view Miss(uint8_t reply_kind) const = 0;
  // All servers did what a broadcast asked.
  virtual std::string_view BroadcastOk() const = 0;
  // An error line made by the proxy: "SERVER_ERROR text\r\n".
  virtual std::string Error(std::string_view text) const = 0;

  // The request of a health probe, and whether `reply` answers it: kDone yes,
  // kNeedMore not yet, kInvalid no.
  virtual std::string_view ProbeRequest() const = 0;
  virtual ParseStatus CheckProbe(std::string_view reply) const = 0;
};

// Tells keys apart, well enough to notice a reply to another request. Never 0.
uint32_t KeySignature(std::string_view key);

const Codec& MemcachedCodec();

}  // namespace cashew::protocol

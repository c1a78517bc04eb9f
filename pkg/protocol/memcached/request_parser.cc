#include "pkg/protocol/memcached/request_parser.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>

namespace cashew::protocol::memcached {
namespace {

constexpr std::string_view kBadLine = "CLIENT_ERROR bad command line format\r\n";
constexpr std::string_view kBadKey = "CLIENT_ERROR key has a control character\r\n";
constexpr std::string_view kLongKey = "CLIENT_ERROR key is longer than 250 bytes\r\n";
constexpr std::string_view kBadChunk = "CLIENT_ERROR bad data chunk\r\n";
constexpr std::string_view kLongLine = "CLIENT_ERROR line too long\r\n";
constexpr std::string_view kBareLf = "CLIENT_ERROR line must end in CRLF\r\n";
constexpr std::string_view kBadDelta = "CLIENT_ERROR invalid numeric delta argument\r\n";
constexpr std::string_view kBadExptime = "CLIENT_ERROR invalid exptime argument\r\n";
constexpr std::string_view kBadDelete =
    "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n";
constexpr std::string_view kTooLarge = "SERVER_ERROR object too large for cache\r\n";
constexpr std::string_view kBinary =
    "CLIENT_ERROR the binary protocol is not supported, use the text protocol\r\n";
constexpr std::string_view kRefused = "CLIENT_ERROR command not available through the proxy\r\n";
constexpr std::string_view kBadFlag = "CLIENT_ERROR invalid flag\r\n";
constexpr std::string_view kDuplicateFlag = "CLIENT_ERROR duplicate flag\r\n";
constexpr std::string_view kBadToken = "CLIENT_ERROR bad token in command line format\r\n";
constexpr std::string_view kLongOpaque = "CLIENT_ERROR opaque token too long\r\n";
constexpr std::string_view kBadBase64 = "CLIENT_ERROR error decoding key\r\n";

constexpr std::string_view kNoReply = "noreply";
constexpr size_t kMaxExptimeDigits = 11;  // -2147483648
constexpr size_t kMaxTokens = 24;         // memcached's own limit for a meta line

template <typename T>
std::optional<T> Number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool AllDigits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Takes the next word off the front of `*rest`; empty at the end.
std::string_view NextWord(std::string_view* rest) {
  size_t begin = 0;
  while (begin < rest->size() && (*rest)[begin] == ' ') ++begin;
  rest->remove_prefix(begin);
  const void* space = rest->empty() ? nullptr : memchr(rest->data(), ' ', rest->size());
  const size_t length = space != nullptr
                            ? static_cast<size_t>(static_cast<const char*>(space) - rest->data())
                            : rest->size();
  const std::string_view word = rest->substr(0, length);
  rest->remove_prefix(length);
  return word;
}

std::string_view KeyProblem(std::string_view key) {
  if (key.size() > kMaxKey) return kLongKey;
  if (memchr(key.data(), '\0', key.size()) != nullptr) return kBadKey;
  return {};
}

// RFC 4648, padded, into `*out`. False when it is not that.
bool DecodeBase64(std::string_view in, std::string* out) {
  out->clear();
  if (in.empty() || in.size() % 4 != 0) return false;
  uint32_t bits = 0;
  int have = 0;
  size_t padding = 0;
  for (const char c : in) {
    uint32_t v;
    if (c >= 'A' && c <= 'Z') {
      v = static_cast<uint32_t>(c - 'A');
    } else if (c >= 'a' && c <= 'z') {
      v = static_cast<uint32_t>(c - 'a') + 26;
    } else if (c >= '0' && c <= '9') {
      v = static_cast<uint32_t>(c - '0') + 52;
    } else if (c == '+') {
      v = 62;
    } else if (c == '/') {
      v = 63;
    } else if (c == '=') {
      ++padding;
      continue;
    } else {
      return false;
    }
    if (padding > 0) return false;
    bits = bits << 6 | v;
    have += 6;
    if (have >= 8) {
      have -= 8;
      out->push_back(static_cast<char>(bits >> have & 0xff));
    }
  }
  return padding <= 2 && !out->empty();
}

// Times are signed, client flags have 32 bits, the rest (C, D, E, J) has 64.
bool FlagNumberFits(char flag, std::string_view number) {
  if (flag == 'T' || flag == 'N' || flag == 'R') return Number<int32_t>(number).has_value();
  if (flag == 'F') return Number<uint32_t>(number).has_value();
  return Number<uint64_t>(number).has_value();
}

uint64_t FlagBit(char letter) { return uint64_t{1} << (static_cast<uint8_t>(letter) & 63); }

Quiet MetaQuiet(bool quiet) { return quiet ? Quiet::kNominal : Quiet::kNo; }

}  // namespace

// A line taken apart. `bytes` includes the CRLF.
struct MemcachedRequestParser::Line {
  std::string_view bytes;
  std::string_view rest;                          // behind the command's name
  std::string_view in;                            // all that has come, this line and what follows
  std::array<std::string_view, kMaxTokens> word;  // the words behind the name
  size_t words = 0;
  bool more_words = false;  // than fit `word`

  void Split() {
    std::string_view left = rest;
    for (;;) {
      const std::string_view next = NextWord(&left);
      if (next.empty()) return;
      if (words == kMaxTokens) {
        more_words = true;
        return;
      }
      word[words++] = next;
    }
  }

  // Takes `noreply` off the end.
  bool TakeNoReply() {
    if (words == 0 || word[words - 1] != kNoReply) return false;
    --words;
    return true;
  }

  // True when the line is its words with single spaces: fit to forward as it came.
  bool Canonical(std::string_view name) const {
    size_t length = name.size() + 2;
    for (size_t i = 0; i < words; ++i) length += 1 + word[i].size();
    return length == bytes.size();
  }

  void Rebuild(std::string_view name, std::string* out) const {
    out->assign(name);
    for (size_t i = 0; i < words; ++i) {
      out->push_back(' ');
      out->append(word[i]);
    }
    out->append("\r\n");
  }
};

ParseResult MemcachedRequestParser::Parse(std::string_view in, Command* out) {
  out->Clear();
  if (skip_ > 0) {
    const size_t n = std::min(skip_, in.size());
    skip_ -= n;
    return {ParseStatus::kNeedMore, n, 0};
  }
  if (in.empty()) return {};
  if (message_ != 0) {  // the line was read before; its value was not whole
    if (in.size() < message_) return {ParseStatus::kNeedMore, 0, message_};
    return ParseLine(in, line_ - 1, out);
  }
  if (static_cast<uint8_t>(in[0]) == 0x80) return AnswerAndClose(in.size(), kBinary, out);
  const void* lf = memchr(in.data() + scanned_, '\n', in.size() - scanned_);
  if (lf == nullptr) {
    scanned_ = in.size();
    if (LineTooLong(in, in.size())) return AnswerAndClose(in.size(), kLongLine, out);
    return {};
  }
  return ParseLine(in, static_cast<size_t>(static_cast<const char*>(lf) - in.data()), out);
}

// The protocol has no state between two requests.
std::optional<std::string> MemcachedRequestParser::SaveState() const {
  if (skip_ > 0) return std::nullopt;
  return std::string();
}

Quiet MemcachedRequestParser::SkipMessage() {
  skip_ = message_;
  scanned_ = message_ = line_ = 0;
  return message_quiet_;
}

// Whether a line of `length` bytes before its LF, or without one yet, is longer than
// memcached takes. Only a retrieval's keys may fill more.
bool MemcachedRequestParser::LineTooLong(std::string_view in, size_t length) const {
  if (length <= kMaxLine) return false;
  std::string_view rest = in.substr(0, kMaxLine);
  const CommandSpec* spec = FindCommand(NextWord(&rest));
  const bool many_keys =
      spec != nullptr && (spec->shape == Shape::kKeys || spec->shape == Shape::kExptimeKeys);
  return !many_keys || length >= std::min(limits_.max_value, kMaxKeysLine);
}

ParseResult MemcachedRequestParser::ParseLine(std::string_view in, size_t newline, Command* out) {
  Line line;
  line.in = in;
  line.bytes = in.substr(0, newline + 1);
  if (LineTooLong(in, newline)) return AnswerAndClose(in.size(), kLongLine, out);
  if (newline == 0 || in[newline - 1] != '\r') return AnswerAndClose(in.size(), kBareLf, out);
  std::string_view rest = in.substr(0, newline - 1);
  if (memchr(rest.data(), '\r', rest.size()) != nullptr) {
    return AnswerAndClose(in.size(), kBareLf, out);
  }
  const std::string_view name = NextWord(&rest);
  const CommandSpec* spec = FindCommand(name);
  if (spec == nullptr || (limits_.strict && !spec->nutcracker)) {
    return Answer(line, "ERROR\r\n", out);
  }
  line.rest = rest;
  const ParseResult result = Dispatch(*spec, line, out);
  if (result.status == ParseStatus::kDone) scanned_ = message_ = line_ = 0;
  return result;
}

ParseResult MemcachedRequestParser::Dispatch(const CommandSpec& spec, const Line& line,
                                             Command* out) {
  out->reply_kind = static_cast<uint8_t>(spec.reply);
  switch (spec.shape) {
    case Shape::kKeys:
    case Shape::kExptimeKeys:
      return Keys(spec, line, out);
    case Shape::kStorage:
    case Shape::kCas:
      return Storage(spec, line, out);
    case Shape::kArithmetic:
    case Shape::kTouch:
    case Shape::kDelete:
      return KeyOnly(spec, line, out);
    case Shape::kMeta:
    case Shape::kMetaSet:
      return Meta(spec, line, out);
    default:
      return Keyless(spec, line, out);
  }
}

ParseResult MemcachedRequestParser::Keys(const CommandSpec& spec, const Line& line, Command* out) {
  std::string_view rest = line.rest;
  out->verb = spec.name;
  if (spec.shape == Shape::kExptimeKeys) {
    out->verb_argument = NextWord(&rest);
    // Not with a thousand zeros before it, either: memcached hangs up on long gat lines.
    const bool short_enough = out->verb_argument.size() <= kMaxExptimeDigits;
    if (!short_enough || !Number<int32_t>(out->verb_argument))
      return Answer(line, kBadExptime, out);
  }
  out->is_read = spec.shape == Shape::kKeys;
  size_t canonical = spec.name.size() + 2;
  if (!out->verb_argument.empty()) canonical += 1 + out->verb_argument.size();
  for (;;) {
    const std::string_view key = NextWord(&rest);
    if (key.empty()) break;
    if (const std::string_view problem = KeyProblem(key); !problem.empty()) {
      return Answer(line, problem, out);
    }
    canonical += 1 + key.size();
    out->keys.push_back(key);
  }
  if (out->keys.empty()) return Answer(line, "ERROR\r\n", out);
  const ParseResult done{ParseStatus::kDone, line.bytes.size(), 0};
  out->gets = static_cast<uint32_t>(out->keys.size());
  if (out->keys.size() > 1) {
    out->action = Action::kSplit;
    return done;
  }
  out->action = Action::kForward;
  out->key = out->keys[0];
  out->signature = KeySignature(out->key);
  out->head = line.bytes;
  if (canonical != line.bytes.size()) {
    out->rebuilt.assign(spec.name);
    if (!out->verb_argument.empty()) out->rebuilt.append(" ").append(out->verb_argument);
    out->rebuilt.append(" ").append(out->key).append("\r\n");
    out->head = out->rebuilt;
  }
  return done;
}

ParseResult MemcachedRequestParser::Storage(const CommandSpec& spec, const Line& given,
                                            Command* out) {
  Line line = given;
  line.Split();
  const size_t numbers = spec.shape == Shape::kCas ? 5 : 4;
  const bool quiet = line.words == numbers + 1 && line.TakeNoReply();
  if (line.words < 4) return AnswerAndClose(line.in.size(), kBadLine, out);
  // The length first: with it, a line refused for anything else stays in step.
  // (nutcracker takes digits only; so does the length here, in both modes.)
  const auto length = AllDigits(line.word[3]) ? Number<uint32_t>(line.word[3]) : std::nullopt;
  if (!length || *length > std::numeric_limits<int32_t>::max() - 2) {
    return AnswerAndClose(line.in.size(), kBadChunk, out);
  }
  if (line.words != numbers || line.more_words) return AnswerAndSkip(line, *length, kBadLine, out);
  // A client that wants no reply gets none to a refusal either, as from memcached.
  if (const std::string_view problem = KeyProblem(line.word[0]); !problem.empty()) {
    return AnswerAndSkip(line, *length, quiet ? "" : problem, out);
  }
  const bool negative_exptime = line.word[2][0] == '-';
  if (!Number<uint32_t>(line.word[1]) || !Number<int32_t>(line.word[2]) ||
      (limits_.strict && negative_exptime) ||
      (spec.shape == Shape::kCas && !Number<uint64_t>(line.word[4]))) {
    return AnswerAndSkip(line, *length, quiet ? "" : kBadLine, out);
  }
  out->quiet = quiet ? Quiet::kAll : Quiet::kNo;
  out->expires = !quiet;
  out->key = line.word[0];
  return Value(spec, line, *length, out);
}

// The value behind a storage line whose words are right.
ParseResult MemcachedRequestParser::Value(const CommandSpec& spec, const Line& line, size_t length,
                                          Command* out) {
  if (length > limits_.max_value) {
    // nutcracker forwards it, and hears the same from the server: not strict's business.
    const ParseResult result = Reply(line, out->quiet == Quiet::kAll ? "" : kTooLarge, out);
    skip_ = length + 2;
    return result;
  }
  const size_t message = line.bytes.size() + length + 2;
  if (line.in.size() < message) {
    message_ = message;
    line_ = line.bytes.size();
    message_quiet_ = out->quiet;
    return {ParseStatus::kNeedMore, 0, message};
  }
  out->body = line.in.substr(line.bytes.size(), length + 2);
  if (out->body.substr(length) != "\r\n") return AnswerAndClose(line.in.size(), kBadChunk, out);
  out->shed_when_full = true;
  ParseResult result = Forward(spec, line, out);
  result.consumed = message;
  return result;
}

ParseResult MemcachedRequestParser::KeyOnly(const CommandSpec& spec, const Line& given,
                                            Command* out) {
  Line line = given;
  line.Split();
  const size_t least = spec.shape == Shape::kDelete ? 1 : 2;
  const bool quiet = line.words > least && line.TakeNoReply();
  if (spec.shape == Shape::kDelete && line.words == 2) {
    // `delete key 0`, of clients from before 2009: memcached takes it, nutcracker does not.
    if (line.word[1] != "0" || limits_.strict) return Answer(line, quiet ? "" : kBadDelete, out);
    line.words = 1;
  }
  if (line.words == 0) return Answer(line, "ERROR\r\n", out);
  if (line.words != least) return Answer(line, kBadLine, out);
  if (const std::string_view problem = KeyProblem(line.word[0]); !problem.empty()) {
    return Answer(line, quiet ? "" : problem, out);
  }
  if (spec.shape == Shape::kArithmetic && !Number<uint64_t>(line.word[1])) {
    const std::string_view text = quiet ? "" : kBadDelta;
    // memcached's own words; nutcracker forwards a negative delta to hear them.
    return Number<int64_t>(line.word[1]) ? Reply(line, text, out) : Answer(line, text, out);
  }
  if (spec.shape == Shape::kTouch && !Number<int32_t>(line.word[1])) {
    return Answer(line, quiet ? "" : kBadExptime, out);
  }
  out->quiet = quiet ? Quiet::kAll : Quiet::kNo;
  out->expires = !quiet;
  out->key = line.word[0];
  return Forward(spec, line, out);
}

// Whether the reply would hold a decoded key's CR or LF as they are, so that a client
// could write replies of its own choosing onto a shared connection. memcached 1.6.18
// does that for `me`, and for `mg` with the flag k on an item that N or an append
// made. `seen`: flags by letter.
bool MemcachedRequestParser::EchoesLineEnd(const CommandSpec& spec, std::string_view key,
                                           uint64_t seen) {
  const bool echoes = spec.reply == ReplyKind::kMetaDebug ||
                      (spec.reply == ReplyKind::kMetaGet && (seen & FlagBit('k')) != 0);
  return echoes && (seen & FlagBit('b')) != 0 &&
         key.find_first_of("\r\n") != std::string_view::npos;
}

ParseResult MemcachedRequestParser::Meta(const CommandSpec& spec, const Line& given, Command* out) {
  Line line = given;
  line.Split();
  const bool has_value = spec.shape == Shape::kMetaSet;
  const size_t first_flag = has_value ? 2 : 1;
  std::optional<uint32_t> length;
  if (has_value) {
    if (line.words < 2) return AnswerAndClose(line.in.size(), kBadLine, out);
    length = AllDigits(line.word[1]) ? Number<uint32_t>(line.word[1]) : std::nullopt;
    if (!length || *length > std::numeric_limits<int32_t>::max() - 2) {
      return AnswerAndClose(line.in.size(), kBadChunk, out);
    }
  }
  const auto refuse = [&](std::string_view text) {
    return has_value ? AnswerAndSkip(line, *length, text, out) : Answer(line, text, out);
  };
  if (line.words < first_flag) return refuse(kBadLine);
  if (line.more_words) return refuse("CLIENT_ERROR options flags are too long\r\n");
  out->key = line.word[0];
  if (const std::string_view problem = KeyProblem(out->key); !problem.empty()) {
    return refuse(problem);
  }
  bool quiet = false;
  uint64_t seen = 0;  // by letter
  size_t kept = first_flag;
  for (size_t i = first_flag; i < line.words; ++i) {
    const std::string_view flag = line.word[i];
    // memcached reads its line as a C string: behind a NUL it sees nothing.
    if (memchr(flag.data(), '\0', flag.size()) != nullptr) return refuse(kBadToken);
    const size_t at = spec.flags.find(flag[0]);
    if (at == std::string_view::npos || flag[0] == '#' || flag[0] == '?') return refuse(kBadFlag);
    const uint64_t bit = FlagBit(flag[0]);
    if ((seen & bit) != 0) return refuse(kDuplicateFlag);
    seen |= bit;
    const bool numeric = at + 1 < spec.flags.size() && spec.flags[at + 1] == '#';
    const std::string_view argument = flag.substr(1);
    if (numeric && !FlagNumberFits(flag[0], argument)) return refuse(kBadToken);
    if (flag[0] == 'O' && argument.size() > 31) return refuse(kLongOpaque);
    if (flag[0] == 'b') {
      if (!DecodeBase64(line.word[0], &out->decoded)) return refuse(kBadBase64);
      out->key = out->decoded;
    }
    if (flag[0] == 'q') {
      quiet = true;
    } else {
      line.word[kept++] = flag;
    }
  }
  if (EchoesLineEnd(spec, out->key, seen)) return refuse(kBadKey);
  line.words = kept;
  out->quiet = MetaQuiet(quiet);
  out->is_read = spec.reply == ReplyKind::kMetaGet;
  out->gets = out->is_read ? 1 : 0;
  if (has_value) return Value(spec, line, *length, out);
  return Forward(spec, line, out);
}

ParseResult MemcachedRequestParser::Keyless(const CommandSpec& spec, const Line& given,
                                            Command* out) {
  Line line = given;
  const ParseResult done{ParseStatus::kDone, line.bytes.size(), 0};
  line.Split();
  switch (spec.shape) {
    case Shape::kVersion:
      out->key = kPlaceholder;
      line.words = 0;
      return Forward(spec, line, out);
    case Shape::kQuit:
      out->action = Action::kQuit;
      return done;
    case Shape::kMetaNoop:
      out->action = Action::kAnswer;
      out->answer = "MN\r\n";
      return done;
    case Shape::kStats:
      if (line.words > 0) return Answer(line, kRefused, out);
      out->action = Action::kStats;
      return done;
    case Shape::kVerbosity: {
      const bool quiet = line.TakeNoReply();
      if (line.words == 0) return Answer(line, "ERROR\r\n", out);
      out->action = Action::kAnswer;
      out->answer = quiet ? "" : "OK\r\n";
      return done;
    }
    case Shape::kFlushAll: {
      const bool quiet = line.TakeNoReply();
      if (!limits_.allow_flush) return Answer(line, quiet ? "" : kRefused, out);
      if (line.words > 1 || (line.words == 1 && !Number<int32_t>(line.word[0]))) {
        return Answer(line, quiet ? "" : kBadExptime, out);
      }
      Forward(spec, line, out);
      out->action = Action::kBroadcast;
      out->merge = Merge::kAgree;
      out->quiet = quiet ? Quiet::kAll : Quiet::kNo;
      return done;
    }
    default:
      return Answer(line, kRefused, out);
  }
}

ParseResult MemcachedRequestParser::Forward(const CommandSpec& spec, const Line& line,
                                            Command* out) {
  out->action = Action::kForward;
  if (line.Canonical(spec.name)) {
    out->head = line.bytes;
  } else {
    line.Rebuild(spec.name, &out->rebuilt);
    out->head = out->rebuilt;
  }
  return {ParseStatus::kDone, line.bytes.size(), 0};
}

ParseResult MemcachedRequestParser::Answer(const Line& line, std::string_view text, Command* out) {
  if (limits_.strict) return {ParseStatus::kInvalid, line.bytes.size(), 0};
  return Reply(line, text, out);
}

ParseResult MemcachedRequestParser::Reply(const Line& line, std::string_view text, Command* out) {
  scanned_ = message_ = line_ = 0;
  out->action = Action::kAnswer;
  out->answer = text;
  out->close_after = false;
  return {ParseStatus::kDone, line.bytes.size(), 0};
}

ParseResult MemcachedRequestParser::AnswerAndSkip(const Line& line, size_t value,
                                                  std::string_view text, Command* out) {
  const ParseResult result = Answer(line, text, out);
  if (result.status == ParseStatus::kDone) skip_ = value + 2;
  return result;
}

ParseResult MemcachedRequestParser::AnswerAndClose(size_t consumed, std::string_view text,
                                                   Command* out) {
  if (limits_.strict) return {ParseStatus::kInvalid, consumed, 0};
  out->action = Action::kAnswer;
  out->answer = text;
  out->close_after = true;
  return {ParseStatus::kDone, consumed, 0};
}

}  // namespace cashew::protocol::memcached

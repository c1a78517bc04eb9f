#include "pkg/protocol/memcached/reply_parser.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

namespace cashew::protocol::memcached {
namespace {

// No reply line of memcached comes near; a server that sends more without a line
// end is not speaking the protocol.
constexpr size_t kMaxReplyLine = 8 * 1024;
constexpr uint64_t kMaxValue = uint64_t{2} << 30;

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// "HD", "HD f1": the two letters, then a space or the end.
bool IsCode(std::string_view line, std::string_view code) {
  return StartsWith(line, code) && (line.size() == code.size() || line[code.size()] == ' ');
}

bool IsOneOf(std::string_view line, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), line) != words.end();
}

bool HasCode(std::string_view line, std::initializer_list<std::string_view> codes) {
  return std::any_of(codes.begin(), codes.end(),
                     [&](std::string_view code) { return IsCode(line, code); });
}

// incr pads what it stores, not what it answers; still, older servers do pad.
bool IsNumber(std::string_view line) {
  size_t digits = 0;
  while (digits < line.size() && line[digits] >= '0' && line[digits] <= '9') ++digits;
  return digits > 0 && line.find_first_not_of(' ', digits) == std::string_view::npos;
}

// Whether `line` is a whole reply of that kind, errors aside.
bool Fits(ReplyKind kind, std::string_view line) {
  switch (kind) {
    case ReplyKind::kValues:
      return line == "END";
    case ReplyKind::kStored:
      return IsOneOf(line, {"STORED", "NOT_STORED", "EXISTS", "NOT_FOUND"});
    case ReplyKind::kNumber:
      return IsNumber(line) || line == "NOT_FOUND" ||
             line == "CLIENT_ERROR cannot increment or decrement non-numeric value";
    case ReplyKind::kTouched:
      return IsOneOf(line, {"TOUCHED", "NOT_FOUND"});
    case ReplyKind::kDeleted:
      return IsOneOf(line, {"DELETED", "NOT_FOUND"});
    case ReplyKind::kVersion:
      return StartsWith(line, "VERSION ");
    case ReplyKind::kOk:
      return line == "OK";
    case ReplyKind::kMetaGet:
      return HasCode(line, {"HD", "EN"});
    case ReplyKind::kMetaSet:
      return HasCode(line, {"HD", "NS", "EX", "NF"});
    case ReplyKind::kMetaDelete:
      return HasCode(line, {"HD", "NF", "EX"});
    case ReplyKind::kMetaArithmetic:
      return HasCode(line, {"HD", "NF", "NS", "EX"});
    case ReplyKind::kMetaDebug:
      return HasCode(line, {"ME", "EN"});
  }
  return false;
}

bool IsMeta(ReplyKind kind) { return kind >= ReplyKind::kMetaGet; }

// What the meta flag `q` hides: a get's miss, and a write that did what it was asked.
// (As memcached 1.6.18 does; a miss of md or ma it tells.)
bool IsNominal(ReplyKind kind, std::string_view line) {
  switch (kind) {
    case ReplyKind::kMetaGet:
      return IsCode(line, "EN");
    case ReplyKind::kMetaSet:
    case ReplyKind::kMetaDelete:
    case ReplyKind::kMetaArithmetic:
      return IsCode(line, "HD");
    default:
      return false;
  }
}

// The word at `index` (0-based) of a line of single-spaced words.
std::optional<std::string_view> Word(std::string_view line, int index) {
  for (; index > 0; --index) {
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) return std::nullopt;
    line.remove_prefix(space + 1);
  }
  return line.substr(0, line.find(' '));
}

std::optional<uint64_t> Size(std::optional<std::string_view> word) {
  uint64_t n = 0;
  if (!word) return std::nullopt;
  const auto [end, error] = std::from_chars(word->data(), word->data() + word->size(), n);
  if (error != std::errc() || end != word->data() + word->size() || n > kMaxValue) {
    return std::nullopt;
  }
  return n;
}

}  // namespace

ReplyParser::Result MemcachedReplyParser::Parse(std::string_view in, Expectation* expect,
                                                std::vector<Block>* blocks) {
  size_t at = 0;
  for (;;) {
    if (body_ > 0) {
      const auto n = static_cast<size_t>(std::min<uint64_t>(body_, in.size() - at));
      // The CRLF behind a value must be one: else lengths and data disagree.
      for (size_t i = body_ > 2 ? std::min<uint64_t>(n, body_ - 2) : 0; i < n; ++i) {
        if (in[at + i] != (body_ - i == 2 ? '\r' : '\n')) return {ParseStatus::kInvalid, {}, at};
      }
      body_ -= n;
      at += n;
      if (body_ > 0) return {ParseStatus::kNeedMore, {}, at, static_cast<size_t>(body_)};
      if (ends_with_body_) {
        ends_with_body_ = false;
        // ma's value stands where its HD would, and `q` hides it alike.
        const bool arithmetic =
            static_cast<ReplyKind>(expect->reply_kind) == ReplyKind::kMetaArithmetic;
        return {ParseStatus::kDone, arithmetic ? Outcome::kNominal : Outcome::kNormal, at};
      }
    }
    const std::string_view left = in.substr(at);
    const void* lf = left.size() > scanned_
                         ? memchr(left.data() + scanned_, '\n', left.size() - scanned_)
                         : nullptr;
    if (lf == nullptr) {
      scanned_ = left.size();
      if (left.size() > kMaxReplyLine) return {ParseStatus::kInvalid, {}, at};
      return {ParseStatus::kNeedMore, {}, at};
    }
    scanned_ = 0;
    const auto length = static_cast<size_t>(static_cast<const char*>(lf) - left.data()) + 1;
    if (length < 2 || left[length - 2] != '\r') return {ParseStatus::kInvalid, {}, at};
    const Result result = OnLine(left.substr(0, length - 2), expect, blocks);
    if (result.status == ParseStatus::kInvalid || result.outcome == Outcome::kDesync) {
      return {result.status, result.outcome, at + length};
    }
    at += length;
    if (result.status == ParseStatus::kDone) return {ParseStatus::kDone, result.outcome, at};
  }
}

ReplyParser::Result MemcachedReplyParser::OnLine(std::string_view line, Expectation* expect,
                                                 std::vector<Block>* blocks) {
  const auto kind = static_cast<ReplyKind>(expect->reply_kind);
  if (kind == ReplyKind::kValues && StartsWith(line, "VALUE ")) {
    return OnValue(line, expect, blocks);
  }
  if ((kind == ReplyKind::kMetaGet || kind == ReplyKind::kMetaArithmetic) && IsCode(line, "VA")) {
    ++expect->found;
    return OnMetaValue(line);
  }
  if (Fits(kind, line)) {
    if (kind == ReplyKind::kMetaGet && IsCode(line, "HD")) ++expect->found;
    return {ParseStatus::kDone, IsNominal(kind, line) ? Outcome::kNominal : Outcome::kNormal};
  }
  if (StartsWith(line, "SERVER_ERROR")) return {ParseStatus::kDone, Outcome::kServerError};
  const bool client_error = StartsWith(line, "CLIENT_ERROR");
  // A meta command's flags are the server's business; it answers them with one line.
  if (client_error && IsMeta(kind)) return {ParseStatus::kDone, Outcome::kNormal};
  if (client_error || line == "ERROR") return {ParseStatus::kDone, Outcome::kDesync};
  // A reply to some other request is a desync, too; anything else is no reply at all.
  for (int other = 0; other <= static_cast<int>(ReplyKind::kMetaDebug); ++other) {
    if (Fits(static_cast<ReplyKind>(other), line)) {
      return {ParseStatus::kInvalid, Outcome::kDesync};
    }
  }
  if (StartsWith(line, "VALUE ") || IsCode(line, "VA") || IsCode(line, "MN")) {
    return {ParseStatus::kInvalid, Outcome::kDesync};
  }
  return {ParseStatus::kInvalid, Outcome::kNormal};
}

// "VALUE <key> <flags> <bytes> [<cas>]"
ReplyParser::Result MemcachedReplyParser::OnValue(std::string_view line, Expectation* expect,
                                                  std::vector<Block>* blocks) {
  const auto key = Word(line, 1);
  const auto size = Size(Word(line, 3));
  if (!key || !size) return {ParseStatus::kInvalid};
  const uint32_t signature = KeySignature(*key);
  while (expect->next < expect->count && expect->signatures[expect->next] != signature) {
    ++expect->next;
  }
  if (expect->next == expect->count) return {ParseStatus::kInvalid, Outcome::kDesync};
  body_ = *size + 2;
  if (blocks != nullptr) {
    blocks->push_back({expect->next, static_cast<uint32_t>(line.size() + 2 + body_)});
  }
  ++expect->next;
  ++expect->found;
  return {};
}

// "VA <bytes> <flags>*"
ReplyParser::Result MemcachedReplyParser::OnMetaValue(std::string_view line) {
  const auto size = Size(Word(line, 1));
  if (!size) return {ParseStatus::kInvalid};
  body_ = *size + 2;
  ends_with_body_ = true;
  return {};
}

}  // namespace cashew::protocol::memcached

#include "pkg/protocol/redis/reply_parser.h"

#include <algorithm>
#include <cstring>

#include "pkg/protocol/redis/number.h"

namespace cashew::protocol::redis {
namespace {

// A header ("$123", "*3", ":5") is never longer.
constexpr size_t kMaxHeader = 32;

struct TroubleWord {
  std::string_view word;
  Trouble trouble;
};

constexpr TroubleWord kTroubles[] = {
    {"-LOADING ", Trouble::kLoading},
    {"-READONLY ", Trouble::kReadonly},
    {"-MASTERDOWN ", Trouble::kMasterDown},
    {"-OOM ", Trouble::kOutOfMemory},
    {"-BUSY ", Trouble::kBusy},
};

Trouble TroubleOf(std::string_view line) {
  for (const TroubleWord& t : kTroubles) {
    if (line.substr(0, t.word.size()) == t.word) return t.trouble;
  }
  return Trouble::kNone;
}

bool IsBulk(char type) { return memchr("$!=", type, 3) != nullptr; }

}  // namespace

ReplyParser::Result RedisReplyParser::Parse(std::string_view in, Expectation* expect,
                                            std::vector<Block>* blocks) {
  Result result;
  size_t at = 0;
  while (at < in.size()) {
    const std::string_view rest = in.substr(at);
    used_ = frame_ = 0;
    const bool simple = !begun_ || (!in_line_ && body_ == 0);
    if (simple && list_ && begun_ && blocks != nullptr) {
      blocks->push_back({expect->next++, 0});
    }
    Step step;
    if (!begun_) {
      step = Begin(rest, expect, blocks);
    } else if (body_ > 0) {
      step = Body(rest);
    } else if (in_line_) {
      step = LineRest(rest);
    } else {
      step = Element(rest, expect);
    }
    if (step == Step::kInvalid) {
      result.status = ParseStatus::kInvalid;
      result.consumed = at;
      return result;
    }
    if (step == Step::kNeedMore && used_ == 0 && simple && list_ && begun_ && blocks != nullptr) {
      blocks->pop_back();  // the element's header is not whole: it begins next time
      --expect->next;
    }
    at += used_;
    if (list_ && blocks != nullptr && !blocks->empty()) {
      blocks->back().bytes += static_cast<uint32_t>(used_ - frame_);
    }
    result.dropped += frame_;
    if (step == Step::kNeedMore) break;
    if (elements_ == 0 && body_ == 0 && !in_line_) {
      result.status = ParseStatus::kDone;
      result.consumed = at;
      Finish(expect, &result);
      return result;
    }
  }
  result.consumed = at;
  result.body_left = static_cast<size_t>(body_);
  if (unasked_ || expect->interim > 0) result.dropped = at;
  return result;
}

bool RedisReplyParser::IsUnasked(std::string_view in) const {
  return begun_ ? unasked_ : resp3_ && !in.empty() && in.front() == '>';
}

// The first byte of a reply says what kind of answer it is.
RedisReplyParser::Step RedisReplyParser::Begin(std::string_view in, Expectation* expect,
                                               std::vector<Block>* blocks) {
  const char type = in.front();
  const auto kind = static_cast<ReplyKind>(expect->reply_kind);
  unasked_ = resp3_ && type == '>';
  const bool counts = !unasked_ && expect->interim == 0;
  if (counts && !FitsKind(type, kind)) return Step::kInvalid;
  error_ = type == '-' || type == '!';
  list_ = counts && kind == ReplyKind::kList && !error_ && type == '*';
  elements_ = 1;
  if (counts && kind == ReplyKind::kScan && type == '*') return ScanHead(in, expect);
  const Step step = Element(in, expect);
  if (step == Step::kNeedMore && used_ == 0) {
    list_ = false;
    return step;
  }
  if (type == '-' && trouble_ == Trouble::kNone) trouble_ = TroubleOf(in);
  begun_ = true;
  if (list_) frame_ = used_;
  return step;
}

// "*2", and the cursor as a bulk string: short, so it is waited for.
RedisReplyParser::Step RedisReplyParser::ScanHead(std::string_view in, Expectation* expect) {
  constexpr size_t kLongest = 64;
  const std::string_view near = in.substr(0, kLongest);
  size_t at = 0;
  std::string_view line[3];
  for (std::string_view& part : line) {
    const size_t end = near.find("\r\n", at);
    if (end == std::string_view::npos) {
      return near.size() < kLongest ? Step::kNeedMore : Step::kInvalid;
    }
    part = near.substr(at, end - at);
    at = end + 2;
  }
  const auto cursor = ParseNumber(line[2]);
  if (line[0] != "*2" || line[1].substr(0, 1) != "$" || !cursor || *cursor < 0) {
    return Step::kInvalid;
  }
  expect->number = *cursor;
  used_ = frame_ = at;
  begun_ = true;
  return Step::kTaken;
}

bool RedisReplyParser::FitsKind(char type, ReplyKind kind) const {
  if (type == '-') return true;
  if (resp3_ && type == '!') return true;
  switch (kind) {
    case ReplyKind::kAny:
    case ReplyKind::kSame:
    case ReplyKind::kAnyOne:
      return true;
    case ReplyKind::kList:
    case ReplyKind::kScan:
    case ReplyKind::kAllTrue:
    case ReplyKind::kConcatenate:
      return type == '*';
    case ReplyKind::kInteger:
      return type == ':';
    case ReplyKind::kOk:
      return type == '+';
  }
  return false;
}

RedisReplyParser::Step RedisReplyParser::Element(std::string_view in, Expectation* expect) {
  const char type = in.front();
  switch (type) {
    case '+':
    case '-':
      break;
    case ':':
    case '$':
    case '*':
      return Header(in, type, expect);
    case '_':
    case '#':
      return resp3_ ? Header(in, type, expect) : Step::kInvalid;
    case '%':
    case '~':
    case '|':
    case '!':
    case '=':
      return resp3_ ? Header(in, type, expect) : Step::kInvalid;
    case '>':
      return resp3_ && unasked_ && !begun_ ? Header(in, type, expect) : Step::kInvalid;
    case ',':
    case '(':
      if (!resp3_) return Step::kInvalid;
      break;
    default:
      return Step::kInvalid;
  }
  // A line of any length. Its first bytes tell what trouble the server is in: wait for
  // them, but not past the line's end.
  constexpr size_t kTellingBytes = 12;
  const bool whole_line = memchr(in.data(), '\n', in.size()) != nullptr;
  if (type == '-' && !begun_ && in.size() < kTellingBytes && !whole_line) return Step::kNeedMore;
  in_line_ = true;
  saw_cr_ = false;
  return LineRest(in);
}

// Passes over a line's bytes up to its CRLF.
RedisReplyParser::Step RedisReplyParser::LineRest(std::string_view in) {
  size_t at = 0;
  while (at < in.size()) {
    if (saw_cr_) {
      if (in[at] != '\n') return Step::kInvalid;
      used_ = at + 1;
      in_line_ = saw_cr_ = false;
      ElementDone();
      return Step::kTaken;
    }
    const void* cr = memchr(in.data() + at, '\r', in.size() - at);
    if (cr == nullptr) {
      used_ = in.size();
      return Step::kNeedMore;
    }
    saw_cr_ = true;
    at = static_cast<size_t>(static_cast<const char*>(cr) - in.data()) + 1;
  }
  used_ = in.size();
  return Step::kNeedMore;
}

// A short line with a number.
RedisReplyParser::Step RedisReplyParser::Header(std::string_view in, char type,
                                                Expectation* expect) {
  if (type != '_' && type != '#') {
    if (const ShortHeader header = ReadShortHeader(in); header.size != 0) {
      used_ = header.size;
      return Numbered(type, header.number, expect);
    }
  }
  const std::string_view near = in.substr(0, kMaxHeader);
  const size_t lf = near.find('\n');
  if (lf == std::string_view::npos) {
    return near.size() < kMaxHeader ? Step::kNeedMore : Step::kInvalid;
  }
  if (lf < 2 || in[lf - 1] != '\r') return Step::kInvalid;
  const std::string_view text = in.substr(1, lf - 2);
  used_ = lf + 1;
  if (type == '_') {
    ElementDone();
    return text.empty() ? Step::kTaken : Step::kInvalid;
  }
  if (type == '#') {
    ElementDone();
    return text == "t" || text == "f" ? Step::kTaken : Step::kInvalid;
  }
  const auto number = ParseNumber(text);
  return number ? Numbered(type, *number, expect) : Step::kInvalid;
}

RedisReplyParser::Step RedisReplyParser::Numbered(char type, int64_t number, Expectation* expect) {
  if (type == ':') {
    if (!begun_) expect->number = number;
    ElementDone();
    return Step::kTaken;
  }
  if (!IsBulk(type)) return Aggregate(type, number, expect);
  if (number < -1 || number > kMaxBulk || (number == -1 && type != '$')) return Step::kInvalid;
  if (number == -1) {
    ElementDone();
  } else {
    body_ = number + 2;
    ++expect->found;
  }
  return Step::kTaken;
}

RedisReplyParser::Step RedisReplyParser::Aggregate(char type, int64_t count, Expectation* expect) {
  if (list_ && begun_) return Step::kInvalid;  // a list of simple values
  if (list_ && count != static_cast<int64_t>(expect->count)) return Step::kInvalid;
  if (count == -1 && type == '*') {
    ElementDone();
    return Step::kTaken;
  }
  if (count < 0 || count > kMaxElements) return Step::kInvalid;
  const bool pairs = type == '%' || type == '|';
  elements_ += pairs ? 2 * count : count;
  // An attribute stands before its value and is none itself.
  if (type != '|') ElementDone();
  return elements_ > kMaxElements ? Step::kInvalid : Step::kTaken;
}

// A value's bytes, then CRLF. If that is something else, lengths and data disagree.
RedisReplyParser::Step RedisReplyParser::Body(std::string_view in) {
  const int64_t n = std::min<int64_t>(body_, static_cast<int64_t>(in.size()));
  for (int64_t i = std::max<int64_t>(0, body_ - 2); i < n; ++i) {
    if (in[static_cast<size_t>(i)] != (body_ - i == 2 ? '\r' : '\n')) return Step::kInvalid;
  }
  body_ -= n;
  used_ = static_cast<size_t>(n);
  if (body_ > 0) return Step::kNeedMore;
  ElementDone();
  return Step::kTaken;
}

void RedisReplyParser::Finish(Expectation* expect, Result* result) {
  result->trouble = trouble_;
  if (unasked_) {
    result->outcome = Outcome::kUnasked;
  } else if (expect->interim > 0) {
    --expect->interim;
    result->outcome = Outcome::kInterim;
  } else {
    result->outcome = error_ ? Outcome::kServerError : Outcome::kNormal;
  }
  const bool drop = result->outcome == Outcome::kUnasked || result->outcome == Outcome::kInterim;
  if (drop) result->dropped = result->consumed;
  begun_ = in_line_ = saw_cr_ = unasked_ = error_ = list_ = false;
  trouble_ = Trouble::kNone;
}

}  // namespace cashew::protocol::redis

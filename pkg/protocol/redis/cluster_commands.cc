#include "pkg/protocol/redis/cluster_commands.h"

#include <algorithm>
#include <random>

#include "fmt/format.h"

#include "pkg/protocol/redis/number.h"
#include "pkg/protocol/redis/request_parser.h"

namespace cashew::protocol::redis {
namespace {

constexpr int kCursorBits = 40;
constexpr int kCheckBits = 11;
constexpr int kServerBits = 12;
constexpr uint64_t kCursorMask = (uint64_t{1} << kCursorBits) - 1;
constexpr uint32_t kCheckMask = (1U << kCheckBits) - 1;
constexpr uint32_t kServerMask = (1U << kServerBits) - 1;

constexpr std::string_view kDisagree = "-ERR the servers' replies do not fit together\r\n";

// Takes "<type><number>\r\n" off the front.
std::optional<int64_t> TakeNumber(std::string_view* text, char type) {
  const size_t end = text->find("\r\n");
  if (end == std::string_view::npos || text->empty() || text->front() != type) return std::nullopt;
  const auto number = ParseNumber(text->substr(1, end - 1));
  text->remove_prefix(end + 2);
  return number;
}

std::string AllTrue(const std::vector<std::string>& replies) {
  std::vector<bool> all;
  for (std::string_view text : replies) {
    const auto count = TakeNumber(&text, '*');
    if (!count || *count < 0) return std::string(kDisagree);
    if (all.empty()) all.assign(static_cast<size_t>(*count), true);
    if (all.size() != static_cast<size_t>(*count)) return std::string(kDisagree);
    for (size_t i = 0; i < all.size(); ++i) {
      const auto flag = TakeNumber(&text, ':');
      if (!flag) return std::string(kDisagree);
      all[i] = all[i] && *flag != 0;
    }
  }
  std::string reply = fmt::format("*{}\r\n", all.size());
  for (const bool flag : all) reply += flag ? ":1\r\n" : ":0\r\n";
  return reply;
}

std::string Concatenate(const std::vector<std::string>& replies) {
  int64_t total = 0;
  std::string elements;
  for (std::string_view text : replies) {
    const auto count = TakeNumber(&text, '*');
    if (!count || *count < 0) return std::string(kDisagree);
    total += *count;
    elements += text;
  }
  return fmt::format("*{}\r\n{}", total, elements);
}

std::string AnyOne(const std::vector<std::string>& replies) {
  static thread_local std::minstd_rand random(std::random_device{}());
  const size_t begin = random() % replies.size();
  for (size_t i = 0; i < replies.size(); ++i) {
    const std::string& reply = replies[(begin + i) % replies.size()];
    if (reply != "$-1\r\n" && reply != "_\r\n") return reply;
  }
  return replies.front();
}

}  // namespace

std::string MergeReplies(ReplyKind kind, const std::vector<std::string>& replies) {
  switch (kind) {
    case ReplyKind::kAllTrue:
      return AllTrue(replies);
    case ReplyKind::kConcatenate:
      return Concatenate(replies);
    case ReplyKind::kAnyOne:
      return AnyOne(replies);
    default: {
      const bool same = std::all_of(replies.begin(), replies.end(),
                                    [&](const std::string& r) { return r == replies.front(); });
      return same ? replies.front() : std::string(kDisagree);
    }
  }
}

uint32_t ScanCursor::CheckOf(uint32_t membership_checksum) {
  const uint32_t check = (membership_checksum ^ membership_checksum >> kCheckBits) & kCheckMask;
  return check == 0 ? 1 : check;
}

std::optional<ScanCursor> ScanCursor::Parse(std::string_view text) {
  const auto number = ParseNumber(text);
  if (!number || *number < 0) return std::nullopt;
  const auto bits = static_cast<uint64_t>(*number);
  ScanCursor cursor;
  cursor.cursor = bits & kCursorMask;
  cursor.check = static_cast<uint32_t>(bits >> kCursorBits) & kCheckMask;
  cursor.server = static_cast<uint32_t>(bits >> (kCursorBits + kCheckBits)) & kServerMask;
  if (cursor.check == 0 && bits != 0) return std::nullopt;
  return cursor;
}

std::string ScanCursor::Begin(uint32_t server, size_t servers, uint32_t check, int64_t cursor) {
  uint64_t next = 0;
  const auto place = [check](uint64_t at) {
    return at << (kCursorBits + kCheckBits) | static_cast<uint64_t>(check) << kCursorBits;
  };
  if (cursor != 0) {
    next = place(server) | (static_cast<uint64_t>(cursor) & kCursorMask);
  } else if (server + 1 < servers) {
    next = place(server + 1);
  }
  const std::string text = fmt::format("{}", next);
  return fmt::format("*2\r\n${}\r\n{}\r\n", text.size(), text);
}

void RedisRequestParser::ToAllServers(const CommandSpec& spec, std::string_view message,
                                      Command* out) {
  struct Row {
    std::string_view name;
    Merge merge;
    ReplyKind kind;
  };
  static constexpr Row kRows[] = {
      {"dbsize", Merge::kSum, ReplyKind::kInteger},
      {"randomkey", Merge::kWhole, ReplyKind::kAnyOne},
      {"script|load", Merge::kWhole, ReplyKind::kSame},
      {"script|exists", Merge::kWhole, ReplyKind::kAllTrue},
      {"keys", Merge::kWhole, ReplyKind::kConcatenate},
      {"flushdb", Merge::kAgree, ReplyKind::kOk},
      {"flushall", Merge::kAgree, ReplyKind::kOk},
      {"script|flush", Merge::kAgree, ReplyKind::kOk},
  };
  if (spec.name == "scan") return Scan(message, out);
  const auto* row = std::find_if(std::begin(kRows), std::end(kRows),
                                 [&](const Row& r) { return r.name == spec.name; });
  // A pool is one database of its servers: the others are nobody's business here.
  if (spec.name == "flushall") {
    message = "*1\r\n$7\r\nFLUSHDB\r\n";
  }
  out->action = Action::kBroadcast;
  out->group = state_.resp3 ? 1 : 0;
  out->is_read = spec.read;
  out->merge = row->merge;
  out->reply_kind = static_cast<uint8_t>(row->kind);
  out->head = message;
}

// The same command with the server's own cursor.
void RedisRequestParser::Scan(std::string_view message, Command* out) {
  const auto cursor = ScanCursor::Parse(out->words[1]);
  if (!cursor) return AnswerError("ERR invalid cursor", out);
  out->rebuilt = fmt::format("*{}\r\n", out->words.size());
  const std::string its = fmt::format("{}", cursor->cursor);
  for (size_t i = 0; i < out->words.size(); ++i) {
    const std::string_view word = i == 1 ? std::string_view(its) : out->words[i];
    out->rebuilt += fmt::format("${}\r\n", word.size());
    out->rebuilt.append(word).append("\r\n");
  }
  out->action = Action::kForward;
  out->group = state_.resp3 ? 1 : 0;
  out->scan = true;
  out->scan_at = cursor->server;
  out->scan_check = cursor->check;
  out->is_read = true;
  out->reply_kind = static_cast<uint8_t>(ReplyKind::kScan);
  out->head = out->rebuilt;
}

}  // namespace cashew::protocol::redis

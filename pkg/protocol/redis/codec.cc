#include "pkg/protocol/codec.h"

#include <algorithm>

#include "fmt/format.h"

#include "pkg/protocol/redis/cluster_commands.h"
#include "pkg/protocol/redis/greeting.h"
#include "pkg/protocol/redis/reply_parser.h"
#include "pkg/protocol/redis/reply_writer.h"
#include "pkg/protocol/redis/request_parser.h"

namespace cashew::protocol {
namespace redis {
namespace {

class Redis final : public Codec {
 public:
  std::unique_ptr<RequestParser> NewRequestParser(const Limits& limits) const override {
    return std::make_unique<RedisRequestParser>(limits);
  }
  std::unique_ptr<ReplyParser> NewReplyParser(uint8_t group) const override {
    return std::make_unique<RedisReplyParser>(/*resp3=*/group == 1);
  }
  std::unique_ptr<Greeting> NewGreeting(const Limits& limits, uint8_t group) const override {
    return NewRedisGreeting(limits, /*resp3=*/group == 1);
  }

  // Each key's stretch begins with its own "$length".
  void EncodePart(const Command& command, std::span<const std::string_view> keys,
                  std::string* out) const override {
    const size_t words = command.merge == Merge::kAgree ? 2 * keys.size() : keys.size();
    AppendHeader(out, '*', static_cast<int64_t>(1 + words));
    AppendHeader(out, '$', static_cast<int64_t>(command.verb.size()));
    out->append(command.verb).append("\r\n");
    for (const std::string_view stretch : keys) out->append(stretch);
  }

  size_t KeysPerPart(const Command& command,
                     std::span<const std::string_view> keys) const override {
    return keys.size();
  }

  std::string MergedBegin(Merge merge, size_t keys, int64_t sum) const override {
    std::string begin;
    if (merge == Merge::kBlocks) AppendHeader(&begin, '*', static_cast<int64_t>(keys));
    if (merge == Merge::kSum) AppendHeader(&begin, ':', sum);
    if (merge == Merge::kAgree) begin = "+OK\r\n";
    return begin;
  }
  std::string_view MergedEnd(Merge merge) const override { return {}; }

  // Reads of a redis pool are not answered as misses: what a miss looks like depends on
  // the command.
  std::string_view Miss(uint8_t reply_kind) const override { return "$-1\r\n"; }

  std::string MergeWhole(uint8_t reply_kind,
                         const std::vector<std::string>& replies) const override {
    return MergeReplies(static_cast<ReplyKind>(reply_kind), replies);
  }

  uint32_t ScanCheck(uint32_t membership_checksum) const override {
    return ScanCursor::CheckOf(membership_checksum);
  }
  std::string ScanBegin(uint32_t server, size_t servers, uint32_t check,
                        int64_t cursor) const override {
    return ScanCursor::Begin(server, servers, check, cursor);
  }

  // An array of strings, or a line of words.
  std::string_view CommandWord(std::string_view message) const override {
    if (!message.starts_with('*')) return FirstWord(message);
    const size_t length = message.find('$');
    if (length == std::string_view::npos) return {};
    const size_t end = message.find('\n', length);
    return end == std::string_view::npos ? std::string_view() : FirstWord(message.substr(end + 1));
  }

  bool IsError(std::string_view answer) const override { return answer.starts_with('-'); }
  std::string Error(std::string_view text) const override {
    std::string line;
    const bool has_code = text.substr(0, 8) == "NOPROTO ";
    ReplyWriter(&line, false).Error(has_code ? std::string(text) : fmt::format("ERR {}", text));
    return line;
  }

  std::string CrossServer() const override {
    return "-CROSSSLOT Keys in request are on different servers of the pool; a hash tag (the "
           "pool's hash_tag) keeps them together\r\n";
  }

  std::string FormatStats(const Stats& stats) const override {
    std::string text =
        fmt::format("# Server\r\nredis_version:{}\r\nredis_mode:standalone\r\n", kRedisVersion);
    text += "# Persistence\r\nloading:0\r\n# Replication\r\nrole:master\r\n# Proxy\r\n";
    for (const auto& [name, value] : stats) text += fmt::format("{}:{}\r\n", name, value);
    std::string reply;
    ReplyWriter(&reply, false).Bulk(text);
    return reply;
  }

  std::string_view ResetRequest() const override { return "*1\r\n$7\r\nUNWATCH\r\n"; }

  std::string_view ProbeRequest() const override { return "*1\r\n$4\r\nPING\r\n"; }

  // A server that wants a password is alive; one that loads its data cannot serve yet.
  ParseStatus CheckProbe(std::string_view reply) const override {
    for (const std::string_view good : {"+PONG\r\n", "-NOAUTH ", "-NOPERM "}) {
      const size_t n = std::min(reply.size(), good.size());
      if (reply.substr(0, n) != good.substr(0, n)) continue;
      return n == good.size() ? ParseStatus::kDone : ParseStatus::kNeedMore;
    }
    return ParseStatus::kInvalid;
  }
};

}  // namespace
}  // namespace redis

const Codec& RedisCodec() {
  static const auto* const codec = new redis::Redis;
  return *codec;
}

}  // namespace cashew::protocol

#include "pkg/protocol/codec.h"

#include "fmt/format.h"

#include "pkg/protocol/memcached/reply_parser.h"
#include "pkg/protocol/memcached/request_parser.h"

namespace cashew::protocol {
namespace memcached {
namespace {

// memcached hangs up on longer lines unless they begin with "get " or "gets ".
constexpr size_t kLineWithoutLimit = 2000;

class Memcached final : public Codec {
 public:
  std::unique_ptr<RequestParser> NewRequestParser(const Limits& limits) const override {
    return std::make_unique<MemcachedRequestParser>(limits);
  }
  std::unique_ptr<ReplyParser> NewReplyParser(uint8_t group) const override {
    return std::make_unique<MemcachedReplyParser>();
  }

  void EncodePart(const Command& command, std::span<const std::string_view> keys,
                  std::string* out) const override {
    out->append(command.verb);
    if (!command.verb_argument.empty()) out->append(" ").append(command.verb_argument);
    for (const std::string_view key : keys) out->append(" ").append(key);
    out->append("\r\n");
  }

  size_t KeysPerPart(const Command& command,
                     std::span<const std::string_view> keys) const override {
    if (command.verb_argument.empty()) return keys.size();
    size_t line = command.verb.size() + command.verb_argument.size() + 3;
    size_t n = 0;
    while (n < keys.size() && (line += keys[n].size() + 1) <= kLineWithoutLimit) ++n;
    return n > 0 ? n : 1;
  }

  std::string MergedBegin(Merge merge, size_t keys, int64_t sum) const override { return {}; }
  std::string_view MergedEnd(Merge merge) const override {
    return merge == Merge::kAgree ? "OK\r\n" : "END\r\n";
  }

  std::string_view Miss(uint8_t reply_kind) const override {
    return static_cast<ReplyKind>(reply_kind) == ReplyKind::kMetaGet ? "EN\r\n" : "END\r\n";
  }

  std::string_view CommandWord(std::string_view message) const override {
    return FirstWord(message);
  }

  bool IsError(std::string_view answer) const override {
    return answer.starts_with("ERROR") || answer.starts_with("CLIENT_ERROR") ||
           answer.starts_with("SERVER_ERROR");
  }
  std::string Error(std::string_view text) const override {
    return fmt::format("SERVER_ERROR {}\r\n", text);
  }

  std::string FormatStats(const Stats& stats) const override {
    std::string text;
    for (const auto& [name, value] : stats) text += fmt::format("STAT {} {}\r\n", name, value);
    return text + "END\r\n";
  }

  std::string_view ProbeRequest() const override { return "version\r\n"; }

  ParseStatus CheckProbe(std::string_view reply) const override {
    constexpr std::string_view kExpected = "VERSION ";
    const size_t n = std::min(reply.size(), kExpected.size());
    if (reply.substr(0, n) != kExpected.substr(0, n)) return ParseStatus::kInvalid;
    return reply.find("\r\n") != std::string_view::npos ? ParseStatus::kDone
                                                        : ParseStatus::kNeedMore;
  }
};

}  // namespace
}  // namespace memcached

const Codec& MemcachedCodec() {
  static const auto* const codec = new memcached::Memcached;
  return *codec;
}

}  // namespace cashew::protocol

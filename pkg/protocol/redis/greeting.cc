#include "pkg/protocol/redis/greeting.h"

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "pkg/protocol/redis/reply_parser.h"

namespace cashew::protocol::redis {
namespace {

enum class StepKind : uint8_t { kAuth, kHello, kSelect };

std::string Encode(const std::vector<std::string>& words) {
  std::string text = fmt::format("*{}\r\n", words.size());
  for (const std::string& word : words) text += fmt::format("${}\r\n{}\r\n", word.size(), word);
  return text;
}

bool Has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

class RedisGreeting final : public Greeting {
 public:
  RedisGreeting(const Codec::Limits& limits, bool resp3)
      : strict_(limits.strict), resp3_(resp3), database_(limits.database) {
    const std::string& password = limits.password.Reveal();
    const bool login = !password.empty();
    if (login && limits.user.empty()) {
      Say(StepKind::kAuth, {"AUTH", password});
    } else if (login) {
      Say(StepKind::kAuth, {"AUTH", limits.user, password});
    }
    if (resp3) Say(StepKind::kHello, {"HELLO", "3"});
    if (database_ != 0) Say(StepKind::kSelect, {"SELECT", fmt::format("{}", database_)});
  }

  bool empty() const { return steps_.empty(); }
  std::string_view request() const override { return request_; }

  ParseStatus Check(std::string_view replies) override {
    problem_.clear();
    for (const StepKind step : steps_) {
      // HELLO's own answer may be RESP3 already.
      RedisReplyParser parser(resp3_);
      Expectation expect;
      const ReplyParser::Result result = parser.Parse(replies, &expect, nullptr);
      if (result.status == ParseStatus::kNeedMore) {
        return replies.size() > kMaxReplies ? Refuse("its answer to the login is too long")
                                            : ParseStatus::kNeedMore;
      }
      if (result.status == ParseStatus::kInvalid)
        return Refuse("its answer to the login is no RESP");
      const std::string_view reply = replies.substr(0, result.consumed);
      replies.remove_prefix(result.consumed);
      if (result.outcome != Outcome::kServerError) continue;
      if (const ParseStatus status = OnError(step, reply); status != ParseStatus::kDone) {
        return status;
      }
    }
    if (!replies.empty()) return Refuse("it answered the login with more than was asked");
    return ParseStatus::kDone;
  }

  const std::string& problem() const override { return problem_; }
  bool not_spoken() const override { return not_spoken_; }

 private:
  static constexpr size_t kMaxReplies = 16 * 1024;

  void Say(StepKind step, const std::vector<std::string>& words) {
    steps_.push_back(step);
    request_ += Encode(words);
  }

  ParseStatus Refuse(std::string text) {
    problem_ = std::move(text);
    return ParseStatus::kInvalid;
  }

  ParseStatus OnError(StepKind step, std::string_view reply) {
    const std::string said(reply.substr(1, reply.find('\r') - 1));
    switch (step) {
      case StepKind::kAuth: {
        const bool no_password =
            Has(said, "without any password configured") || Has(said, "no password is set");
        if (!strict_ && !no_password) {
          return Refuse(fmt::format("the server refused the pool's redis_auth: {}", said));
        }
        problem_ = no_password ? "the server has no password, the pool has redis_auth"
                               : fmt::format("the server refused the pool's redis_auth: {}", said);
        return ParseStatus::kDone;
      }
      case StepKind::kHello:
        not_spoken_ = Has(said, "NOPROTO") || Has(said, "unknown command");
        return Refuse(not_spoken_ ? "NOPROTO the server does not speak RESP3"
                                  : fmt::format("the server refused HELLO 3: {}", said));
      case StepKind::kSelect:
        return Refuse(
            fmt::format("the server refused the pool's redis_db {}: {}", database_, said));
    }
    return ParseStatus::kInvalid;
  }

  const bool strict_;
  const bool resp3_;
  const int database_;
  bool not_spoken_ = false;
  std::vector<StepKind> steps_;
  std::string request_;
  std::string problem_;
};

}  // namespace

std::unique_ptr<Greeting> NewRedisGreeting(const Codec::Limits& limits, bool resp3) {
  auto greeting = std::make_unique<RedisGreeting>(limits, resp3);
  if (greeting->empty()) return nullptr;
  return greeting;
}

}  // namespace cashew::protocol::redis

#include "pkg/protocol/redis/greeting.h"

#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/protocol/redis/test_client.h"

namespace cashew::protocol::redis {
namespace {

Codec::Limits Pool(const std::string& password, const std::string& user = "", int database = 0) {
  Codec::Limits limits;
  limits.password = base::Secret(password);
  limits.user = user;
  limits.database = database;
  return limits;
}

std::unique_ptr<Greeting> New(const Codec::Limits& limits, bool resp3 = false) {
  return RedisCodec().NewGreeting(limits, resp3 ? 1 : 0);
}

constexpr std::string_view kHelloReply =
    "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nmodules\r\n*0\r\n";

TEST(RedisGreeting, APoolWithoutSettingsSaysNothing) { EXPECT_EQ(New({}), nullptr); }

TEST(RedisGreeting, ItSaysWhatThePoolsSettingsAskFor) {
  EXPECT_EQ(New(Pool("pw"))->request(), Encode({"AUTH", "pw"}));
  EXPECT_EQ(New(Pool("pw", "app"))->request(), Encode({"AUTH", "app", "pw"}));
  EXPECT_EQ(New(Pool("", "", 5))->request(), Encode({"SELECT", "5"}));
  EXPECT_EQ(New({}, true)->request(), Encode({"HELLO", "3"}));
  EXPECT_EQ(New(Pool("pw", "app", 12), true)->request(),
            Encode({"AUTH", "app", "pw"}) + Encode({"HELLO", "3"}) + Encode({"SELECT", "12"}))
      << "the login first: nothing else may be said before it";
  EXPECT_EQ(New(Pool("a\r\nb"))->request(), Encode({"AUTH", "a\r\nb"}));
}

TEST(RedisGreeting, ItsAnswersMayComeInPieces) {
  const auto greeting = New(Pool("pw", "", 2), true);
  const std::string answers = "+OK\r\n" + std::string(kHelloReply) + "+OK\r\n";
  for (size_t n = 0; n < answers.size(); ++n) {
    const std::vector<char> exact(answers.begin(), answers.begin() + static_cast<long>(n));
    ASSERT_EQ(greeting->Check({exact.data(), exact.size()}), ParseStatus::kNeedMore) << n;
  }
  EXPECT_EQ(greeting->Check(answers), ParseStatus::kDone);
  EXPECT_EQ(greeting->problem(), "");
}

TEST(RedisGreeting, WhatFollowsTheAnswersIsNotOurs) {
  const auto greeting = New(Pool("pw"));
  EXPECT_EQ(greeting->Check("+OK\r\n+"), ParseStatus::kInvalid);
  EXPECT_NE(greeting->problem().find("more than was asked"), std::string::npos);
  EXPECT_FALSE(greeting->not_spoken());
}

TEST(RedisGreeting, WhatIsNoRespIsRefused) {
  const auto greeting = New(Pool("pw"));
  EXPECT_EQ(greeting->Check("ERROR\r\n"), ParseStatus::kInvalid);
  EXPECT_NE(greeting->problem().find("no RESP"), std::string::npos);
}

TEST(RedisGreeting, AnAnswerThatDoesNotEndIsGivenUp) {
  const auto greeting = New(Pool("pw"));
  EXPECT_EQ(greeting->Check("+" + std::string(10'000, 'x')), ParseStatus::kNeedMore);
  EXPECT_EQ(greeting->Check("+" + std::string(20'000, 'x')), ParseStatus::kInvalid);
  EXPECT_NE(greeting->problem().find("too long"), std::string::npos);
}

TEST(RedisGreeting, ARefusedPasswordIsTheEndAndIsNotRepeated) {
  const auto greeting = New(Pool("sekret", "app", 3));
  EXPECT_EQ(greeting->Check("-WRONGPASS invalid username-password pair\r\n-NOAUTH x\r\n"),
            ParseStatus::kInvalid);
  EXPECT_EQ(greeting->problem(),
            "the server refused the pool's redis_auth: WRONGPASS invalid username-password pair");
  EXPECT_EQ(greeting->problem().find("sekret"), std::string::npos);
}

TEST(RedisGreeting, AServerWithoutAPasswordIsTakenWithAWarning) {
  for (const std::string_view said :
       {"-ERR AUTH <password> called without any password configured for the default user. Are "
        "you sure your configuration is correct?\r\n",
        "-ERR Client sent AUTH, but no password is set\r\n"}) {
    const auto greeting = New(Pool("pw", "", 1));
    EXPECT_EQ(greeting->Check(std::string(said) + "+OK\r\n"), ParseStatus::kDone);
    EXPECT_EQ(greeting->problem(), "the server has no password, the pool has redis_auth");
  }
}

TEST(RedisGreeting, StrictPoolsLeaveARefusedPasswordToTheServersOwnErrors) {
  Codec::Limits limits = Pool("pw", "", 1);
  limits.strict = true;
  const auto greeting = New(limits);
  EXPECT_EQ(greeting->Check("-WRONGPASS no\r\n+OK\r\n"), ParseStatus::kDone);
  EXPECT_NE(greeting->problem().find("WRONGPASS no"), std::string::npos) << "as a warning";
  const auto database = New(limits);
  EXPECT_EQ(database->Check("-WRONGPASS no\r\n-NOAUTH Authentication required.\r\n"),
            ParseStatus::kInvalid)
      << "but not the wrong database";
}

TEST(RedisGreeting, ADatabaseThatIsNotThereIsTheEnd) {
  const auto greeting = New(Pool("", "", 99));
  EXPECT_EQ(greeting->Check("-ERR DB index is out of range\r\n"), ParseStatus::kInvalid);
  EXPECT_EQ(greeting->problem(),
            "the server refused the pool's redis_db 99: ERR DB index is out of range");
  EXPECT_FALSE(greeting->not_spoken());
}

TEST(RedisGreeting, AServerThatDoesNotSpeakResp3IsToldApartFromOneThatRefuses) {
  for (const std::string_view said :
       {"-NOPROTO unsupported protocol version\r\n", "-ERR unknown command 'HELLO'\r\n",
        "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n"}) {
    const auto greeting = New({}, true);
    EXPECT_EQ(greeting->Check(said), ParseStatus::kInvalid);
    EXPECT_TRUE(greeting->not_spoken()) << said;
    EXPECT_EQ(greeting->problem().substr(0, 8), "NOPROTO ");
  }
  const auto refused = New({}, true);
  EXPECT_EQ(
      refused->Check("-NOAUTH HELLO must be called with the client already authenticated\r\n"),
      ParseStatus::kInvalid);
  EXPECT_FALSE(refused->not_spoken());
  EXPECT_NE(refused->problem().find("HELLO 3: NOAUTH"), std::string::npos);
}

TEST(RedisGreeting, AllAnswersAreLookedAtBeforeOneIsWaitedFor) {
  const auto greeting = New(Pool("pw", "", 2), true);
  EXPECT_EQ(greeting->Check("+OK\r\n-NOPROTO no\r\n"), ParseStatus::kInvalid)
      << "the third answer is of no interest";
  EXPECT_TRUE(greeting->not_spoken());
}

}  // namespace
}  // namespace cashew::protocol::redis

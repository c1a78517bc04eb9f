#include "pkg/protocol/redis/reply_parser.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "fmt/format.h"

namespace cashew::protocol::redis {
namespace {

using std::string_view_literals::operator""sv;

// What a connection's bytes gave: each reply's bytes, as a client would see them.
struct Got {
  std::vector<std::string> replies;
  std::vector<Outcome> outcomes;
  std::vector<int64_t> numbers;
  bool invalid = false;
  bool operator==(const Got&) const = default;
};

// Feeds `stream`, cut at `cuts`, as a server session does: what is not consumed comes again
// with more. Each call sees an exact copy, so that a sanitizer sees it look further.
Got Feed(bool resp3, std::string_view stream, std::vector<size_t> cuts,
         const Expectation& expectation = {}, std::vector<Block>* blocks = nullptr) {
  RedisReplyParser parser(resp3);
  Got got;
  Expectation expect = expectation;
  std::string reply, carry;
  std::sort(cuts.begin(), cuts.end());
  cuts.push_back(stream.size());
  size_t begin = 0;
  for (const size_t cut : cuts) {
    carry += stream.substr(begin, cut - begin);
    begin = cut;
    while (!carry.empty()) {
      const std::vector<char> exact(carry.begin(), carry.end());
      const auto result = parser.Parse({exact.data(), exact.size()}, &expect, blocks);
      EXPECT_LE(result.consumed, exact.size());
      EXPECT_LE(result.dropped, result.consumed);
      if (result.status == ParseStatus::kInvalid) {
        got.invalid = true;
        return got;
      }
      reply.append(exact.data() + result.dropped, result.consumed - result.dropped);
      carry.erase(0, result.consumed);
      if (result.status == ParseStatus::kNeedMore) break;
      got.outcomes.push_back(result.outcome);
      got.numbers.push_back(expect.number);
      got.replies.push_back(reply);
      reply.clear();
      if (result.outcome == Outcome::kInterim || result.outcome == Outcome::kUnasked) continue;
      expect = expectation;
    }
  }
  return got;
}

Got Whole(bool resp3, std::string_view stream, const Expectation& expectation = {}) {
  return Feed(resp3, stream, {}, expectation);
}

constexpr std::string_view kResp2[] = {
    "+OK\r\n",
    "+\r\n",
    "-ERR x\r\n",
    ":0\r\n",
    ":-9223372036854775808\r\n",
    "$0\r\n\r\n",
    "$3\r\na\r\n\r\n",
    "$-1\r\n",
    "*-1\r\n",
    "*0\r\n",
    "*3\r\n:1\r\n*2\r\n$1\r\nx\r\n-ERR in\r\n$-1\r\n",
    "*1\r\n*1\r\n*1\r\n*0\r\n",
};
constexpr std::string_view kResp3[] = {
    "_\r\n",
    "#t\r\n",
    "#f\r\n",
    ",1.5\r\n",
    ",inf\r\n",
    "(12345678901234567890\r\n",
    "!5\r\nERR x\r\n",
    "=7\r\ntxt:abc\r\n",
    "%2\r\n+a\r\n:1\r\n+b\r\n%0\r\n",
    "~2\r\n:1\r\n:2\r\n",
    "|1\r\n+ttl\r\n:5\r\n$1\r\nx\r\n",
    "*2\r\n|1\r\n+a\r\n*1\r\n:1\r\n:7\r\n_\r\n",
};

TEST(RedisReplyParser, EveryTypeIsOneReplyAndPassesUnchanged) {
  for (const std::string_view text : kResp2) {
    for (const bool resp3 : {false, true}) {
      const Got got = Whole(resp3, text);
      ASSERT_EQ(got.replies, std::vector<std::string>{std::string(text)}) << text;
    }
  }
  for (const std::string_view text : kResp3) {
    EXPECT_EQ(Whole(true, text).replies, std::vector<std::string>{std::string(text)}) << text;
    EXPECT_TRUE(Whole(false, text).invalid) << "RESP2 has no " << text;
  }
}

TEST(RedisReplyParser, AnyCutGivesTheSame) {
  std::string stream;
  for (const std::string_view text : kResp2) stream += text;
  for (const std::string_view text : kResp3) stream += text;
  const Got whole = Whole(true, stream);
  ASSERT_EQ(whole.replies.size(), std::size(kResp2) + std::size(kResp3));
  for (size_t cut = 1; cut < stream.size(); ++cut) {
    ASSERT_EQ(Feed(true, stream, {cut}), whole) << cut;
  }
  std::vector<size_t> all(stream.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  EXPECT_EQ(Feed(true, stream, all), whole) << "byte by byte";
}

// A random value, written as RESP3.
std::string RandomValue(std::mt19937& random, int depth) {
  const auto kind = random() % (depth > 0 ? 10 : 7);
  const auto n = random() % 4;
  const std::string text(random() % 40, static_cast<char>('a' + random() % 26));
  switch (kind) {
    case 0:
      return "+" + text + "\r\n";
    case 1:
      return "-ERR " + text + "\r\n";
    case 2:
      return fmt::format(":{}\r\n", static_cast<int>(random() % 2000) - 1000);
    case 3:
      return fmt::format("${}\r\n{}\r\n", text.size(), text);
    case 4:
      return random() % 2 == 0 ? "$-1\r\n" : "_\r\n";
    case 5:
      return ",3.25\r\n";
    case 6:
      return "#t\r\n";
    default: {
      const bool map = kind == 9;
      std::string value = fmt::format("{}{}\r\n", map ? '%' : kind == 8 ? '~' : '*', n);
      for (size_t i = 0; i < (map ? 2 * n : n); ++i) value += RandomValue(random, depth - 1);
      return value;
    }
  }
}

TEST(RedisReplyParser, RandomValuesEndWhereTheyEnd) {
  std::mt19937 random(20261121);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> values(1 + random() % 6);
    std::string stream;
    for (std::string& value : values) stream += value = RandomValue(random, 6);
    std::vector<size_t> cuts(random() % 6);
    for (size_t& cut : cuts) cut = random() % (stream.size() + 1);
    ASSERT_EQ(Feed(true, stream, cuts).replies, values) << stream;
  }
}

TEST(RedisReplyParser, DeepNestingNeedsNoStack) {
  std::string deep;
  for (int i = 0; i < 1'000'000; ++i) deep += "*1\r\n";
  deep += ":1\r\n";
  EXPECT_EQ(Whole(false, deep).replies.size(), 1u);
}

TEST(RedisReplyParser, WhatIsNoReplyIsInvalid) {
  for (const std::string_view text :
       {"what\r\n"sv, "$5\r\nabcdefgh\r\n"sv, "$-2\r\n"sv, "*-2\r\n"sv, "$?\r\n"sv, "*?\r\n"sv,
        "$03\r\nabc\r\n"sv, "*+1\r\n"sv, "$1 \r\nx\r\n"sv, ":\r\n"sv, ":x\r\n"sv, ":1\n"sv,
        "*99999999999999999999\r\n"sv, "$3000000000\r\n"sv, "*5000000000\r\n"sv, "+a\rb\r\n"sv,
        "$1111111111111111111111111111111111111"sv, "\0"sv, ">1\r\n+x\r\n"sv}) {
    EXPECT_TRUE(Whole(false, text).invalid) << text;
  }
  for (const std::string_view text :
       {"_x\r\n"sv, "#x\r\n"sv, "%-1\r\n"sv, "~?\r\n"sv, "!-1\r\n"sv, "*1\r\n>1\r\n+x\r\n"sv}) {
    EXPECT_TRUE(Whole(true, text).invalid) << text;
  }
}

TEST(RedisReplyParser, ALongErrorLinePassesAndTellsItsTroubleOnce) {
  const std::string line = "-OOM " + std::string(300'000, 'x') + "\r\n";
  EXPECT_EQ(Feed(false, line, {1, 3, 70'000, 299'999}).replies, std::vector<std::string>{line});
  struct Case {
    std::string_view text;
    Trouble trouble;
  };
  for (const Case& c : {Case{"-OOM x\r\n", Trouble::kOutOfMemory},
                        {"-BUSY x\r\n", Trouble::kBusy},
                        {"-LOADING x\r\n", Trouble::kLoading},
                        {"-READONLY x\r\n", Trouble::kReadonly},
                        {"-MASTERDOWN x\r\n", Trouble::kMasterDown},
                        {"-BUSYKEY x\r\n", Trouble::kNone},
                        {"-ERR\r\n", Trouble::kNone}}) {
    RedisReplyParser parser(false);
    Expectation expect;
    const auto result = parser.Parse(c.text, &expect, nullptr);
    EXPECT_EQ(result.trouble, c.trouble) << c.text;
    EXPECT_EQ(result.outcome, Outcome::kServerError);
  }
}

TEST(RedisReplyParser, InterimRepliesAreCountedDownAndSeenByNobody) {
  const std::string stream = "+OK\r\n+QUEUED\r\n$3\r\nabc\r\n-ERR x\r\n*1\r\n+OK\r\n";
  for (size_t cut = 0; cut < stream.size(); ++cut) {
    const Got got = Feed(false, stream, {cut}, {.interim = 4});
    ASSERT_EQ(got.replies, (std::vector<std::string>{"", "", "", "", "*1\r\n+OK\r\n"})) << cut;
    ASSERT_EQ(got.outcomes[3], Outcome::kInterim);
    ASSERT_EQ(got.outcomes[4], Outcome::kNormal);
  }
}

TEST(RedisReplyParser, PushMessagesAreSetApartFromReplies) {
  const std::string push = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n";
  const std::string stream = push + ":1\r\n" + push + push + "$1\r\nx\r\n";
  for (size_t cut = 0; cut < stream.size(); ++cut) {
    const Got got = Feed(true, stream, {cut});
    ASSERT_EQ(got.replies, (std::vector<std::string>{"", ":1\r\n", "", "", "$1\r\nx\r\n"})) << cut;
    ASSERT_EQ(got.outcomes[0], Outcome::kUnasked);
  }
  RedisReplyParser parser(true);
  EXPECT_TRUE(parser.IsUnasked(">"));
  EXPECT_FALSE(parser.IsUnasked("+"));
  Expectation expect;
  parser.Parse(push.substr(0, 6), &expect, nullptr);
  EXPECT_TRUE(parser.IsUnasked("anything")) << "in the middle of one";
  EXPECT_FALSE(RedisReplyParser(false).IsUnasked(">"));
}

TEST(RedisReplyParser, AListsFrameIsDroppedAndItsElementsAreToldApart) {
  const std::string stream = "*4\r\n$3\r\nabc\r\n$-1\r\n$0\r\n\r\n:12\r\n";
  for (size_t cut = 0; cut < stream.size(); ++cut) {
    std::vector<Block> blocks;
    const Got got =
        Feed(false, stream, {cut},
             {.reply_kind = static_cast<uint8_t>(ReplyKind::kList), .count = 4}, &blocks);
    ASSERT_EQ(got.replies, std::vector<std::string>{stream.substr(4)}) << cut;
    ASSERT_EQ(blocks.size(), 4u) << cut;
    const uint32_t bytes[] = {9, 5, 6, 5};
    for (uint32_t i = 0; i < 4; ++i) {
      ASSERT_EQ(blocks[i].key, i);
      ASSERT_EQ(blocks[i].bytes, bytes[i]) << cut;
    }
  }
  const auto list = static_cast<uint8_t>(ReplyKind::kList);
  EXPECT_TRUE(Whole(false, "*3\r\n", {.reply_kind = list, .count = 4}).invalid) << "one too few";
  EXPECT_TRUE(Whole(false, "$1\r\nx\r\n", {.reply_kind = list, .count = 1}).invalid);
  EXPECT_TRUE(Whole(false, "*1\r\n*0\r\n", {.reply_kind = list, .count = 1}).invalid) << "nested";
  EXPECT_EQ(Whole(false, "-ERR x\r\n", {.reply_kind = list, .count = 1}).outcomes,
            std::vector<Outcome>{Outcome::kServerError});
}

TEST(RedisReplyParser, NumbersAndCursorsAreTakenOut) {
  const auto integer = static_cast<uint8_t>(ReplyKind::kInteger);
  EXPECT_EQ(Whole(false, ":42\r\n", {.reply_kind = integer}).numbers, std::vector<int64_t>{42});
  EXPECT_TRUE(Whole(false, "$2\r\n42\r\n", {.reply_kind = integer}).invalid);
  const std::string stream = "*2\r\n$4\r\n1234\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n";
  for (size_t cut = 0; cut < stream.size(); ++cut) {
    const Got got =
        Feed(false, stream, {cut}, {.reply_kind = static_cast<uint8_t>(ReplyKind::kScan)});
    ASSERT_EQ(got.numbers, std::vector<int64_t>{1234}) << cut;
    ASSERT_EQ(got.replies, std::vector<std::string>{"*2\r\n$1\r\na\r\n$1\r\nb\r\n"}) << cut;
  }
}

TEST(RedisReplyParser, ABodyThatGoesOnIsCounted) {
  RedisReplyParser parser(false);
  Expectation expect;
  const auto begin = parser.Parse("$1000\r\nabc", &expect, nullptr);
  EXPECT_EQ(begin.status, ParseStatus::kNeedMore);
  EXPECT_EQ(begin.consumed, 10u);
  EXPECT_EQ(begin.body_left, 999u);
  const auto middle = parser.Parse(std::string(998, 'x') + "\r", &expect, nullptr);
  EXPECT_EQ(middle.status, ParseStatus::kInvalid) << "too long by one";
  RedisReplyParser other(false);
  other.Parse("$1000\r\nabc", &expect, nullptr);
  EXPECT_EQ(other.Parse(std::string(997, 'x') + "\r", &expect, nullptr).body_left, 1u);
  EXPECT_EQ(other.Parse("\n", &expect, nullptr).status, ParseStatus::kDone);
}

TEST(RedisReplyParser, ABodyMustEndWithCrlfAtAnyCut) {
  for (const std::string_view text : {"$3\r\nabcx\n"sv, "$3\r\nabc\rx"sv, "$0\r\nx\n"sv,
                                      "$3\r\nabc\n\r"sv, "*1\r\n$1\r\nabc"sv}) {
    for (size_t cut = 0; cut < text.size(); ++cut) {
      ASSERT_TRUE(Feed(false, text, {cut}).invalid) << text << cut;
    }
  }
}

TEST(RedisReplyParser, AnErrorInsideAListIsNoErrorOfTheRequest) {
  RedisReplyParser parser(false);
  Expectation expect;
  const auto result = parser.Parse("*2\r\n-OOM x\r\n:1\r\n", &expect, nullptr);
  EXPECT_EQ(result.outcome, Outcome::kNormal);
  EXPECT_EQ(result.trouble, Trouble::kNone);
  EXPECT_EQ(Whole(true, "!5\r\nERR x\r\n").outcomes, std::vector<Outcome>{Outcome::kServerError});
}

TEST(RedisReplyParser, TroubleIsToldAtAnyCutAndForgottenWithTheReply) {
  const std::string line = "-MASTERDOWN Link with MASTER is down\r\n";
  for (size_t cut = 0; cut < line.size(); ++cut) {
    RedisReplyParser parser(false);
    Expectation expect;
    const auto first = parser.Parse(line.substr(0, cut), &expect, nullptr);
    const auto second = parser.Parse(line.substr(first.consumed), &expect, nullptr);
    ASSERT_EQ(second.status, ParseStatus::kDone);
    ASSERT_EQ(second.trouble, Trouble::kMasterDown) << cut;
    ASSERT_EQ(parser.Parse("-ERR x\r\n", &expect, nullptr).trouble, Trouble::kNone);
  }
}

TEST(RedisReplyParser, TheReplyThatCountsMustBeOfItsKind) {
  struct Case {
    ReplyKind kind;
    std::string_view good, bad;
  };
  for (const Case& c : {Case{ReplyKind::kOk, "+OK\r\n", ":1\r\n"},
                        {ReplyKind::kInteger, ":1\r\n", "+OK\r\n"},
                        {ReplyKind::kList, "*1\r\n$-1\r\n", "$-1\r\n"},
                        {ReplyKind::kScan, "*2\r\n$1\r\n0\r\n*0\r\n", "$1\r\n0\r\n"},
                        {ReplyKind::kAllTrue, "*1\r\n:1\r\n", ":1\r\n"},
                        {ReplyKind::kConcatenate, "*0\r\n", "%0\r\n"}}) {
    const Expectation expect{.reply_kind = static_cast<uint8_t>(c.kind), .count = 1};
    for (const bool resp3 : {false, true}) {
      EXPECT_FALSE(Whole(resp3, c.good, expect).invalid) << c.good;
      EXPECT_TRUE(Whole(resp3, c.bad, expect).invalid) << c.bad;
      EXPECT_EQ(Whole(resp3, "-ERR x\r\n", expect).outcomes,
                std::vector<Outcome>{Outcome::kServerError});
    }
    EXPECT_TRUE(Whole(true, "|1\r\n+a\r\n:1\r\n" + std::string(c.good), expect).invalid)
        << "an attribute would hide what is behind it from merging: " << c.good;
    EXPECT_EQ(Whole(true, "!3\r\nERR\r\n", expect).outcomes,
              std::vector<Outcome>{Outcome::kServerError});
    Expectation later = expect;
    later.interim = 1;
    const Got got = Whole(
        false, std::string(c.bad.front() == '%' ? "+x\r\n"sv : c.bad) + std::string(c.good), later);
    EXPECT_EQ(got.outcomes, (std::vector<Outcome>{Outcome::kInterim, Outcome::kNormal}))
        << "an interim reply may be anything";
  }
}

TEST(RedisReplyParser, AWalksReplyBeginsWithACursor) {
  const Expectation scan{.reply_kind = static_cast<uint8_t>(ReplyKind::kScan)};
  for (const std::string_view text :
       {"*3\r\n$1\r\n0\r\n*0\r\n"sv, "*2\r\n:0\r\n*0\r\n"sv, "*2\r\n$1\r\nx\r\n*0\r\n"sv,
        "*2\r\n$2\r\n-1\r\n*0\r\n"sv, "*2\r\n*0\r\n*0\r\n"sv,
        "*2\r\n$100\r\n0000000000000000000000000000000000000000000000000000000000000000000"sv}) {
    EXPECT_TRUE(Whole(false, text, scan).invalid) << text;
  }
}

TEST(RedisReplyParser, PushMessagesMayComeAnywhereBetweenReplies) {
  const std::string push = ">2\r\n+invalidate\r\n*1\r\n$3\r\nkey\r\n";
  const std::string stream =
      push + "+OK\r\n" + push + "+QUEUED\r\n" + push + "*2\r\n$1\r\na\r\n_\r\n" + push;
  const Expectation expect{
      .reply_kind = static_cast<uint8_t>(ReplyKind::kList), .count = 2, .interim = 2};
  for (size_t cut = 0; cut < stream.size(); ++cut) {
    std::vector<Block> blocks;
    const Got got = Feed(true, stream, {cut}, expect, &blocks);
    ASSERT_EQ(got.outcomes,
              (std::vector<Outcome>{Outcome::kUnasked, Outcome::kInterim, Outcome::kUnasked,
                                    Outcome::kInterim, Outcome::kUnasked, Outcome::kNormal,
                                    Outcome::kUnasked}))
        << cut;
    ASSERT_EQ(got.replies[5], "$1\r\na\r\n_\r\n");
    ASSERT_EQ(blocks.size(), 2u) << cut;
    ASSERT_EQ(blocks[0].bytes, 7u);
    ASSERT_EQ(blocks[1].bytes, 3u);
  }
}

TEST(RedisReplyParser, ALargeInterimReplyIsDroppedAsItComes) {
  RedisReplyParser parser(false);
  Expectation expect{.interim = 1};
  const std::string text = "$100000\r\n" + std::string(50'000, 'x');
  const auto result = parser.Parse(text, &expect, nullptr);
  EXPECT_EQ(result.status, ParseStatus::kNeedMore);
  EXPECT_EQ(result.consumed, text.size());
  EXPECT_EQ(result.dropped, text.size());
  EXPECT_EQ(expect.interim, 1u);
  const auto end = parser.Parse(std::string(50'000, 'x') + "\r\n+OK\r\n", &expect, nullptr);
  EXPECT_EQ(end.status, ParseStatus::kDone);
  EXPECT_EQ(end.consumed, 50'002u);
  EXPECT_EQ(end.dropped, 50'002u);
  EXPECT_EQ(expect.interim, 0u);
}

TEST(RedisReplyParser, BlocksAreRightHoweverTheListIsCut) {
  std::mt19937 random(3);
  for (int round = 0; round < 2'000; ++round) {
    std::vector<std::string> values(1 + random() % 8);
    std::string stream = fmt::format("*{}\r\n", values.size());
    for (std::string& value : values) stream += value = RandomValue(random, 0);
    std::vector<size_t> cuts(random() % 8);
    for (size_t& cut : cuts) cut = random() % (stream.size() + 1);
    std::vector<Block> blocks;
    const Got got = Feed(true, stream, cuts,
                         {.reply_kind = static_cast<uint8_t>(ReplyKind::kList),
                          .count = static_cast<uint32_t>(values.size())},
                         &blocks);
    ASSERT_EQ(got.replies.size(), 1u) << stream;
    ASSERT_EQ(blocks.size(), values.size()) << stream;
    size_t at = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(blocks[i].key, i);
      ASSERT_EQ(got.replies[0].substr(at, blocks[i].bytes), values[i]) << stream;
      at += blocks[i].bytes;
    }
    ASSERT_EQ(at, got.replies[0].size());
  }
}

TEST(RedisReplyParser, ManyElementsMayBeAnnouncedButNotMoreThanFit) {
  EXPECT_TRUE(Whole(false, fmt::format("*{}\r\n", kMaxElements)).replies.empty());
  EXPECT_FALSE(Whole(false, fmt::format("*{}\r\n", kMaxElements)).invalid);
  EXPECT_TRUE(Whole(false, fmt::format("*{}\r\n", kMaxElements + 1)).invalid);
  EXPECT_TRUE(Whole(false, fmt::format("*2\r\n*{0}\r\n*{0}\r\n", kMaxElements)).invalid);
  EXPECT_TRUE(Whole(true, fmt::format("%{}\r\n", kMaxElements)).invalid) << "twice as many";
  std::string nested;
  for (int i = 0; i < 100; ++i) nested += fmt::format("*{}\r\n", kMaxElements);
  EXPECT_TRUE(Whole(false, nested).invalid) << "the sum over all levels";
  EXPECT_FALSE(Whole(false, fmt::format("${}\r\n", kMaxBulk)).invalid);
  EXPECT_TRUE(Whole(false, fmt::format("${}\r\n", kMaxBulk + 1)).invalid);
}

TEST(RedisReplyParser, TenThousandLevelsDeepAtAnyOfSomeCuts) {
  std::string deep;
  for (int i = 0; i < 10'000; ++i)
    deep += i % 3 == 0 ? "*1\r\n" : i % 3 == 1 ? "~1\r\n" : "%1\r\n+k\r\n";
  deep += "_\r\n";
  for (size_t cut = 1; cut < deep.size(); cut += 997) {
    ASSERT_EQ(Feed(true, deep + ":1\r\n", {cut}).replies,
              (std::vector<std::string>{deep, ":1\r\n"}));
  }
}

}  // namespace
}  // namespace cashew::protocol::redis

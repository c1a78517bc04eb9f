#include "pkg/protocol/codec.h"

#include <gtest/gtest.h>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/protocol/redis/cluster_commands.h"
#include "pkg/protocol/redis/command_table.h"
#include "pkg/protocol/redis/reply_parser.h"
#include "pkg/protocol/redis/test_client.h"

namespace cashew::protocol::redis {
namespace {

const Codec& TheCodec() { return RedisCodec(); }

// ---- parts ----------------------------------------------------------------------

struct SplitCase {
  std::vector<std::string> words;
  size_t step;  // words of a key
  ReplyKind kind;
};

const SplitCase kSplits[] = {
    {{"MGET", "a", "", "c\r\nd"}, 1, ReplyKind::kList},
    {{"MSET", "a", "1", "", "", "c", std::string("\0\r\n", 3)}, 2, ReplyKind::kOk},
    {{"Del", "a", "b", "a"}, 1, ReplyKind::kInteger},
    {{"UNLINK", "a", "b", "c"}, 1, ReplyKind::kInteger},
    {{"EXISTS", "a", "a", "c"}, 1, ReplyKind::kInteger},
    {{"TOUCH", "a", "b", "c"}, 1, ReplyKind::kInteger},
};

TEST(RedisCodec, APartIsTheSameCommandWithSomeOfTheKeys) {
  for (const SplitCase& c : kSplits) {
    Codec::Limits limits;
    const auto parser = TheCodec().NewRequestParser(limits);
    const std::string text = Encode(c.words);
    Command command;
    ASSERT_EQ(parser->Parse(text, &command).status, ParseStatus::kDone);
    ASSERT_EQ(command.action, Action::kSplit) << c.words[0];
    EXPECT_EQ(command.reply_kind, static_cast<uint8_t>(c.kind)) << c.words[0];
    ASSERT_EQ(command.stretches.size(), 3u);
    const std::span<const std::string_view> all(command.stretches);
    EXPECT_EQ(TheCodec().KeysPerPart(command, all), 3u);
    for (size_t begin = 0; begin < 3; ++begin) {
      for (size_t count = 1; begin + count <= 3; ++count) {
        std::vector<std::string> words = {std::string(command.verb)};
        for (size_t i = 0; i < count * c.step; ++i) {
          words.push_back(c.words[1 + begin * c.step + i]);
        }
        std::string part = "before ";
        TheCodec().EncodePart(command, all.subspan(begin, count), &part);
        EXPECT_EQ(part, "before " + Encode(words));
      }
    }
    EXPECT_EQ(FindCommand(command.verb, ""), FindCommand(c.words[0], ""));
  }
}

// ---- merging ---------------------------------------------------------------------

TEST(RedisCodec, AMergedReplyBeginsAsItsKindDoes) {
  EXPECT_EQ(TheCodec().MergedBegin(Merge::kBlocks, 12, 0), "*12\r\n");
  EXPECT_EQ(TheCodec().MergedBegin(Merge::kSum, 12, 7), ":7\r\n");
  EXPECT_EQ(TheCodec().MergedBegin(Merge::kAgree, 12, 7), "+OK\r\n");
  for (const Merge merge : {Merge::kBlocks, Merge::kSum, Merge::kAgree, Merge::kWhole}) {
    EXPECT_EQ(TheCodec().MergedEnd(merge), "");
  }
}

std::string Merged(ReplyKind kind, const std::vector<std::string>& replies) {
  return TheCodec().MergeWhole(static_cast<uint8_t>(kind), replies);
}

bool Disagrees(const std::string& reply) {
  return reply == "-ERR the servers' replies do not fit together\r\n";
}

TEST(RedisCodec, RepliesThatMustBeTheSameAreComparedBeforeOneIsPassed) {
  EXPECT_EQ(Merged(ReplyKind::kSame, {"$1\r\nx\r\n", "$1\r\nx\r\n"}), "$1\r\nx\r\n");
  EXPECT_TRUE(Disagrees(Merged(ReplyKind::kSame, {"$1\r\nx\r\n", "$1\r\ny\r\n"})));
}

TEST(RedisCodec, AScriptExistsWhenAllServersHaveIt) {
  EXPECT_EQ(Merged(ReplyKind::kAllTrue, {"*3\r\n:1\r\n:1\r\n:0\r\n", "*3\r\n:1\r\n:0\r\n:0\r\n"}),
            "*3\r\n:1\r\n:0\r\n:0\r\n");
  EXPECT_TRUE(Disagrees(Merged(ReplyKind::kAllTrue, {"*2\r\n:1\r\n:1\r\n", "*1\r\n:1\r\n"})));
  EXPECT_TRUE(Disagrees(Merged(ReplyKind::kAllTrue, {"*-1\r\n"})));
  EXPECT_TRUE(Disagrees(Merged(ReplyKind::kAllTrue, {"*1\r\n$1\r\n1\r\n"})));
}

TEST(RedisCodec, ListsArePutBehindEachOther) {
  EXPECT_EQ(Merged(ReplyKind::kConcatenate,
                   {"*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*0\r\n", "*1\r\n$1\r\nc\r\n"}),
            "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
  EXPECT_TRUE(Disagrees(Merged(ReplyKind::kConcatenate, {"*0\r\n", "*-1\r\n"})));
}

TEST(RedisCodec, AnyReplyButNullWillDoForARandomKey) {
  for (const std::string null : {"$-1\r\n", "_\r\n"}) {
    for (int i = 0; i < 50; ++i) {
      ASSERT_EQ(Merged(ReplyKind::kAnyOne, {null, "$1\r\na\r\n", null}), "$1\r\na\r\n");
    }
    EXPECT_EQ(Merged(ReplyKind::kAnyOne, {null, null}), null);
  }
}

// ---- walks -----------------------------------------------------------------------

// The cursor that a client is told.
std::string Told(const std::string& reply) {
  RedisReplyParser parser(false);
  Expectation expect{.reply_kind = static_cast<uint8_t>(ReplyKind::kScan)};
  EXPECT_EQ(parser.Parse(reply + "*0\r\n", &expect, nullptr).status, ParseStatus::kDone);
  return std::to_string(expect.number);
}

TEST(RedisCodec, AWalksCursorLeadsThroughAllServers) {
  const uint32_t check = TheCodec().ScanCheck(0x12345678);
  EXPECT_NE(check, 0u);
  const auto next = [&](uint32_t server, int64_t cursor) {
    return ScanCursor::Parse(Told(TheCodec().ScanBegin(server, 3, check, cursor)));
  };
  const auto within = next(1, 96);
  ASSERT_TRUE(within.has_value());
  EXPECT_EQ(within->server, 1u);
  EXPECT_EQ(within->check, check);
  EXPECT_EQ(within->cursor, 96u);
  const auto over = next(1, 0);
  ASSERT_TRUE(over.has_value());
  EXPECT_EQ(over->server, 2u);
  EXPECT_EQ(over->check, check);
  EXPECT_EQ(over->cursor, 0u);
  EXPECT_EQ(Told(TheCodec().ScanBegin(2, 3, check, 0)), "0") << "the end";
}

TEST(RedisCodec, ACursorFitsInASignedNumberAndIsReadWithCare) {
  const std::string largest =
      Told(TheCodec().ScanBegin(4095, 4096, TheCodec().ScanCheck(0xffffffff), (1LL << 40) - 1));
  const auto back = ScanCursor::Parse(largest);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->server, 4095u);
  EXPECT_EQ(back->cursor, (uint64_t{1} << 40) - 1);
  for (const char* bad : {"", "-1", "x", "01", "18446744073709551615", "5"}) {
    EXPECT_FALSE(ScanCursor::Parse(bad).has_value()) << bad;
  }
  EXPECT_EQ(ScanCursor::Parse("0")->check, 0u) << "where a walk begins";
  for (uint32_t checksum : {0u, 1u, 2049u, 0x00200400u}) {
    EXPECT_NE(TheCodec().ScanCheck(checksum), 0u) << "0 is a beginning, not a list of servers";
  }
}

// ---- its own replies ----------------------------------------------------------------

TEST(RedisCodec, ItsErrorsAreOneLineWithACode) {
  EXPECT_EQ(TheCodec().Error("Connection refused"), "-ERR Connection refused\r\n");
  EXPECT_EQ(TheCodec().Error("a\r\nb\nc"), "-ERR a  b c\r\n");
  EXPECT_EQ(TheCodec().Error("NOPROTO the server does not speak RESP3"),
            "-NOPROTO the server does not speak RESP3\r\n");
  EXPECT_EQ(TheCodec().CrossServer(),
            "-CROSSSLOT Keys in request are on different servers of the pool; a hash tag (the "
            "pool's hash_tag) keeps them together\r\n");
}

TEST(RedisCodec, AMissIsNull) { EXPECT_EQ(TheCodec().Miss(0), "$-1\r\n"); }

TEST(RedisCodec, ItsStatsLookLikeInfo) {
  const std::string reply = TheCodec().FormatStats({{"version", "1.0"}, {"uptime", "5"}});
  const auto parser = TheCodec().NewReplyParser(0);
  Expectation expect;
  const auto result = parser->Parse(reply, &expect, nullptr);
  EXPECT_EQ(result.status, ParseStatus::kDone);
  EXPECT_EQ(result.consumed, reply.size());
  for (const std::string_view line : {"redis_version:7.0.0\r\n", "loading:0\r\n", "role:master\r\n",
                                      "version:1.0\r\n", "uptime:5\r\n"}) {
    EXPECT_NE(reply.find(line), std::string::npos) << line;
  }
}

TEST(RedisCodec, AProbeIsAnsweredByWhoeverIsAlive) {
  EXPECT_EQ(TheCodec().ProbeRequest(), Encode({"PING"}));
  EXPECT_EQ(TheCodec().ResetRequest(), Encode({"UNWATCH"}));
  for (const std::string_view good : {"+PONG\r\n", "-NOAUTH ", "-NOPERM "}) {
    for (size_t n = 0; n < good.size(); ++n) {
      EXPECT_EQ(TheCodec().CheckProbe(good.substr(0, n)), ParseStatus::kNeedMore) << good << n;
    }
    EXPECT_EQ(TheCodec().CheckProbe(good), ParseStatus::kDone) << good;
  }
  EXPECT_EQ(TheCodec().CheckProbe("-NOAUTH Authentication required.\r\n"), ParseStatus::kDone);
  for (const std::string_view bad :
       {"-LOADING Redis is loading the dataset in memory\r\n", "-ERR max number of clients\r\n",
        "+PANG\r\n", "$4\r\nPONG\r\n", "ERROR\r\n", "-MASTERDOWN x\r\n"}) {
    EXPECT_EQ(TheCodec().CheckProbe(bad), ParseStatus::kInvalid) << bad;
  }
}

TEST(RedisCodec, EachGroupOfServerConnectionsSpeaksItsOwnVersion) {
  Expectation expect;
  EXPECT_EQ(TheCodec().NewReplyParser(0)->Parse("_\r\n", &expect, nullptr).status,
            ParseStatus::kInvalid);
  EXPECT_EQ(TheCodec().NewReplyParser(1)->Parse("_\r\n", &expect, nullptr).status,
            ParseStatus::kDone);
}

}  // namespace
}  // namespace cashew::protocol::redis

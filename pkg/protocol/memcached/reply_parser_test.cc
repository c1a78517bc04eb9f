#include "pkg/protocol/memcached/reply_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pkg/protocol/memcached/parse_stream.h"

namespace cashew::protocol::memcached {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// One reply, as far as it was parsed.
struct Reply {
  ParseStatus status = ParseStatus::kNeedMore;
  Outcome outcome = Outcome::kNormal;
  size_t bytes = 0;  // consumed in all
  std::vector<std::pair<uint32_t, uint32_t>> blocks;
  uint32_t next = 0;  // the key behind the last that was found

  bool operator==(const Reply&) const = default;
};

std::string Describe(const Reply& r) {
  return fmt::format("status={} outcome={} bytes={} blocks={} next={}", static_cast<int>(r.status),
                     static_cast<int>(r.outcome), r.bytes, r.blocks.size(), r.next);
}

// Feeds `stream` in pieces, as a server's session does: what is not consumed comes
// again with more behind it. Stops when the reply is through.
Reply ParseReply(ReplyParser& parser, ReplyKind kind, std::string_view stream,
                 const std::vector<std::string>& keys = {}, std::vector<size_t> cuts = {}) {
  std::vector<uint32_t> signatures;
  for (const std::string& key : keys) signatures.push_back(KeySignature(key));
  Expectation expect{static_cast<uint8_t>(kind), signatures.data(),
                     static_cast<uint32_t>(signatures.size()), 0};
  std::vector<Block> blocks;
  std::sort(cuts.begin(), cuts.end());
  cuts.push_back(stream.size());
  Reply reply;
  for (const size_t end : cuts) {
    while (reply.bytes < end && reply.status == ParseStatus::kNeedMore) {
      const std::vector<char> exact(stream.begin() + static_cast<long>(reply.bytes),
                                    stream.begin() + static_cast<long>(end));
      const ReplyParser::Result result =
          parser.Parse({exact.data(), exact.size()}, &expect, &blocks);
      EXPECT_LE(result.consumed, exact.size());
      reply.status = result.status;
      reply.outcome = result.outcome;
      reply.bytes += result.consumed;
      if (result.consumed == 0) break;
    }
  }
  for (const Block& block : blocks) reply.blocks.emplace_back(block.key, block.bytes);
  reply.next = expect.next;
  return reply;
}

Reply ParseReply(ReplyKind kind, std::string_view stream, const std::vector<std::string>& keys = {},
                 const std::vector<size_t>& cuts = {}) {
  MemcachedReplyParser parser;
  return ParseReply(parser, kind, stream, keys, cuts);
}

struct Good {
  ReplyKind kind;
  std::string_view reply;
  Outcome outcome = Outcome::kNormal;
};

constexpr Good kGood[] = {
    {ReplyKind::kValues, "END\r\n"},
    {ReplyKind::kValues, "VALUE key 0 2\r\nhi\r\nEND\r\n"},
    {ReplyKind::kValues, "VALUE key 4294967295 0 18446744073709551615\r\n\r\nEND\r\n"},
    {ReplyKind::kStored, "STORED\r\n"},
    {ReplyKind::kStored, "NOT_STORED\r\n"},
    {ReplyKind::kStored, "EXISTS\r\n"},
    {ReplyKind::kStored, "NOT_FOUND\r\n"},
    {ReplyKind::kStored, "SERVER_ERROR object too large for cache\r\n", Outcome::kServerError},
    {ReplyKind::kNumber, "0\r\n"},
    {ReplyKind::kNumber, "18446744073709551615\r\n"},
    {ReplyKind::kNumber, "7  \r\n"},
    {ReplyKind::kNumber, "NOT_FOUND\r\n"},
    {ReplyKind::kNumber, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"},
    {ReplyKind::kNumber, "SERVER_ERROR out of memory\r\n", Outcome::kServerError},
    {ReplyKind::kTouched, "TOUCHED\r\n"},
    {ReplyKind::kTouched, "NOT_FOUND\r\n"},
    {ReplyKind::kDeleted, "DELETED\r\n"},
    {ReplyKind::kDeleted, "NOT_FOUND\r\n"},
    {ReplyKind::kVersion, "VERSION 1.6.18\r\n"},
    {ReplyKind::kOk, "OK\r\n"},
    {ReplyKind::kMetaGet, "HD\r\n"},
    {ReplyKind::kMetaGet, "HD f0 t-1\r\n"},
    {ReplyKind::kMetaGet, "EN\r\n", Outcome::kNominal},
    {ReplyKind::kMetaGet, "EN kkey O1\r\n", Outcome::kNominal},
    {ReplyKind::kMetaGet, "VA 2\r\nhi\r\n"},
    {ReplyKind::kMetaGet, "VA 7 f0 kkey W\r\nEND\r\nEN\r\n"},
    {ReplyKind::kMetaGet, "CLIENT_ERROR invalid flag\r\n"},
    {ReplyKind::kMetaGet, "SERVER_ERROR out of memory\r\n", Outcome::kServerError},
    {ReplyKind::kMetaSet, "HD\r\n", Outcome::kNominal},
    {ReplyKind::kMetaSet, "HD c1\r\n", Outcome::kNominal},
    {ReplyKind::kMetaSet, "NS\r\n"},
    {ReplyKind::kMetaSet, "EX\r\n"},
    {ReplyKind::kMetaSet, "NF\r\n"},
    {ReplyKind::kMetaSet, "CLIENT_ERROR invalid mode for ms M token\r\n"},
    {ReplyKind::kMetaDelete, "HD\r\n", Outcome::kNominal},
    {ReplyKind::kMetaDelete, "NF\r\n"},
    {ReplyKind::kMetaDelete, "EX O1\r\n"},
    {ReplyKind::kMetaArithmetic, "HD\r\n", Outcome::kNominal},
    {ReplyKind::kMetaArithmetic, "VA 2 t-1\r\n17\r\n", Outcome::kNominal},
    {ReplyKind::kMetaArithmetic, "NF\r\n"},
    {ReplyKind::kMetaArithmetic, "NS\r\n"},
    {ReplyKind::kMetaArithmetic, "EX\r\n"},
    {ReplyKind::kMetaDebug, "ME key exp=-1 la=2 cas=1 fetch=no cls=1 size=63\r\n"},
    {ReplyKind::kMetaDebug, "EN\r\n"},
};

TEST(ReplyParser, EveryKindTakesItsRepliesWhole) {
  for (const Good& good : kGood) {
    const Reply reply = ParseReply(good.kind, good.reply, {"key"});
    EXPECT_EQ(reply.status, ParseStatus::kDone) << good.reply;
    EXPECT_EQ(reply.outcome, good.outcome) << good.reply;
    EXPECT_EQ(reply.bytes, good.reply.size()) << good.reply;
  }
}

TEST(ReplyParser, TakesNothingOfTheNextReply) {
  for (const Good& good : kGood) {
    const std::string two = std::string(good.reply) + "STORED\r\n";
    EXPECT_EQ(ParseReply(good.kind, two, {"key"}).bytes, good.reply.size()) << good.reply;
  }
}

TEST(ReplyParser, IsReadyForTheNextReply) {
  MemcachedReplyParser parser;
  for (int round = 0; round < 2; ++round) {
    for (const Good& good : kGood) {
      const Reply reply = ParseReply(parser, good.kind, good.reply, {"key"});
      ASSERT_EQ(reply.status, ParseStatus::kDone) << good.reply;
      ASSERT_EQ(reply.outcome, good.outcome) << good.reply;
    }
  }
}

TEST(ReplyParser, TheReplyToAnotherRequestIsADesync) {
  for (const auto& [kind, stream] : std::vector<std::pair<ReplyKind, std::string>>{
           {ReplyKind::kValues, "STORED\r\n"},
           {ReplyKind::kValues, "7\r\n"},
           {ReplyKind::kValues, "VERSION 1\r\n"},
           {ReplyKind::kValues, "VA 2\r\nhi\r\n"},
           {ReplyKind::kValues, "MN\r\n"},
           {ReplyKind::kStored, "END\r\n"},
           {ReplyKind::kStored, "VALUE key 0 2\r\nhi\r\n"},
           {ReplyKind::kStored, "DELETED\r\n"},
           {ReplyKind::kStored, "OK\r\n"},
           {ReplyKind::kNumber, "STORED\r\n"},
           {ReplyKind::kTouched, "DELETED\r\n"},
           {ReplyKind::kDeleted, "TOUCHED\r\n"},
           {ReplyKind::kVersion, "OK\r\n"},
           {ReplyKind::kOk, "7\r\n"},
           {ReplyKind::kMetaGet, "NF\r\n"},
           {ReplyKind::kMetaSet, "VA 2\r\nhi\r\n"},
           {ReplyKind::kMetaSet, "EN\r\n"},
           {ReplyKind::kMetaDelete, "NS\r\n"},
           {ReplyKind::kMetaArithmetic, "EN\r\n"},
           {ReplyKind::kMetaDebug, "HD\r\n"}}) {
    const Reply reply = ParseReply(kind, stream, {"key"});
    EXPECT_EQ(reply.status, ParseStatus::kInvalid) << stream;
    EXPECT_EQ(reply.outcome, Outcome::kDesync) << stream;
  }
}

TEST(ReplyParser, AnErrorToALineThatWeValidatedIsADesync) {
  for (const ReplyKind kind :
       {ReplyKind::kValues, ReplyKind::kStored, ReplyKind::kNumber, ReplyKind::kTouched,
        ReplyKind::kDeleted, ReplyKind::kVersion, ReplyKind::kOk}) {
    for (std::string_view line : {"ERROR\r\n", "CLIENT_ERROR bad command line format\r\n"}) {
      const Reply reply = ParseReply(kind, line, {"key"});
      EXPECT_EQ(reply.status, ParseStatus::kDone) << "the client sees it: " << line;
      EXPECT_EQ(reply.outcome, Outcome::kDesync) << line;
    }
  }
  EXPECT_EQ(ParseReply(ReplyKind::kMetaGet, "ERROR\r\n").outcome, Outcome::kDesync);
}

TEST(ReplyParser, GarbageIsInvalid) {
  for (std::string_view garbage :
       {"HTTP/1.1 400 Bad Request\r\n", "+OK?\r\n", "\r\n", "\n", "END\n", "stored\r\n", "ENDx\r\n",
        "VALUE key 0\r\n", "VALUE\r\n", "VALUE key 0 x\r\n", "VALUE key 0 -1\r\n",
        "VALUE key 0 99999999999999999999\r\n", "VALUE key 0 4294967296\r\n", "VA x\r\n", "VA\r\n",
        "VA -1\r\n", "1x\r\n"}) {
    for (const ReplyKind kind : {ReplyKind::kValues, ReplyKind::kMetaGet}) {
      EXPECT_EQ(ParseReply(kind, garbage, {"key"}).status, ParseStatus::kInvalid) << garbage;
    }
  }
  const Reply endless = ParseReply(ReplyKind::kStored, std::string(20'000, 'x'));
  EXPECT_EQ(endless.status, ParseStatus::kInvalid);
  EXPECT_EQ(ParseReply(ReplyKind::kStored, "STO").status, ParseStatus::kNeedMore);
}

TEST(ReplyParser, AValueForAKeyThatWasNotAskedForIsADesync) {
  const Reply reply = ParseReply(ReplyKind::kValues, "VALUE other 0 2\r\nhi\r\nEND\r\n", {"key"});
  EXPECT_EQ(reply.status, ParseStatus::kInvalid);
  EXPECT_EQ(reply.outcome, Outcome::kDesync);
  const Reply twice = ParseReply(ReplyKind::kValues,
                                 "VALUE key 0 2\r\nhi\r\nVALUE key 0 2\r\nhi\r\nEND\r\n", {"key"});
  EXPECT_EQ(twice.outcome, Outcome::kDesync) << "asked for once";
  const Reply backwards =
      ParseReply(ReplyKind::kValues, "VALUE b 0 1\r\nx\r\nVALUE a 0 1\r\nx\r\nEND\r\n", {"a", "b"});
  EXPECT_EQ(backwards.outcome, Outcome::kDesync) << "memcached answers in the order of the keys";
}

TEST(ReplyParser, BlocksTellWhichKeysWereFound) {
  const std::vector<std::string> keys = {"a", "b", "a", "c", "d"};
  const Reply all = ParseReply(
      ReplyKind::kValues,
      "VALUE a 0 1\r\n1\r\nVALUE b 0 2\r\n22\r\nVALUE a 0 1\r\n1\r\nVALUE d 0 0 5\r\n\r\nEND\r\n",
      keys);
  EXPECT_EQ(all.status, ParseStatus::kDone);
  EXPECT_THAT(all.blocks, ElementsAre(std::pair(0u, 16u), std::pair(1u, 17u), std::pair(2u, 16u),
                                      std::pair(4u, 17u)));
  const Reply misses = ParseReply(ReplyKind::kValues, "VALUE c 0 1\r\n1\r\nEND\r\n", keys);
  EXPECT_THAT(misses.blocks, ElementsAre(std::pair(3u, 16u)));
  EXPECT_THAT(ParseReply(ReplyKind::kValues, "END\r\n", keys).blocks, IsEmpty());
}

TEST(ReplyParser, TheBlocksOfAReplyAreItsBytesButForTheEnd) {
  const std::string reply = "VALUE a 0 5\r\nEND\r\n\r\nVALUE b 7 0 9\r\n\r\nEND\r\n";
  for (size_t cut = 0; cut <= reply.size(); ++cut) {
    const Reply parsed = ParseReply(ReplyKind::kValues, reply, {"a", "b"}, {cut});
    size_t sum = 0;
    for (const auto& [key, bytes] : parsed.blocks) sum += bytes;
    ASSERT_EQ(sum + 5, reply.size()) << cut;
  }
}

TEST(ReplyParser, AValueThatLooksLikeAReplyIsAValue) {
  const std::string value = "END\r\nSTORED\r\nVALUE x 0 1\r\n";
  const std::string reply = fmt::format("VALUE key 0 {}\r\n{}\r\nEND\r\n", value.size(), value);
  const Reply parsed = ParseReply(ReplyKind::kValues, reply, {"key"});
  EXPECT_EQ(parsed.status, ParseStatus::kDone);
  EXPECT_EQ(parsed.bytes, reply.size());
  const std::string meta = fmt::format("VA {}\r\n{}\r\n", value.size(), value);
  EXPECT_EQ(ParseReply(ReplyKind::kMetaGet, meta).bytes, meta.size());
}

TEST(ReplyParser, AValueIsFollowedByCrlfWhereverItIsCut) {
  for (std::string_view bad :
       {"VALUE key 0 3\r\nabcX\nEND\r\n", "VALUE key 0 3\r\nabc\rXEND\r\n",
        "VALUE key 0 3\r\nabc\n\rEND\r\n", "VALUE key 0 3\r\nabcdeEND\r\n"}) {
    for (size_t a = 0; a <= bad.size(); ++a) {
      for (size_t b = a; b <= bad.size(); ++b) {
        ASSERT_EQ(ParseReply(ReplyKind::kValues, bad, {"key"}, {a, b}).status,
                  ParseStatus::kInvalid)
            << bad << " cut at " << a << ", " << b;
      }
    }
  }
  EXPECT_EQ(ParseReply(ReplyKind::kMetaGet, "VA 3\r\nabcXXEND\r\n").status, ParseStatus::kInvalid);
}

TEST(ReplyParser, TellsHowMuchOfAValueIsToCome) {
  MemcachedReplyParser parser;
  const uint32_t signature = KeySignature("key");
  Expectation expect{static_cast<uint8_t>(ReplyKind::kValues), &signature, 1, 0};
  const std::string_view begin = "VALUE key 0 100000\r\nabc";
  const auto first = parser.Parse(begin, &expect, nullptr);
  EXPECT_EQ(first.status, ParseStatus::kNeedMore);
  EXPECT_EQ(first.consumed, begin.size());
  EXPECT_EQ(first.body_left, 99'999u) << "with the CRLF";
  const auto second = parser.Parse(std::string(99'997, 'x'), &expect, nullptr);
  EXPECT_EQ(second.body_left, 2u);
  const auto third = parser.Parse("\r\nEN", &expect, nullptr);
  EXPECT_EQ(third.consumed, 2u);
  EXPECT_EQ(third.body_left, 0u);
  EXPECT_EQ(parser.Parse("END\r\n", &expect, nullptr).status, ParseStatus::kDone);
}

// Until an error is certain its place may depend on the cut; what a reply is does not.
void ExpectSame(const Reply& cut, const Reply& whole, const std::string& what) {
  EXPECT_EQ(cut.status, whole.status) << what;
  EXPECT_EQ(cut.outcome, whole.outcome) << what;
  EXPECT_EQ(cut.blocks, whole.blocks) << what;
  EXPECT_EQ(cut.next, whole.next) << what;
  if (whole.status == ParseStatus::kDone) {
    EXPECT_EQ(cut.bytes, whole.bytes) << what;
  }
}

TEST(ReplyParser, AnyTwoCutsGiveTheSameReply) {
  for (const Good& good : kGood) {
    const std::string stream = std::string(good.reply) + "END\r\n";
    const Reply whole = ParseReply(good.kind, stream, {"key"});
    for (size_t a = 0; a <= stream.size(); ++a) {
      for (size_t b = a; b <= stream.size(); ++b) {
        const Reply cut = ParseReply(good.kind, stream, {"key"}, {a, b});
        ASSERT_EQ(cut, whole) << stream << " cut at " << a << ", " << b << "\n"
                              << Describe(cut) << " instead of " << Describe(whole);
      }
    }
  }
}

TEST(ReplyParser, AnyCutsOfAMutatedReplyGiveTheSameReply) {
  std::mt19937 random(20240610);
  const std::vector<std::string> keys = {"a", "b", "key", "c"};
  for (int i = 0; i < Scaled(100'000); ++i) {
    const Good& good = kGood[random() % std::size(kGood)];
    std::string stream(good.reply);
    if (good.kind == ReplyKind::kValues) {
      stream =
          fmt::format("VALUE a 0 {0}\r\n{1}\r\n", i % 300, std::string(i % 300, '\n')) + stream;
    }
    for (unsigned n = random() % 3; n > 0; --n) Mutate(random, &stream);
    const Reply whole = ParseReply(good.kind, stream, keys);
    const std::vector<size_t> cuts = RandomCuts(random, stream.size());
    ExpectSame(ParseReply(good.kind, stream, keys, cuts), whole,
               testing::PrintToString(stream) + " cut at " + testing::PrintToString(cuts));
    if (testing::Test::HasFailure()) return;
  }
}

TEST(ReplyParser, RandomBytesNeverCrash) {
  std::mt19937 random(20240611);
  int done = 0;
  for (int i = 0; i < Scaled(100'000); ++i) {
    std::string stream(random() % 64, '\0');
    for (char& c : stream) c = static_cast<char>(random());
    if (random() % 2 == 0) stream.insert(0, kGood[random() % std::size(kGood)].reply);
    const auto kind = static_cast<ReplyKind>(random() % 12);
    const Reply reply = ParseReply(kind, stream, {"key"}, RandomCuts(random, stream.size()));
    done += reply.status == ParseStatus::kDone ? 1 : 0;
    ASSERT_LE(reply.bytes, stream.size());
  }
  EXPECT_GT(done, 0);
}

}  // namespace
}  // namespace cashew::protocol::memcached

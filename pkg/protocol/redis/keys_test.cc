#include "pkg/protocol/redis/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

namespace cashew::protocol::redis {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A command written as one would type it.
class Line {
 public:
  explicit Line(const std::string& text) {
    std::istringstream in(text);
    for (std::string word; in >> word;) owned_.push_back(word);
    words_.assign(owned_.begin(), owned_.end());
    spec_ = FindCommand(words_[0], words_.size() > 1 ? words_[1] : std::string_view());
    EXPECT_NE(spec_, nullptr) << text;
  }

  KeysError Find(std::vector<uint32_t>* positions) const {
    return FindKeys(*spec_, words_, positions);
  }
  bool Blocks() const { return redis::Blocks(*spec_, words_); }
  int64_t TimeoutMs() const { return BlockTimeoutMs(*spec_, words_); }

 private:
  std::vector<std::string> owned_;
  std::vector<std::string_view> words_;
  const CommandSpec* spec_;
};

std::vector<uint32_t> Positions(const std::string& text) {
  std::vector<uint32_t> positions{77};  // what was there is gone
  EXPECT_EQ(Line(text).Find(&positions), KeysError::kNone) << text;
  return positions;
}

KeysError Error(const std::string& text) {
  std::vector<uint32_t> positions;
  return Line(text).Find(&positions);
}

TEST(RedisKeys, RangesRunFromTheFirstToTheLastInSteps) {
  EXPECT_THAT(Positions("get k"), ElementsAre(1));
  EXPECT_THAT(Positions("rename k d"), ElementsAre(1, 2));
  EXPECT_THAT(Positions("object encoding k"), ElementsAre(2));
  EXPECT_THAT(Positions("del a b c"), ElementsAre(1, 2, 3));
  EXPECT_THAT(Positions("mset a 1 b 2"), ElementsAre(1, 3));
  EXPECT_THAT(Positions("bitop and d a b"), ElementsAre(2, 3, 4));
  EXPECT_THAT(Positions("blpop a b 0"), ElementsAre(1, 2));
  EXPECT_THAT(Positions("json.mget a b $"), ElementsAre(1, 2));
  EXPECT_THAT(Positions("json.mset a $ 1 b $ 2"), ElementsAre(1, 4));
}

TEST(RedisKeys, CommandsWithoutKeysHaveNone) {
  EXPECT_THAT(Positions("lolwut"), IsEmpty());
  EXPECT_THAT(Positions("ping x"), IsEmpty());
}

TEST(RedisKeys, CountedKeysFollowTheirNumber) {
  EXPECT_THAT(Positions("zunion 2 a b WEIGHTS 1 2"), ElementsAre(2, 3));
  EXPECT_THAT(Positions("blmpop 0 2 a b LEFT"), ElementsAre(3, 4));
  EXPECT_THAT(Positions("zunionstore d 2 a b"), ElementsAre(1, 3, 4));
  EXPECT_THAT(Positions("eval script 1 k arg"), ElementsAre(3));
  EXPECT_THAT(Positions("msetex 2 a 1 b 2 NX"), ElementsAre(2, 4));
}

TEST(RedisKeys, OnlyScriptsMayHaveNoKey) {
  EXPECT_THAT(Positions("eval script 0"), IsEmpty());
  EXPECT_THAT(Positions("fcall f 0 arg"), IsEmpty());
  EXPECT_EQ(Error("zunion 0 a"), KeysError::kNoKeys);
  EXPECT_EQ(Error("zunionstore d 0 a"), KeysError::kNoKeys);
}

TEST(RedisKeys, NumbersOfKeysAreReadAsRedisReadsThem) {
  for (const char* const number : {"x", "1x", "+1", "01", "1.0", "9223372036854775808", "-"}) {
    EXPECT_EQ(Error(std::string("eval script ") + number + " k"), KeysError::kNotANumber) << number;
  }
  EXPECT_EQ(Error("eval script -1 k"), KeysError::kNegative);
  EXPECT_EQ(Error("zunion -9223372036854775808 k"), KeysError::kNegative);
  EXPECT_EQ(Error("eval script 2 k"), KeysError::kTooMany);
  EXPECT_EQ(Error("eval script 9223372036854775807 k"), KeysError::kTooMany);
  EXPECT_EQ(Error("msetex 2 a 1 b"), KeysError::kTooMany);
}

TEST(RedisKeys, SortStoresWhereItsLastStoreSays) {
  EXPECT_THAT(Positions("sort k"), ElementsAre(1));
  EXPECT_THAT(Positions("sort k DESC StOrE d"), ElementsAre(1, 4));
  EXPECT_THAT(Positions("sort k STORE a STORE d"), ElementsAre(1, 5));
  EXPECT_THAT(Positions("sort k STORE"), ElementsAre(1));
}

TEST(RedisKeys, WordsThatBelongToAnOptionOfSortAreNoOptions) {
  EXPECT_THAT(Positions("sort k STORE d BY store GET x"), ElementsAre(1, 3));
  EXPECT_THAT(Positions("sort k STORE d GET store GET x"), ElementsAre(1, 3));
  EXPECT_THAT(Positions("sort k STORE store ASC"), ElementsAre(1, 3));
  EXPECT_THAT(Positions("sort k LIMIT 0 1 STORE d"), ElementsAre(1, 6));
}

TEST(RedisKeys, GeoradiusStoresBehindStoreOrStoredist) {
  EXPECT_THAT(Positions("georadius k 1 2 3 m"), ElementsAre(1));
  EXPECT_THAT(Positions("georadius k 1 2 3 m store d"), ElementsAre(1, 7));
  EXPECT_THAT(Positions("georadius k 1 2 3 m COUNT 1 STOREDIST d"), ElementsAre(1, 9));
  EXPECT_THAT(Positions("georadius k 1 2 3 m STORE store ASC"), ElementsAre(1, 7));
}

TEST(RedisKeys, AMemberCalledStoreIsNoOption) {
  EXPECT_THAT(Positions("georadiusbymember k store 3 m"), ElementsAre(1));
  EXPECT_THAT(Positions("georadiusbymember k store 3 m STORE d"), ElementsAre(1, 6));
}

TEST(RedisKeys, StreamsAreTheFirstHalfOfWhatFollowsTheWord) {
  EXPECT_THAT(Positions("xread STREAMS a b 0 0"), ElementsAre(2, 3));
  EXPECT_THAT(Positions("xread count 2 block 5 streams a 0"), ElementsAre(6));
  EXPECT_THAT(Positions("xreadgroup GROUP g c NOACK STREAMS a >"), ElementsAre(6));
  EXPECT_EQ(Error("xread COUNT 2 a 0"), KeysError::kSyntax);
  EXPECT_EQ(Error("xread STREAMS a b 0"), KeysError::kSyntax);
  EXPECT_EQ(Error("xread COUNT 2 STREAMS"), KeysError::kSyntax);
}

TEST(RedisKeys, GroupsConsumersAndStreamsMayHaveTheNamesOfOptions) {
  EXPECT_THAT(Positions("xreadgroup GROUP streams block STREAMS a >"), ElementsAre(5));
  EXPECT_FALSE(Line("xreadgroup GROUP streams block STREAMS a >").Blocks());
  EXPECT_THAT(Positions("xread STREAMS streams block 0 0"), ElementsAre(2, 3));
  EXPECT_FALSE(Line("xread STREAMS streams block 0 0").Blocks());
}

TEST(RedisKeys, StreamsBlockOnlyWithTheOption) {
  EXPECT_FALSE(Line("xread STREAMS a 0").Blocks());
  EXPECT_TRUE(Line("xread Block 0 STREAMS a 0").Blocks());
  EXPECT_TRUE(Line("xreadgroup GROUP g c COUNT 1 BLOCK 5 STREAMS a >").Blocks());
  EXPECT_TRUE(Line("blpop k 0").Blocks());
  EXPECT_FALSE(Line("lpop k").Blocks());
}

TEST(RedisKeys, TimeoutsAreInMillisecondsWhateverTheCommandCounts) {
  EXPECT_EQ(Line("blpop k 0").TimeoutMs(), 0);
  EXPECT_EQ(Line("blpop k 1.5").TimeoutMs(), 1'500);
  EXPECT_EQ(Line("blpop k 0.0001").TimeoutMs(), 1);
  EXPECT_EQ(Line("blmove a b LEFT RIGHT 2").TimeoutMs(), 2'000);
  EXPECT_EQ(Line("bzmpop 3 1 k MIN").TimeoutMs(), 3'000);
  EXPECT_EQ(Line("xread BLOCK 7 STREAMS a 0").TimeoutMs(), 7);
  EXPECT_EQ(Line("xread BLOCK 7 BLOCK 8 STREAMS a 0").TimeoutMs(), 8);
}

TEST(RedisKeys, WhatIsNoTimeoutIsToldSo) {
  for (const char* const time : {"x", "-1", "nan", "inf", "1e300", "1x"}) {
    EXPECT_EQ(Line(std::string("blpop k ") + time).TimeoutMs(), -1) << time;
  }
  EXPECT_EQ(Line("xread BLOCK 1.5 STREAMS a 0").TimeoutMs(), -1);
  EXPECT_EQ(Line("xread BLOCK -1 STREAMS a 0").TimeoutMs(), -1);
  EXPECT_EQ(Line("xread STREAMS a 0").TimeoutMs(), -1);
}

}  // namespace
}  // namespace cashew::protocol::redis

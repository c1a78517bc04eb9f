#include "pkg/pool/traffic.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cashew::pool {
namespace {

using testing::ElementsAre;

HotKey Key(const std::string& key, uint64_t at_least, uint64_t at_most) {
  HotKey hot;
  hot.key = key;
  hot.key_bytes = static_cast<uint32_t>(key.size());
  hot.at_least = at_least;
  hot.at_most = at_most;
  return hot;
}

TEST(HotKeys, WorkersAreAddedUpAndTheSurestComesFirst) {
  HotKeys a{100, 30, 50, {Key("x", 10, 12), Key("y", 9, 9)}};
  HotKeys b{100, 40, 60, {Key("y", 8, 20), Key("z", 1, 30)}};
  const HotKeys all = MergeHotKeys({a, b}, 2);
  EXPECT_EQ(all.sample, 100);
  EXPECT_EQ(all.window_ns, 40);
  EXPECT_EQ(all.samples, 110u);
  ASSERT_EQ(all.keys.size(), 2u);
  EXPECT_EQ(all.keys[0].key, "y");
  EXPECT_EQ(all.keys[0].at_least, 17u);
  EXPECT_EQ(all.keys[0].at_most, 29u);
  EXPECT_EQ(all.keys[1].key, "x");
}

TEST(HotKeys, LongKeysWithTheSameBeginningStayApart) {
  HotKey a = Key("prefix", 5, 5);
  HotKey b = Key("prefix", 5, 5);
  a.key_bytes = b.key_bytes = 5000;
  a.hash = 1;
  b.hash = 2;
  EXPECT_EQ(MergeHotKeys({{1, 1, 10, {a}}, {1, 1, 10, {b}}}, 10).keys.size(), 2u);
}

TEST(SlowRequests, AreShownNewestFirstWhoeverKeptThem) {
  const auto at = [](int64_t us) {
    SlowRequest request;
    request.at_us = us;
    return request;
  };
  std::vector<int64_t> times;
  for (const SlowRequest& r : MergeSlow({{at(3), at(1)}, {}, {at(4), at(2)}}, 3)) {
    times.push_back(r.at_us);
  }
  EXPECT_THAT(times, ElementsAre(4, 3, 2));
}

TEST(ShownKey, FitsBetweenQuotesWhateverItsBytes) {
  EXPECT_EQ(ShownKey("user:1", 6), "user:1");
  EXPECT_EQ(ShownKey("a\"b\\c\r\n\xff", 8), "a\\x22b\\\\c\\x0d\\x0a\\xff");
  EXPECT_EQ(ShownKey("abc", 103), "abc...(100 more)");
  EXPECT_EQ(ShownKey("", 0), "");
}

}  // namespace
}  // namespace cashew::pool

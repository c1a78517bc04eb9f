#include "pkg/proxy/hot_keys.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "pkg/proxy/sampler.h"

namespace cashew::proxy {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

std::vector<pool::HotKey> Sorted(std::vector<pool::HotKey> keys) {
  std::sort(keys.begin(), keys.end(),
            [](const pool::HotKey& a, const pool::HotKey& b) { return a.at_least > b.at_least; });
  return keys;
}

// Keys by Zipf's law: the i-th most frequent comes with a weight of 1/i.
std::vector<int> ZipfStream(int keys, int length, uint32_t seed) {
  std::vector<double> weights;
  for (int i = 1; i <= keys; ++i) weights.push_back(1.0 / i);
  std::discrete_distribution<int> draw(weights.begin(), weights.end());
  std::mt19937 random(seed);
  std::vector<int> stream;
  for (int i = 0; i < length; ++i) stream.push_back(draw(random));
  return stream;
}

TEST(TopKeys, FindsTheHeadOfAZipfStreamInOrderAndNearlyExactly) {
  TopKeys top;
  std::map<int, uint64_t> exact;
  for (const int key : ZipfStream(100'000, 200'000, 7)) {
    top.Add("key:" + std::to_string(key));
    ++exact[key];
  }
  EXPECT_EQ(top.samples(), 200'000u);
  const std::vector<pool::HotKey> keys = Sorted(top.Keys());
  ASSERT_EQ(keys.size(), TopKeys::kCounters);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(keys[static_cast<size_t>(i)].key, "key:" + std::to_string(i));
  }
  // No count is wrong by more than samples / counters, and the truth lies between the two.
  for (const pool::HotKey& key : keys) {
    const uint64_t truth = exact[std::stoi(key.key.substr(4))];
    EXPECT_LE(key.at_least, truth) << key.key;
    EXPECT_GE(key.at_most, truth) << key.key;
    EXPECT_LE(key.at_most - key.at_least, 200'000u / TopKeys::kCounters) << key.key;
  }
}

TEST(TopKeys, AKeyAboveOneIn256IsAlwaysThere) {
  TopKeys top;
  for (int i = 0; i < 100'000; ++i) {
    top.Add(i % 200 == 0 ? "warm" : "cold:" + std::to_string(i));
  }
  const std::vector<pool::HotKey> keys = top.Keys();
  const auto warm = std::find_if(keys.begin(), keys.end(),
                                 [](const pool::HotKey& key) { return key.key == "warm"; });
  ASSERT_NE(warm, keys.end());
  EXPECT_GE(warm->at_most, 500u);
}

TEST(TopKeys, AStreamWithoutHotKeysClaimsNone) {
  TopKeys top;
  for (int i = 0; i < 100'000; ++i) top.Add("k" + std::to_string(i));
  for (const pool::HotKey& key : top.Keys()) EXPECT_LE(key.at_least, 1u);
}

TEST(TopKeys, OfALongKeyTheBeginningIsKeptAndTheWholeCounts) {
  TopKeys top;
  const std::string common(5000, 'x');
  for (int i = 0; i < 3; ++i) top.Add(common + "a");
  top.Add(common + "b");
  top.Add(common);
  const std::vector<pool::HotKey> keys = Sorted(top.Keys());
  ASSERT_EQ(keys.size(), 3u);
  EXPECT_EQ(keys[0].at_least, 3u);
  EXPECT_EQ(keys[0].key, std::string(TopKeys::kKeyBytes, 'x'));
  EXPECT_EQ(keys[0].key_bytes, 5001u);
}

TEST(TopKeys, KeysMayHoldAnyByteAndBeEmpty) {
  TopKeys top;
  const std::string nul("a\0b", 3);
  top.Add(nul);
  top.Add("a");
  top.Add("");
  std::vector<std::string> keys;
  for (const pool::HotKey& key : top.Keys()) keys.push_back(key.key);
  EXPECT_EQ(keys, (std::vector<std::string>{nul, "a", ""}));
}

TEST(HotKeys, ForgetsWhatIsNoLongerHotWithinAMinute) {
  auto hot = std::make_unique<HotKeys>(0);
  for (int i = 0; i < 1000; ++i) hot->Add("old", kSecond);
  EXPECT_EQ(hot->Read(29 * kSecond).keys.at(0).at_least, 1000u);
  for (int i = 0; i < 10; ++i) hot->Add("new", 31 * kSecond);
  pool::HotKeys seen = hot->Read(45 * kSecond);
  EXPECT_EQ(seen.samples, 1010u);
  EXPECT_EQ(seen.window_ns, 45 * kSecond);
  for (int i = 0; i < 10; ++i) hot->Add("new", 62 * kSecond);
  seen = hot->Read(70 * kSecond);
  ASSERT_EQ(seen.keys.size(), 1u);
  EXPECT_EQ(seen.keys[0].key, "new");
  EXPECT_EQ(seen.keys[0].at_least, 20u);
  EXPECT_EQ(seen.window_ns, 39 * kSecond);
}

TEST(HotKeys, NothingIsLeftOfAPoolThatFellSilent) {
  auto hot = std::make_unique<HotKeys>(0);
  hot->Add("k", kSecond);
  EXPECT_EQ(hot->Read(3600 * kSecond).samples, 0u);
  EXPECT_TRUE(hot->Read(3601 * kSecond).keys.empty());
}

TEST(Sampler, TakesOneInNOnAverageAndFollowsNoRhythm) {
  std::minstd_rand random(1);
  Sampler sampler(100);
  std::vector<int> taken(100);  // by the place in a rhythm of 100
  size_t total = 0;
  for (size_t at = 0; at < 1'000'000; at += 20) {
    sampler.Pass(
        20, [&] { return random(); },
        [&](size_t i) {
          ++taken[(at + i) % 100];
          ++total;
        });
  }
  EXPECT_NEAR(static_cast<double>(total), 10'000, 300);
  EXPECT_GT(*std::min_element(taken.begin(), taken.end()), 50);
  EXPECT_LT(*std::max_element(taken.begin(), taken.end()), 150);
}

TEST(Sampler, OneInOneTakesAll) {
  Sampler sampler(1);
  std::vector<size_t> taken;
  sampler.Pass(
      3, [] { return 12345u; }, [&](size_t i) { taken.push_back(i); });
  sampler.Pass(
      1, [] { return 0u; }, [&](size_t i) { taken.push_back(10 + i); });
  EXPECT_EQ(taken, (std::vector<size_t>{0, 1, 2, 10}));
}

}  // namespace
}  // namespace cashew::proxy

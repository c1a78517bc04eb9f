#include "pkg/ring/ketama.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "pkg/hash/hash.h"

namespace cashew::ring {
namespace {

std::vector<RingServer> Servers(size_t n, uint32_t weight = 1,
                                const std::string& prefix = "cache-") {
  std::vector<RingServer> servers;
  for (size_t i = 0; i < n; ++i) servers.push_back({fmt::format("{}{}", prefix, i), weight, true});
  std::sort(servers.begin(), servers.end(),
            [](const auto& a, const auto& b) { return NameLess(a.name, b.name); });
  return servers;
}

std::map<int32_t, size_t> PointsByServer(const Ketama& ketama) {
  std::map<int32_t, size_t> count;
  for (const Ketama::Point& point : ketama.points()) ++count[point.server];
  return count;
}

// Who owns each of many keys, by name, so that rings of different lists compare.
std::vector<std::string> Owners(const std::vector<RingServer>& servers, size_t keys) {
  const Ketama ketama(servers);
  std::vector<std::string> owners;
  for (size_t i = 0; i < keys; ++i) {
    const uint32_t hash = hash::Hash(hash::Kind::kMurmur, fmt::format("key:{}", i));
    owners.push_back(servers[static_cast<size_t>(ketama.Pick(hash))].name);
  }
  return owners;
}

// The definition that the bucket table must not differ from.
size_t FirstAtOrAfter(const Ketama& ketama, uint32_t hash) {
  const auto points = ketama.points();
  const auto it = std::lower_bound(points.begin(), points.end(), hash,
                                   [](const auto& point, uint32_t h) { return point.value < h; });
  return it == points.end() ? 0 : static_cast<size_t>(it - points.begin());
}

void ExpectSameAsSearch(const Ketama& ketama, uint32_t hash) {
  const size_t index = FirstAtOrAfter(ketama, hash);
  const Ketama::Point& point = ketama.points()[index];
  ASSERT_EQ(ketama.Pick(hash), point.server) << hash;
  ASSERT_EQ(ketama.Locate(hash), (Location{point.server, point.value, index})) << hash;
}

TEST(Ketama, BucketTableFindsWhatABinarySearchFinds) {
  std::mt19937 random(42);
  for (const size_t n : {1, 2, 3, 25, 100, 1000}) {
    SCOPED_TRACE(n);
    const Ketama ketama(Servers(n));
    ExpectSameAsSearch(ketama, 0);
    ExpectSameAsSearch(ketama, 0xffffffff);
    for (const Ketama::Point& point : ketama.points()) {
      ExpectSameAsSearch(ketama, point.value - 1);
      ExpectSameAsSearch(ketama, point.value);
      ExpectSameAsSearch(ketama, point.value + 1);
    }
    for (uint32_t top = 0; top < 4096; ++top) {  // the edges of buckets
      ExpectSameAsSearch(ketama, top << 20);
      ExpectSameAsSearch(ketama, (top << 20) - 1);
    }
    for (int i = 0; i < 200'000; ++i) ExpectSameAsSearch(ketama, random());
  }
}

TEST(Ketama, PastTheLastPointWrapsToTheFirst) {
  const Ketama ketama(Servers(3));
  const auto points = ketama.points();
  ASSERT_LT(points.back().value, 0xffffffffu);
  EXPECT_EQ(ketama.Pick(points.back().value), points.back().server);
  EXPECT_EQ(ketama.Locate(points.back().value + 1),
            (Location{points.front().server, points.front().value, 0}));
  EXPECT_EQ(ketama.Pick(0xffffffff), points.front().server);
}

TEST(Ketama, PointsAreTheWordsOfTheMd5OfNameDashNumber) {
  const Ketama ketama(std::vector<RingServer>{{"cache-0", 1, true}});
  std::set<uint32_t> values;
  for (const Ketama::Point& point : ketama.points()) values.insert(point.value);
  for (int i = 0; i < 40; ++i) {
    // The hash of kind md5 is the digest's first word.
    EXPECT_TRUE(values.contains(hash::Hash(hash::Kind::kMd5, fmt::format("cache-0-{}", i)))) << i;
  }
  EXPECT_EQ(ketama.size(), 160u);
}

TEST(Ketama, EqualWeightsGive160PointsExceptWhereSinglePrecisionLosesADigest) {
  const std::set<uint32_t> short_of_one = {25,  47,  50,  55,  61,  71,  94,  100, 107, 109,
                                           110, 115, 122, 142, 159, 163, 188, 193, 200};
  for (uint32_t n = 1; n <= 200; ++n) {
    EXPECT_EQ(KetamaPointCount(1, n, n), short_of_one.contains(n) ? 156u : 160u) << n;
  }
}

TEST(Ketama, TwentyFiveEqualServersHave156PointsEach) {
  const auto count = PointsByServer(Ketama(Servers(25)));
  ASSERT_EQ(count.size(), 25u);
  for (const auto& [server, points] : count) EXPECT_EQ(points, 156u) << server;
}

TEST(Ketama, PointsFollowWeights) {
  std::vector<RingServer> servers = Servers(6);
  const uint32_t weights[] = {1, 2, 3, 5, 8, 100};
  for (size_t i = 0; i < servers.size(); ++i) servers[i].weight = weights[i];
  const std::map<int32_t, size_t> expected = {{0, 8}, {1, 16}, {2, 24}, {3, 40}, {4, 64}, {5, 804}};
  EXPECT_EQ(PointsByServer(Ketama(servers)), expected);
}

TEST(Ketama, SmallWeightCanRoundToNoPointsAtAll) {
  std::vector<RingServer> servers = Servers(2);
  servers[0].weight = 100'000;
  const Ketama ketama(servers);
  EXPECT_EQ(PointsByServer(ketama), (std::map<int32_t, size_t>{{0, 316}}));
  EXPECT_EQ(ketama.Pick(0xffffffff), 0);
}

TEST(Ketama, HugeWeightsDoNotMultiplyPoints) {
  constexpr uint32_t kHuge = 2'147'483'647;
  EXPECT_LE(Ketama(Servers(1000, kHuge)).size(), 160u * 1000);
  std::vector<RingServer> one_huge = Servers(100);
  one_huge[0].weight = kHuge;
  const Ketama lopsided(one_huge);
  EXPECT_LE(lopsided.size(), 160u * 100);
  EXPECT_GT(lopsided.size(), 150u * 100);
}

TEST(Ketama, PointCountIsBoundedByTheNumberOfServersWhateverTheWeights) {
  std::mt19937 random(9);
  for (int round = 0; round < 2000; ++round) {
    const uint32_t n = 1 + random() % 300;
    std::vector<uint32_t> weights(n);
    uint64_t total = 0;
    for (uint32_t& weight : weights) total += weight = 1 + (random() >> (random() % 31 + 1));
    uint64_t points = 0;
    for (const uint32_t weight : weights) points += KetamaPointCount(weight, total, n);
    // Rounding is down but for the float's own error, a few parts in 10^7.
    ASSERT_LE(points, 160u * n + 4) << n;
    ASSERT_GT(points, 0u);
  }
}

TEST(Ketama, WeightOfZeroHasNoPointsAndDividesByNothing) {
  EXPECT_EQ(KetamaPointCount(0, 0, 3), 0u);
  const Ketama nothing(Servers(3, 0));
  EXPECT_EQ(nothing.size(), 0u);
  EXPECT_EQ(nothing.Pick(1), -1);
  std::vector<RingServer> servers = Servers(2);
  servers[1].weight = 0;
  EXPECT_EQ(PointsByServer(Ketama(servers)), (std::map<int32_t, size_t>{{0, 320}}));
}

TEST(Ketama, PointsOfEqualValueBelongToTheLowerIndex) {
  // Equal names make every point meet its twin.
  const std::vector<RingServer> twins = {{"twin", 1, true}, {"twin", 1, true}};
  const Ketama ketama(twins);
  ASSERT_EQ(ketama.size(), 320u);
  for (const Ketama::Point& point : ketama.points()) EXPECT_EQ(ketama.Pick(point.value), 0);
}

TEST(Ketama, NamesThatDifferOnlyFarBehindAreDifferentServers) {
  const std::string stem(300, 'n');
  const std::vector<RingServer> servers = {{stem + "1", 1, true}, {stem + "2", 1, true}};
  const Ketama ketama(servers);
  std::set<uint32_t> values;
  for (const Ketama::Point& point : ketama.points()) values.insert(point.value);
  EXPECT_EQ(values.size(), 320u);
}

// A server's share is the sum of 160 arcs between random points, so by its name alone
// it strays from 1/n: with three servers by 2 % of all keys, one standard deviation.
TEST(Ketama, AddingAServerMovesOnlyItsShareOfKeys) {
  constexpr size_t kKeys = 10'000;
  constexpr size_t kPools = 16;
  for (const size_t n : {2, 3, 5, 8, 13, 24, 60}) {
    const double share = 1.0 / static_cast<double>(n);
    const double deviation = std::sqrt(share * (1 - share) / (160.0 * static_cast<double>(n)));
    double moved_in_all_pools = 0;
    for (size_t pool = 0; pool < kPools; ++pool) {
      const std::string prefix = fmt::format("pool{}-cache-", pool);
      const auto before = Owners(Servers(n - 1, 1, prefix), kKeys);
      const auto after = Owners(Servers(n, 1, prefix), kKeys);
      const std::string added = fmt::format("{}{}", prefix, n - 1);
      size_t moved = 0;
      for (size_t i = 0; i < kKeys; ++i) {
        if (before[i] == after[i]) continue;
        ++moved;
        ASSERT_EQ(after[i], added) << "keys move to the new server and nowhere else";
      }
      const double fraction = static_cast<double>(moved) / kKeys;
      EXPECT_NEAR(fraction, share, 5 * deviation) << n << " servers, " << prefix;
      moved_in_all_pools += fraction;
    }
    EXPECT_NEAR(moved_in_all_pools / kPools, share, 0.03) << n;
  }
}

TEST(Ketama, EjectingAServerMovesOnlyItsOwnKeys) {
  constexpr size_t kKeys = 20'000;
  std::vector<RingServer> servers = Servers(8);
  const auto before = Owners(servers, kKeys);
  servers[3].live = false;
  const auto after = Owners(servers, kKeys);
  for (size_t i = 0; i < kKeys; ++i) {
    ASSERT_NE(after[i], servers[3].name);
    if (before[i] != servers[3].name) {
      ASSERT_EQ(after[i], before[i]) << i;
    }
  }
}

TEST(Ketama, ServersAreKnownByNameSoThePlaceInTheListDoesNotMatter) {
  constexpr size_t kKeys = 5000;
  std::vector<RingServer> servers = Servers(9);
  const auto before = Owners(servers, kKeys);
  std::shuffle(servers.begin(), servers.end(), std::mt19937(1));
  EXPECT_EQ(Owners(servers, kKeys), before);
}

}  // namespace
}  // namespace cashew::ring

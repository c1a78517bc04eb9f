#include "pkg/ring/ring.h"

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "pkg/hash/hash.h"
#include "pkg/hash/hash_tag.h"

namespace cashew::ring {
namespace {

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// The weight of "host:port:weight" or "host:port:weight name".
uint32_t WeightOf(const std::string& line) {
  const std::string address = line.substr(0, line.find(' '));
  return static_cast<uint32_t>(std::stoul(address.substr(address.rfind(':') + 1)));
}

// A pool of the recorded vectors in index order, and the way back to its order in
// the configuration, which is what the vectors count in.
struct RecordedPool {
  std::vector<RingServer> servers;
  std::vector<int> configured_at;
};

RecordedPool Load(const nlohmann::json& pool, const std::set<std::string>& ejected) {
  const auto names = pool["names"].get<std::vector<std::string>>();
  const auto lines = pool["servers"].get<std::vector<std::string>>();
  RecordedPool loaded;
  loaded.configured_at.resize(names.size());
  std::iota(loaded.configured_at.begin(), loaded.configured_at.end(), 0);
  std::sort(loaded.configured_at.begin(), loaded.configured_at.end(),
            [&](int a, int b) { return NameLess(names[a], names[b]); });
  for (const int at : loaded.configured_at) {
    loaded.servers.push_back({names[at], WeightOf(lines[at]), !ejected.contains(names[at])});
  }
  return loaded;
}

TEST(Ring, PicksNutcrackersServerForEveryRecordedKey) {
  std::ifstream in("test/compat/ketama_vectors.json");
  const nlohmann::json recorded = nlohmann::json::parse(in);
  ASSERT_GE(recorded["vectors"].size(), 129u);
  size_t ejections = 0;
  size_t keys_checked = 0;
  for (const auto& vector : recorded["vectors"]) {
    const auto ejected = vector["ejected"].get<std::set<std::string>>();
    ejections += ejected.empty() ? 0 : 1;
    const RecordedPool pool = Load(recorded["pools"][vector["pool"].get<std::string>()], ejected);
    const auto distribution = DistributionFromName(vector["distribution"].get<std::string>());
    const auto kind = hash::KindFromName(vector["hash"].get<std::string>());
    ASSERT_TRUE(distribution && kind) << vector["id"];
    const Ring ring = Ring::Build(*distribution, pool.servers);

    const auto& keys = recorded["keys"][vector["keys"].get<std::string>()];
    ASSERT_EQ(keys.size(), vector["server_index"].size());
    for (size_t i = 0; i < keys.size(); ++i) {
      const std::string key = FromHex(keys[i]);
      std::string_view hashed = key;
      if (!vector["hash_tag"].is_null()) {
        const auto tag = vector["hash_tag"].get<std::string>();
        hashed = hash::TagOf(key, tag.at(0), tag.at(1));
      }
      const int32_t server = ring.Pick(hash::Hash(*kind, hashed));
      ASSERT_GE(server, 0) << vector["id"];
      ASSERT_EQ(pool.configured_at[server], vector["server_index"][i].get<int>())
          << vector["id"] << " key " << key;
      ++keys_checked;
    }
  }
  EXPECT_GE(ejections, 10u);
  EXPECT_GE(keys_checked, 129u * 200);
}

std::vector<RingServer> Servers(size_t n, uint32_t weight = 1) {
  std::vector<RingServer> servers;
  for (size_t i = 0; i < n; ++i) servers.push_back({fmt::format("cache-{}", i), weight, true});
  std::sort(servers.begin(), servers.end(),
            [](const auto& a, const auto& b) { return NameLess(a.name, b.name); });
  return servers;
}

constexpr Distribution kAll[] = {Distribution::kKetama, Distribution::kModula,
                                 Distribution::kRandom};

TEST(Ring, DistributionNamesGoBothWays) {
  ASSERT_EQ(DistributionNames().size(), std::size(kAll));
  for (const Distribution distribution : kAll) {
    EXPECT_EQ(DistributionFromName(DistributionName(distribution)), distribution);
    EXPECT_EQ(Ring::Build(distribution, Servers(3)).distribution(), distribution);
  }
  EXPECT_EQ(DistributionName(Distribution::kKetama), "ketama");
  EXPECT_EQ(DistributionName(Distribution::kModula), "modula");
  EXPECT_EQ(DistributionName(Distribution::kRandom), "random");
  EXPECT_EQ(DistributionFromName("Ketama"), std::nullopt);
  EXPECT_EQ(DistributionFromName(""), std::nullopt);
}

TEST(Ring, NamesSortShorterFirstThenBytewise) {
  std::vector<std::string> names = {"zz", "a", "\xff", "B", "aa", "", "shard-10", "shard-2"};
  std::sort(names.begin(), names.end(), NameLess);
  const std::vector<std::string> expected = {"",   "B",  "a",       "\xff",
                                             "aa", "zz", "shard-2", "shard-10"};
  EXPECT_EQ(names, expected);
  EXPECT_FALSE(NameLess("same", "same"));
}

TEST(Ring, PicksNobodyWhenNobodyIsLive) {
  std::vector<RingServer> dead = Servers(3);
  for (RingServer& server : dead) server.live = false;
  for (const Distribution distribution : kAll) {
    for (const std::vector<RingServer>& servers : {dead, {}}) {
      const Ring ring = Ring::Build(distribution, servers);
      EXPECT_EQ(ring.points(), 0u);
      for (const uint32_t hash : {0u, 1u, 0x80000000u, 0xffffffffu}) {
        EXPECT_EQ(ring.Pick(hash), -1) << DistributionName(distribution);
        EXPECT_EQ(ring.Locate(hash), Location{}) << DistributionName(distribution);
      }
    }
  }
}

TEST(Ring, OnlyLiveServersArePicked) {
  std::vector<RingServer> servers = Servers(5);
  servers[0].live = servers[3].live = false;
  std::mt19937 random(7);
  for (const Distribution distribution : kAll) {
    const Ring ring = Ring::Build(distribution, servers);
    std::set<int32_t> seen;
    for (int i = 0; i < 10'000; ++i) seen.insert(ring.Pick(random()));
    EXPECT_EQ(seen, (std::set<int32_t>{1, 2, 4})) << DistributionName(distribution);
  }
}

TEST(Ring, OnlyLiveServerTakesEveryHash) {
  std::vector<RingServer> servers = Servers(3);
  servers[0].live = servers[2].live = false;
  for (const Distribution distribution : kAll) {
    const Ring ring = Ring::Build(distribution, servers);
    for (const uint32_t hash : {0u, 12345u, 0xfffffffeu, 0xffffffffu}) {
      EXPECT_EQ(ring.Pick(hash), 1) << DistributionName(distribution);
    }
  }
}

TEST(Ring, LocateAgreesWithPick) {
  std::mt19937 random(11);
  for (const Distribution distribution : kAll) {
    const Ring ring = Ring::Build(distribution, Servers(7, 3));
    for (int i = 0; i < 10'000; ++i) {
      const uint32_t hash = random();
      const Location location = ring.Locate(hash);
      ASSERT_EQ(location.server, ring.Pick(hash)) << DistributionName(distribution);
      ASSERT_LT(location.point_index, ring.points()) << DistributionName(distribution);
    }
  }
}

TEST(Ring, OrderOfTheListDoesNotMatterOnceItIsSorted) {
  const std::vector<RingServer> sorted = Servers(12);
  std::mt19937 random(3);
  for (const Distribution distribution : kAll) {
    const Ring ring = Ring::Build(distribution, sorted);
    for (int round = 0; round < 5; ++round) {
      std::vector<RingServer> shuffled = sorted;
      std::shuffle(shuffled.begin(), shuffled.end(), random);
      std::sort(shuffled.begin(), shuffled.end(),
                [](const auto& a, const auto& b) { return NameLess(a.name, b.name); });
      const Ring again = Ring::Build(distribution, shuffled);
      EXPECT_EQ(again.checksum(), ring.checksum());
      for (int i = 0; i < 1000; ++i) {
        const uint32_t hash = random();
        ASSERT_EQ(again.Pick(hash), ring.Pick(hash)) << DistributionName(distribution);
      }
    }
  }
}

TEST(Ring, RingLivesOnWithoutTheServersItWasBuiltFrom) {
  std::vector<RingServer> servers = Servers(4);
  const Ring ring = Ring::Build(Distribution::kKetama, servers);
  const int32_t before = ring.Pick(0xdeadbeef);
  servers.clear();
  servers.shrink_to_fit();
  const Ring copy = ring;
  EXPECT_EQ(ring.Pick(0xdeadbeef), before);
  EXPECT_EQ(copy.Pick(0xdeadbeef), before);
}

TEST(RingChecksum, ChangesWithWhateverChangesTheRing) {
  for (const Distribution distribution : kAll) {
    std::set<uint32_t> sums = {Ring::Build(distribution, Servers(4)).checksum()};
    size_t variants = 1;
    const auto add = [&](const std::vector<RingServer>& servers) {
      sums.insert(Ring::Build(distribution, servers).checksum());
      ++variants;
    };
    add({});
    add(Servers(5));
    for (size_t i = 0; i < 4; ++i) {
      std::vector<RingServer> servers = Servers(4);
      servers[i].live = false;
      add(servers);
      servers = Servers(4);
      servers[i].name += "x";
      add(servers);
      if (distribution == Distribution::kRandom) continue;  // it ignores weights
      servers = Servers(4);
      servers[i].weight = 2;
      add(servers);
    }
    EXPECT_EQ(sums.size(), variants) << DistributionName(distribution);
  }
}

TEST(RingChecksum, DiffersBetweenDistributions) {
  std::set<uint32_t> sums;
  for (const Distribution distribution : kAll) {
    sums.insert(Ring::Build(distribution, Servers(4)).checksum());
  }
  EXPECT_EQ(sums.size(), std::size(kAll));
}

TEST(RingChecksum, DoesNotDependOnServersOutsideTheRing) {
  for (const Distribution distribution : kAll) {
    std::vector<RingServer> servers = Servers(4);
    servers.insert(servers.begin(), {"a", 5, false});
    EXPECT_EQ(Ring::Build(distribution, servers).checksum(),
              Ring::Build(distribution, Servers(4)).checksum())
        << DistributionName(distribution);
  }
}

TEST(Modula, EqualsAListWithEachServerRepeatedWeightTimes) {
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    std::vector<RingServer> servers = Servers(1 + random() % 20);
    std::vector<int32_t> slots;
    for (size_t i = 0; i < servers.size(); ++i) {
      servers[i].weight = random() % 50;
      servers[i].live = i == 0 || random() % 4 != 0;
      if (i == 0) ++servers[i].weight;
      if (servers[i].live) slots.insert(slots.end(), servers[i].weight, static_cast<int32_t>(i));
    }
    const Ring ring = Ring::Build(Distribution::kModula, servers);
    ASSERT_EQ(ring.points(), slots.size());
    for (int i = 0; i < 2000; ++i) {
      const uint32_t hash = i < 1000 ? static_cast<uint32_t>(i) : random();
      ASSERT_EQ(ring.Pick(hash), slots[hash % slots.size()]);
      ASSERT_EQ(ring.Locate(hash).point_index, hash % slots.size());
    }
  }
}

TEST(Modula, HugeWeightsTakeNoMemoryPerUnitAndDoNotOverflow) {
  constexpr uint32_t kHuge = 2'147'483'647;
  const Ring two = Ring::Build(Distribution::kModula, Servers(2, kHuge));
  EXPECT_EQ(two.points(), 2 * size_t{kHuge});
  EXPECT_EQ(two.Pick(0), 0);
  EXPECT_EQ(two.Pick(kHuge - 1), 0);
  EXPECT_EQ(two.Pick(kHuge), 1);
  EXPECT_EQ(two.Pick(2 * kHuge - 1), 1);
  EXPECT_EQ(two.Pick(2 * kHuge), 0) << "the slots begin again";
  EXPECT_EQ(two.Pick(0xffffffff), 0);

  const Ring many = Ring::Build(Distribution::kModula, Servers(1000, kHuge));
  EXPECT_EQ(many.points(), 1000 * size_t{kHuge});
  EXPECT_EQ(many.Pick(0xffffffff), 2) << "slots beyond 32 bits are out of a hash's reach";
}

TEST(Random, EveryLiveServerHasTheSameChanceWhateverItsWeight) {
  std::vector<RingServer> servers = Servers(5);
  servers[1].weight = 1000;
  servers[4].weight = 0;
  servers[2].live = false;
  const Ring ring = Ring::Build(Distribution::kRandom, servers);
  EXPECT_TRUE(ring.needs_random());
  std::vector<int> count(servers.size());
  std::mt19937 random(1);
  constexpr int kDraws = 40'000;
  for (int i = 0; i < kDraws; ++i) ++count[ring.Pick(random())];
  EXPECT_EQ(count[2], 0);
  for (const int i : {0, 1, 3, 4}) EXPECT_NEAR(count[i], kDraws / 4, kDraws / 50);
}

TEST(Random, OnlyRandomNeedsRandomBits) {
  EXPECT_FALSE(Ring::Build(Distribution::kKetama, Servers(2)).needs_random());
  EXPECT_FALSE(Ring::Build(Distribution::kModula, Servers(2)).needs_random());
}

}  // namespace
}  // namespace cashew::ring

#include "pkg/metrics/registry.h"

#include <atomic>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>

namespace cashew::metrics {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> PoolNames(const Totals& totals) {
  std::vector<std::string> names;
  for (const PoolTotals& pool : totals.pools) names.push_back(pool.name);
  return names;
}

std::vector<std::string> ServerNames(const PoolTotals& pool) {
  std::vector<std::string> names;
  for (const ServerTotals& server : pool.servers) names.push_back(server.name);
  return names;
}

TEST(Registry, AddsUpWhatEachWriterCounted) {
  Registry registry(3);
  registry.SetServers("alpha", {"a"});
  for (int writer = 0; writer < 3; ++writer) {
    (*registry.Process(writer))[ProcessMetric::kLoopRounds].Add(writer + 1);
    (*registry.Pool("alpha", writer))[PoolMetric::kClientEof].Add(10);
    (*registry.Server("alpha", "a", writer))[ServerMetric::kInQueue].Add(writer == 0 ? -1 : 2);
  }
  const Totals totals = registry.Collect();
  ASSERT_EQ(totals.pools.size(), 1u);
  EXPECT_EQ(totals.process[ProcessMetric::kLoopRounds], 6);
  EXPECT_EQ(totals.pools[0].values[PoolMetric::kClientEof], 30);
  EXPECT_EQ(totals.pools[0].servers.at(0).values[ServerMetric::kInQueue], 3);
}

TEST(Registry, ShowsTheLatestEjectionOfAllWriters) {
  Registry registry(3);
  registry.SetServers("alpha", {"a"});
  (*registry.Server("alpha", "a", 0))[ServerMetric::kServerEjectedAt].Set(100);
  (*registry.Server("alpha", "a", 2))[ServerMetric::kServerEjectedAt].Set(300);
  EXPECT_EQ(registry.Collect().pools[0].servers[0].values[ServerMetric::kServerEjectedAt], 300);
}

TEST(Registry, GivesAWriterTheSameCellsEveryTime) {
  Registry registry(2);
  EXPECT_EQ(registry.Server("p", "s", 0), registry.Server("p", "s", 0));
  EXPECT_NE(registry.Server("p", "s", 0), registry.Server("p", "s", 1));
  EXPECT_EQ(registry.Pool("p", 1), registry.Pool("p", 1));
  EXPECT_EQ(registry.Process(1), registry.Process(1));
}

TEST(Registry, PutsNoTwoWritersOnOneCacheLine) {
  Registry registry(2);
  const auto a = reinterpret_cast<uintptr_t>(registry.Process(0).get());
  const auto b = reinterpret_cast<uintptr_t>(registry.Process(1).get());
  EXPECT_EQ(a % 64, 0u);
  EXPECT_EQ(b % 64, 0u);
  EXPECT_EQ(sizeof(ProcessCells) % 64, 0u);
  EXPECT_EQ(sizeof(ServerCells) % 64, 0u);
}

TEST(Registry, OrdersPoolsByLengthThenBytesAndServersAsDeclared) {
  Registry registry(1);
  for (const char* pool : {"alpha", "slow", "gone", "beta"}) registry.SetServers(pool, {});
  registry.SetServers("beta", {"z", "b", "a"});
  const Totals totals = registry.Collect();
  EXPECT_THAT(PoolNames(totals), ElementsAre("beta", "gone", "slow", "alpha"));
  EXPECT_THAT(ServerNames(totals.pools[0]), ElementsAre("z", "b", "a"));
}

TEST(Registry, ExportsANameThatIsDeclaredTwiceOnce) {
  Registry registry(1);
  registry.SetServers("p", {"a", "b", "a"});
  EXPECT_THAT(ServerNames(registry.Collect().pools[0]), ElementsAre("a", "b"));
}

TEST(Registry, ExportsOnlyWhatIsDeclared) {
  Registry registry(1);
  auto early = registry.Server("p", "a", 0);
  (*early)[ServerMetric::kRequests].Add(1);
  EXPECT_TRUE(registry.Collect().pools.empty());
  registry.SetServers("p", {"a"});
  EXPECT_EQ(registry.Collect().pools.at(0).servers.at(0).values[ServerMetric::kRequests], 1);
  registry.RemovePool("p");
  EXPECT_TRUE(registry.Collect().pools.empty());
  (*early)[ServerMetric::kRequests].Add(1);  // still valid: we hold it
}

TEST(Registry, KeepsTheEjectionsOfServersThatLeft) {
  Registry registry(2);
  registry.SetServers("p", {"a", "b"});
  auto held = registry.Server("p", "a", 0);
  (*held)[ServerMetric::kEjects].Add(2);
  (*registry.Server("p", "b", 1))[ServerMetric::kEjects].Add(5);
  const auto ejects = [&] {
    return registry.Collect().pools.at(0).values[PoolMetric::kServerEjects];
  };
  EXPECT_EQ(ejects(), 7);
  registry.SetServers("p", {"c"});
  EXPECT_EQ(ejects(), 7);
  (*held)[ServerMetric::kEjects].Add(1);  // a worker that has not adopted the new list yet
  EXPECT_EQ(ejects(), 8);
  held.reset();
  registry.SetServers("p", {"c", "a"});
  EXPECT_EQ(ejects(), 8);
  EXPECT_THAT(ServerNames(registry.Collect().pools[0]), ElementsAre("c", "a"));
}

TEST(Registry, AServerThatReturnsWhileItsCellsAreHeldGoesOnCounting) {
  Registry registry(1);
  registry.SetServers("p", {"a"});
  auto held = registry.Server("p", "a", 0);
  (*held)[ServerMetric::kRequests].Add(4);
  registry.SetServers("p", {});
  registry.SetServers("p", {"a"});
  EXPECT_EQ(registry.Server("p", "a", 0), held);
  EXPECT_EQ(registry.Collect().pools[0].servers[0].values[ServerMetric::kRequests], 4);
}

TEST(Registry, ForgetsServersThatNobodyHolds) {
  Registry registry(1);
  registry.SetServers("p", {"a"});
  std::weak_ptr<ServerCells> cells = registry.Server("p", "a", 0);
  EXPECT_FALSE(cells.expired());
  registry.SetServers("p", {"b"});
  EXPECT_TRUE(cells.expired());
}

TEST(Registry, ShowsTheStateThatTheControlThreadSet) {
  Registry registry(1);
  registry.SetServers("p", {"a", "b"});
  registry.SetPoolState("p", PoolStateMetric::kRingChecksum, 0xffffffff);
  registry.SetServerState("p", "b", ServerStateMetric::kHealthy, 0);
  registry.SetPoolState("unknown", PoolStateMetric::kLiveServers, 1);
  registry.SetServerState("p", "unknown", ServerStateMetric::kHealthy, 0);
  const Totals totals = registry.Collect();
  ASSERT_THAT(PoolNames(totals), ElementsAre("p"));
  EXPECT_EQ(totals.pools[0].state[PoolStateMetric::kRingChecksum], 0xffffffff);
  EXPECT_EQ(totals.pools[0].servers.at(0).state[ServerStateMetric::kHealthy], 1);
  EXPECT_EQ(totals.pools[0].servers.at(1).state[ServerStateMetric::kHealthy], 0);
}

// Run under TSan: writers count, the control thread changes the pool, a scraper
// reads; no sum is ever lower than the one before it.
TEST(Registry, WritersChangesAndScrapesMayHappenAtOnce) {
  constexpr int kWriters = 3, kRounds = 20'000;
  Registry registry(kWriters + 1);
  registry.SetServers("p", {"stays"});
  std::vector<std::thread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&registry, writer] {
      for (int i = 0; i < kRounds; ++i) {
        (*registry.Server("p", "stays", writer))[ServerMetric::kRequests].Add(1);
        if (i % 64 == 0) {
          (*registry.Server("p", "comes-and-goes", writer))[ServerMetric::kEjects].Add(1);
        }
      }
    });
  }
  threads.emplace_back([&registry] {
    for (int i = 0; i < 2'000; ++i) {
      registry.SetServers("p", i % 2 == 0 ? std::vector<std::string>{"stays", "comes-and-goes"}
                                          : std::vector<std::string>{"stays"});
      registry.SetPoolState("p", PoolStateMetric::kMembershipVersion, i);
    }
  });
  std::atomic<bool> done{false};
  int64_t requests = 0, ejects = 0, decreases = 0;
  std::thread scraper([&] {
    while (!done) {
      const Totals totals = registry.Collect();
      const int64_t now = totals.pools.at(0).servers.at(0).values[ServerMetric::kRequests];
      const int64_t ejects_now = totals.pools[0].values[PoolMetric::kServerEjects];
      decreases += now < requests || ejects_now < ejects;
      requests = now;
      ejects = ejects_now;
    }
  });
  for (std::thread& thread : threads) thread.join();
  done = true;
  scraper.join();
  EXPECT_EQ(decreases, 0);
  const Totals totals = registry.Collect();
  EXPECT_EQ(totals.pools[0].servers[0].values[ServerMetric::kRequests], kWriters * kRounds);
  EXPECT_EQ(totals.pools[0].values[PoolMetric::kServerEjects], kWriters * ((kRounds + 63) / 64));
}

}  // namespace
}  // namespace cashew::metrics

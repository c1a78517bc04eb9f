#include "pkg/k8s/feeder.h"

#include <condition_variable>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mutex>

#include "fmt/format.h"

namespace cashew::k8s {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kMs = base::kNsPerMs;

TEST(Debouncer, BurstIsDueWhenItIsQuiet) {
  Debouncer debouncer(100 * kMs, 1000 * kMs);
  EXPECT_FALSE(debouncer.pending());
  debouncer.Touch(0);
  EXPECT_EQ(debouncer.DueNs(), 100 * kMs);
  debouncer.Touch(60 * kMs);
  EXPECT_EQ(debouncer.DueNs(), 160 * kMs);
  debouncer.Clear();
  EXPECT_FALSE(debouncer.pending());
}

TEST(Debouncer, BurstThatDoesNotEndIsDueAtTheCeiling) {
  Debouncer debouncer(100 * kMs, 1000 * kMs);
  for (int64_t ms = 0; ms < 990; ms += 50) debouncer.Touch(ms * kMs);
  EXPECT_EQ(debouncer.DueNs(), 1000 * kMs);
  debouncer.Clear();
  debouncer.Touch(2000 * kMs);
  EXPECT_EQ(debouncer.DueNs(), 2100 * kMs);
}

class FeederTest : public ::testing::Test {
 protected:
  void Start(bool allow_empty, FeederOptions options = {.quiet_ms = 0, .ceiling_ms = 0}) {
    feeder_ = std::make_unique<Feeder>(
        options, std::vector<Feeder::PoolOptions>{{.pool = "cache", .allow_empty = allow_empty}},
        base::RealClock(), metrics_,
        Feeder::Sinks{
            .list =
                [this](const std::string& pool, ServerList list) {
                  Say(fmt::format("{} {}@{}", pool, list.servers.size(), list.source_version));
                },
            .kept = [this](const std::string&, const std::string& why) { Say("kept: " + why); },
        });
    feeder_->Start();
  }

  void Offer(size_t servers, size_t endpoints, const std::string& version) {
    feeder_->Offer("cache", version, [=] {
      MapResult result;
      result.servers.resize(servers);
      result.endpoints = endpoints;
      return result;
    });
  }

  void Say(std::string text) {
    std::lock_guard lock(mutex_);
    said_.push_back(std::move(text));
    changed_.notify_all();
  }

  std::vector<std::string> WaitFor(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(20), [&] { return said_.size() >= count; }));
    return said_;
  }

  Metrics metrics_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> said_;
  std::unique_ptr<Feeder> feeder_;
};

TEST_F(FeederTest, FirstListDoesNotWait) {
  Start(false, {.quiet_ms = 3'600'000, .ceiling_ms = 3'600'000});
  Offer(3, 3, "7");
  EXPECT_THAT(WaitFor(1), ElementsAre("cache 3@7"));
}

TEST_F(FeederTest, BurstBecomesOneListOfTheNewestState) {
  Start(false, {.quiet_ms = 50, .ceiling_ms = 5'000});
  Offer(1, 1, "1");
  WaitFor(1);
  for (int i = 2; i <= 20; ++i) Offer(static_cast<size_t>(i), 20, fmt::format("{}", i));
  EXPECT_THAT(WaitFor(2), ElementsAre("cache 1@1", "cache 20@20"));
}

TEST_F(FeederTest, EmptyServiceKeepsTheLastGoodList) {
  Start(false);
  Offer(0, 0, "7");
  EXPECT_THAT(WaitFor(1)[0], HasSubstr("--allow-empty"));
  EXPECT_THAT(metrics_.Text(),
              HasSubstr("cashew_sidecar_updates_kept_empty_total{pool=\"cache\"} 1"));
}

TEST_F(FeederTest, EmptyServiceIsPassedOnWhenThePoolAllowsIt) {
  Start(true);
  Offer(0, 0, "7");
  EXPECT_THAT(WaitFor(1), ElementsAre("cache 0@7"));
}

TEST_F(FeederTest, EndpointsThatCannotBeUsedNeverBecomeAnEmptyList) {
  Start(true);
  Offer(0, 4, "7");
  EXPECT_THAT(WaitFor(1), ElementsAre("kept: none of 4 endpoints can be used"));
}

}  // namespace
}  // namespace cashew::k8s

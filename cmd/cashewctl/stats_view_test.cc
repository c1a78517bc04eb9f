#include "cmd/cashewctl/stats_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>

#include "cmd/cashewctl/files.h"

namespace cashew::ctl {
namespace {

using testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

Sample At(int seconds, const std::string& json) {
  absl::StatusOr<Sample> sample = ParseStats(json, kStart + absl::Seconds(seconds));
  EXPECT_TRUE(sample.ok()) << sample.status();
  return *std::move(sample);
}

TEST(StatsView, ReadsWhatNutcrackerPrints) {
  const auto text = ReadFile("test/compat/stats_sample.json");
  ASSERT_TRUE(text.ok()) << text.status();
  const Sample sample = At(0, *text);
  EXPECT_EQ(sample.version, "0.5.0");
  EXPECT_EQ(sample.uptime, 6);
  ASSERT_EQ(sample.pools.size(), 4U);
  EXPECT_EQ(sample.pools[0].name, "beta");
  EXPECT_EQ(sample.pools[0].servers[1].name, "shard-1");
  EXPECT_EQ(sample.pools[0].servers[1].counters.at("request_bytes"), 72);
}

TEST(StatsView, RefusesWhatIsNoJsonObject) {
  for (const std::string json : {"", "{", "[]", "7", "{\"a\":"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseStats(json, kStart).status())) << json;
  }
}

TEST(StatsView, PassesOverWhatIsNoNumber) {
  const Sample sample =
      At(0, R"({"uptime": "x", "p": {"client_eof": null, "s": {"requests": [1]}}})");
  EXPECT_TRUE(sample.pools[0].counters.empty());
  EXPECT_TRUE(sample.pools[0].servers[0].counters.empty());
}

TEST(StatsView, RatesAreDifferencesOverTime) {
  const Sample before = At(0, R"({"p": {"forward_error": 1, "client_connections": 1,
      "a": {"requests": 100, "responses": 90, "request_bytes": 1000, "server_err": 0},
      "b": {"requests": 10}}})");
  const Sample now = At(2, R"({"p": {"forward_error": 5, "client_connections": 3,
      "a": {"requests": 300, "responses": 190, "request_bytes": 5000, "server_err": 2,
            "server_timedout": 4, "in_queue": 1, "out_queue": 2, "server_connections": 1},
      "b": {"requests": 20}}})");
  const auto pools = RatesBetween(before, now);
  ASSERT_EQ(pools.size(), 1U);
  EXPECT_DOUBLE_EQ(pools[0].total.requests, 105);
  EXPECT_DOUBLE_EQ(pools[0].total.responses, 50);
  EXPECT_DOUBLE_EQ(pools[0].total.errors, 2);  // of clients, not of connections
  EXPECT_EQ(pools[0].total.connections, 3);
  EXPECT_EQ(pools[0].total.queued, 3);
  const Rates& a = pools[0].servers[0].second;
  EXPECT_DOUBLE_EQ(a.requests, 100);
  EXPECT_DOUBLE_EQ(a.request_bytes, 2000);
  EXPECT_DOUBLE_EQ(a.errors, 1);
  EXPECT_DOUBLE_EQ(a.timeouts, 2);
  EXPECT_EQ(a.connections, 1);
}

TEST(StatsView, ANewProcessAndANewServerCountFromZero) {
  const Sample before = At(0, R"({"p": {"a": {"requests": 100}}})");
  const Sample now = At(1, R"({"p": {"a": {"requests": 7}, "new": {"requests": 5}},
                               "q": {"c": {"requests": 2}}})");
  const auto pools = RatesBetween(before, now);
  EXPECT_DOUBLE_EQ(pools[0].servers[0].second.requests, 7);
  EXPECT_DOUBLE_EQ(pools[0].servers[1].second.requests, 5);
  EXPECT_DOUBLE_EQ(pools[1].total.requests, 2);
}

TEST(StatsView, IsATableLinesOrJson) {
  const auto pools = RatesBetween(At(0, R"({"p": {"a": {"requests": 0}}})"),
                                  At(1, R"({"p": {"a": {"requests": 1500}}})"));
  EXPECT_THAT(RatesTable(pools).Render(false), HasSubstr("  a             1.5k"));
  const std::string lines = RatesLines(pools, kStart);
  EXPECT_THAT(lines, HasSubstr("2023-11-14T22:13:20Z pool=p requests_per_second=1500.0"));
  EXPECT_THAT(lines, HasSubstr("pool=p server=a requests_per_second=1500.0"));
  const auto json = RatesJson(pools, kStart);
  EXPECT_EQ(json["pools"][0]["servers"][0]["name"], "a");
  EXPECT_EQ(json["pools"][0]["requests_per_second"], 1500.0);
}

TEST(StatsView, ShortNumbersHaveThreeFiguresAtMost) {
  EXPECT_EQ(Short(0), "0");
  EXPECT_EQ(Short(0.44), "0.4");
  EXPECT_EQ(Short(12.3), "12");
  EXPECT_EQ(Short(999.4), "999");
  EXPECT_EQ(Short(999.6), "1.0k");
  EXPECT_EQ(Short(123456), "123k");
  EXPECT_EQ(Short(2.5e15), "2500T");
}

}  // namespace
}  // namespace cashew::ctl

#include "pkg/metrics/stats_json.h"

#include <cstdio>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unistd.h>

#include "pkg/metrics/rows.h"

namespace cashew::metrics {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

template <typename Id>
Values<Id> ValuesFrom(const ordered_json& object) {
  Values<Id> values;
  for (size_t i = 0; i < values.array.size(); ++i) {
    const std::string name(RowsOf(Id{})[i].json_name);
    if (!name.empty()) values.array[i] = object.at(name).get<int64_t>();
  }
  return values;
}

PoolTotals PoolFrom(const std::string& name, const ordered_json& object) {
  PoolTotals pool{name, ValuesFrom<PoolMetric>(object), {}, {}};
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) pool.servers.push_back({key, ValuesFrom<ServerMetric>(value), {}});
  }
  return pool;
}

Totals TotalsFrom(const ordered_json& stats) {
  Totals totals;
  totals.process = ValuesFrom<ProcessMetric>(stats);
  for (const auto& [key, value] : stats.items()) {
    if (value.is_object()) totals.pools.push_back(PoolFrom(key, value));
  }
  return totals;
}

TEST(StatsJson, WritesNutcrackersBytesForNutcrackersNumbers) {
  const std::string sample = ReadFile("test/compat/stats_sample.json");
  const ordered_json parsed = ordered_json::parse(sample);
  const StatsHeader header{parsed.at("source"), parsed.at("version"), parsed.at("uptime"),
                           parsed.at("timestamp")};
  EXPECT_EQ(StatsJson(TotalsFrom(parsed), header), sample);
}

Totals OnePoolOneServer(const std::string& pool, const std::string& server) {
  Totals totals;
  totals.pools.push_back({pool, {}, {}, {{server, {}, {}}}});
  return totals;
}

TEST(StatsJson, HasEveryMetricThatNutcrackerDescribesInItsTypeAndPlace) {
  const json stats = json::parse(StatsJson(OnePoolOneServer("p", "s"), {"host", "1", 2, 3}));
  const json described = json::parse(ReadFile("test/compat/describe_stats.json"));
  size_t global = 0, pool = 0, server = 0;
  for (const json& metric : described.at("metrics")) {
    const std::string scope = metric.at("scope");
    const json* place = &stats;
    if (scope == "pool") place = &stats.at("p");
    if (scope == "server") place = &stats.at("p").at("s");
    (scope == "global" ? global : scope == "pool" ? pool : server) += 1;
    const std::string name = metric.at("name");
    ASSERT_TRUE(place->contains(name)) << name;
    const bool is_text = metric.at("type") == "string";
    EXPECT_EQ(place->at(name).is_string(), is_text) << name;
    EXPECT_EQ(place->at(name).is_number_integer(), !is_text) << name;
  }
  EXPECT_EQ(stats.size(), global + 1);
  EXPECT_EQ(stats.at("p").size(), pool + 1);
  EXPECT_EQ(stats.at("p").at("s").size(), server);
  EXPECT_EQ(stats.at("service"), "nutcracker");
}

TEST(StatsJson, KindsInTheTableAreNutcrackersTypes) {
  std::map<std::string, std::string> type_of;
  const json described = json::parse(ReadFile("test/compat/describe_stats.json"));
  for (const json& metric : described.at("metrics")) {
    type_of[metric.at("name")] = metric.at("type");
  }
  const auto check = [&](const auto& rows) {
    for (const MetricRow& row : rows) {
      if (row.json_name.empty()) continue;
      const char* const names[] = {"counter", "gauge", "timestamp"};
      EXPECT_EQ(type_of[std::string(row.json_name)], names[static_cast<int>(row.kind)])
          << row.json_name;
    }
  };
  check(kProcessRows);
  check(kPoolRows);
  check(kServerRows);
}

TEST(StatsJson, EscapesNamesThatWouldBreakTheText) {
  const std::string pool = "q\"uo\\te", server = "new\nline\x01";
  const json stats = json::parse(StatsJson(OnePoolOneServer(pool, server), {"h\"", "", 0, 0}));
  EXPECT_TRUE(stats.at(pool).at(server).is_object());
  EXPECT_EQ(stats.at("source"), "h\"");
}

TEST(StatsJson, StaysValidWhenANameIsNotUtf8) {
  const std::string text = StatsJson(OnePoolOneServer("p", "a\xff"), {});
  EXPECT_TRUE(json::parse(text).at("p").contains("a\xEF\xBF\xBD"));
}

TEST(StatsJson, IsOneLine) {
  const std::string text = StatsJson(OnePoolOneServer("p", "s"), {});
  EXPECT_EQ(text.find('\n'), text.size() - 1);
}

TEST(StatsJson, StaysValidWithoutPoolsOrServers) {
  EXPECT_EQ(json::parse(StatsJson({}, {"h", "1", 0, 0})).at("total_connections"), 0);
  Totals totals;
  totals.pools.resize(2);
  totals.pools[0].name = "a";
  totals.pools[1].name = "b";
  EXPECT_EQ(json::parse(StatsJson(totals, {})).at("b").at("fragments"), 0);
}

// Recorded with: nutcracker -D 2>&1 | sed 1,3d
TEST(DescribeStats, IsWhatNutcrackerPrints) {
  EXPECT_EQ(DescribeStats(), ReadFile("test/compat/describe_stats.txt"));
}

TEST(DescribeStats, IsWhatTheInstalledNutcrackerPrints) {
  ASSERT_EQ(access("/usr/sbin/nutcracker", X_OK), 0) << "not installed: ./dev setup";
  FILE* pipe = popen("/usr/sbin/nutcracker -D 2>&1 | sed 1,3d", "r");
  ASSERT_NE(pipe, nullptr);
  std::string text;
  for (int c; (c = fgetc(pipe)) != EOF;) text.push_back(static_cast<char>(c));
  pclose(pipe);
  EXPECT_EQ(DescribeStats(), text);
}

}  // namespace
}  // namespace cashew::metrics

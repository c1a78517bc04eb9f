#include "pkg/metrics/prometheus_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <sstream>
#include <string_view>
#include <unistd.h>

#include "pkg/metrics/rows.h"

namespace cashew::metrics {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

using Labels = std::map<std::string, std::string>;

// A reader that accepts the text format 0.0.4 and nothing looser: each family has
// HELP, TYPE, then its samples, once; no series twice; all names and numbers valid.
class Exposition {
 public:
  explicit Exposition(const std::string& text) {
    EXPECT_TRUE(text.empty() || text.back() == '\n') << "the last line must end too";
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) ReadLine(line);
  }

  double Value(const std::string& name, const Labels& labels = {}) const {
    auto it = samples_.find({name, labels});
    EXPECT_NE(it, samples_.end()) << name;
    return it == samples_.end() ? std::nan("") : it->second;
  }
  bool Has(const std::string& family) const { return types_.count(family) > 0; }
  std::string Type(const std::string& family) const { return types_.at(family); }
  std::string Help(const std::string& family) const { return helps_.at(family); }
  const std::map<std::string, std::string>& types() const { return types_; }

 private:
  void ReadLine(const std::string& line) {
    std::string_view rest = line;
    if (Skip(&rest, "# HELP ")) {
      family_ = ReadName(&rest);
      EXPECT_TRUE(Skip(&rest, " ") && !rest.empty()) << line;
      EXPECT_TRUE(helps_.emplace(family_, rest).second) << "family twice: " << line;
    } else if (Skip(&rest, "# TYPE ")) {
      EXPECT_EQ(ReadName(&rest), family_) << "TYPE outside of its family: " << line;
      EXPECT_TRUE(rest == " counter" || rest == " gauge" || rest == " histogram") << line;
      EXPECT_TRUE(types_.emplace(family_, rest.substr(1)).second) << "TYPE twice: " << line;
    } else {
      ReadSample(line);
    }
  }

  void ReadSample(const std::string& line) {
    std::string_view rest = line;
    const std::string name = ReadName(&rest);
    EXPECT_TRUE(BelongsToFamily(name)) << "sample outside of its family: " << line;
    EXPECT_EQ(types_.count(family_), 1u) << "sample before TYPE: " << line;
    Labels labels;
    if (Skip(&rest, "{")) labels = ReadLabels(&rest);
    EXPECT_TRUE(Skip(&rest, " ")) << line;
    double value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    EXPECT_TRUE(error == std::errc() && end == rest.data() + rest.size()) << line;
    EXPECT_TRUE(samples_.emplace(std::pair(name, labels), value).second)
        << "series twice: " << line;
  }

  bool BelongsToFamily(const std::string& name) const {
    if (types_.at(family_) != "histogram") return name == family_;
    return name == family_ + "_bucket" || name == family_ + "_sum" || name == family_ + "_count";
  }

  // Up to and including the closing brace.
  static Labels ReadLabels(std::string_view* rest) {
    Labels labels;
    do {
      const std::string name = ReadName(rest);
      EXPECT_TRUE(Skip(rest, "=\"")) << *rest;
      EXPECT_TRUE(labels.emplace(name, ReadQuoted(rest)).second) << "label twice: " << name;
    } while (Skip(rest, ","));
    EXPECT_TRUE(Skip(rest, "}")) << *rest;
    return labels;
  }

  // Up to and including the closing quote.
  static std::string ReadQuoted(std::string_view* rest) {
    std::string text;
    while (!rest->empty() && !Skip(rest, "\"")) {
      if (Skip(rest, "\\n")) {
        text.push_back('\n');
        continue;
      }
      if (Skip(rest, "\\")) {
        EXPECT_TRUE(rest->substr(0, 1) == "\\" || rest->substr(0, 1) == "\"") << *rest;
      }
      text += rest->substr(0, 1);
      rest->remove_prefix(std::min<size_t>(1, rest->size()));
    }
    return text;
  }

  static std::string ReadName(std::string_view* rest) {
    constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz_";
    constexpr std::string_view kLettersAndDigits = "abcdefghijklmnopqrstuvwxyz_0123456789";
    EXPECT_EQ(rest->find_first_of(kLetters), 0u) << "not a name: " << *rest;
    const std::string name(rest->substr(0, rest->find_first_not_of(kLettersAndDigits)));
    rest->remove_prefix(name.size());
    return name;
  }

  static bool Skip(std::string_view* rest, std::string_view prefix) {
    if (rest->substr(0, prefix.size()) != prefix) return false;
    rest->remove_prefix(prefix.size());
    return true;
  }

  std::string family_;
  std::map<std::string, std::string> helps_, types_;
  std::map<std::pair<std::string, Labels>, double> samples_;
};

Totals TwoPools() {
  Totals totals;
  totals.process[ProcessMetric::kTotalConnections] = 22;
  totals.workers.resize(1);
  totals.pools.push_back({"beta", {}, {}, {{"shard-0", {}, {}}, {"shard-1", {}, {}}}});
  totals.pools.push_back({"alpha", {}, {}, {{"cache-0", {}, {}}}});
  PoolTotals& alpha = totals.pools[1];
  alpha.values[PoolMetric::kClientEof] = 4;
  alpha.values[PoolMetric::kServerEjects] = 9;
  alpha.state[PoolStateMetric::kMembershipChecksum] = 0xfffffff1;
  alpha.servers[0].values[ServerMetric::kRequests] = 9'007'199'254'740'000;
  alpha.servers[0].values[ServerMetric::kEjects] = 9;
  alpha.servers[0].values[ServerMetric::kServerEjectedAt] = 1'795'224'456'034'545;
  alpha.servers[0].state[ServerStateMetric::kHealthy] = 1;
  return totals;
}

TEST(PrometheusText, IsStrictlyWellFormedAndCarriesTheNumbers) {
  const Exposition page(PrometheusText(TwoPools(), ReadProcessStats(), "0.1.0"));
  const Labels alpha = {{"pool", "alpha"}};
  const Labels cache = {{"pool", "alpha"}, {"server", "cache-0"}};
  EXPECT_EQ(page.Value("cashew_build_info", {{"version", "0.1.0"}}), 1);
  EXPECT_EQ(page.Value("cashew_connections_total"), 22);
  EXPECT_EQ(page.Value("cashew_client_eof_total", alpha), 4);
  EXPECT_EQ(page.Value("cashew_client_eof_total", {{"pool", "beta"}}), 0);
  EXPECT_EQ(page.Value("cashew_membership_checksum", alpha), 0xfffffff1);
  EXPECT_EQ(page.Value("cashew_server_requests_total", cache), 9'007'199'254'740'000);
  EXPECT_EQ(page.Value("cashew_server_ejects_total", cache), 9);
  EXPECT_EQ(page.Value("cashew_server_healthy", cache), 1);
  EXPECT_DOUBLE_EQ(page.Value("cashew_server_ejected_at_seconds", cache), 1795224456.034545);
}

TEST(PrometheusText, HasEveryRowOfTheTableInItsType) {
  const Exposition page(PrometheusText(TwoPools(), {}, "1"));
  const auto check = [&](const auto& rows) {
    for (const MetricRow& row : rows) {
      if (row.prometheus_name.empty()) continue;
      const std::string name = "cashew_" + std::string(row.prometheus_name);
      ASSERT_TRUE(page.Has(name)) << name;
      const bool grows = row.kind == MetricKind::kCounter || row.kind == MetricKind::kSeconds;
      EXPECT_EQ(page.Type(name), grows ? "counter" : "gauge") << name;
    }
  };
  check(kProcessRows);
  check(kPoolRows);
  check(kServerRows);
  check(kPoolStateRows);
  check(kServerStateRows);
  check(kProcessStateRows);
  check(kWorkerRows);
  check(kClassRows);
  for (const HistogramRow& row : kHistogramRows) {
    EXPECT_EQ(page.Type("cashew_" + std::string(row.prometheus_name)), "histogram");
  }
}

TEST(PrometheusText, AHistogramsBucketsAreCumulativeAndEndWithTheCount) {
  Totals totals = TwoPools();
  Histogram histogram;
  for (const int64_t us : {10, 50, 51, 700, 700, 20'000'000}) histogram.Add(us * 1000);
  totals.pools[1].servers[0].response_duration.Add(histogram);
  const Exposition page(PrometheusText(totals, {}, "1"));
  const auto bucket = [&](const std::string& le) {
    return page.Value("cashew_server_response_duration_seconds_bucket",
                      {{"pool", "alpha"}, {"server", "cache-0"}, {"le", le}});
  };
  const Labels cache = {{"pool", "alpha"}, {"server", "cache-0"}};
  EXPECT_EQ(bucket("5e-05"), 2);
  EXPECT_EQ(bucket("0.0001"), 3);
  EXPECT_EQ(bucket("0.0005"), 3);
  EXPECT_EQ(bucket("0.001"), 5);
  EXPECT_EQ(bucket("10"), 5);
  EXPECT_EQ(bucket("+Inf"), 6);
  EXPECT_EQ(page.Value("cashew_server_response_duration_seconds_count", cache), 6);
  EXPECT_DOUBLE_EQ(page.Value("cashew_server_response_duration_seconds_sum", cache), 20.001511);
}

TEST(PrometheusText, LabelsClassesErrorsAndWorkers) {
  Totals totals = TwoPools();
  totals.workers.resize(2);
  totals.workers[1].values[WorkerMetric::kBusy] = 1'500'000'000;
  PoolTotals& alpha = totals.pools[1];
  alpha.classes[static_cast<size_t>(CommandClass::kGet)].values[ClassMetric::kRequests] = 5;
  alpha.errors[ErrorKind::kTimeout] = 3;
  totals.state[ProcessStateMetric::kReloadedAt] = 2'500'000;
  const Exposition page(PrometheusText(totals, {}, "1"));
  EXPECT_EQ(page.Value("cashew_requests_total", {{"pool", "alpha"}, {"class", "get"}}), 5);
  EXPECT_EQ(page.Value("cashew_requests_total", {{"pool", "beta"}, {"class", "local"}}), 0);
  EXPECT_EQ(page.Value("cashew_client_errors_total", {{"pool", "alpha"}, {"kind", "timeout"}}), 3);
  EXPECT_EQ(page.Value("cashew_worker_busy_seconds_total", {{"worker", "1"}}), 1.5);
  EXPECT_EQ(page.Value("cashew_config_reload_timestamp_seconds"), 2.5);
}

// Prometheus' naming rules, as `promtool check metrics` sees them.
TEST(PrometheusText, OnlyCountersEndInTotalAndAllHelpIsASentence) {
  const Exposition page(PrometheusText(TwoPools(), ReadProcessStats(), "1"));
  for (const auto& [name, type] : page.types()) {
    EXPECT_EQ(name.ends_with("_total"), type == "counter") << name;
    for (const char* reserved : {"_count", "_sum", "_bucket"}) {
      EXPECT_THAT(name, Not(EndsWith(reserved)));
    }
    EXPECT_THAT(page.Help(name), MatchesRegex("[A-Z0-9].*\\.")) << name;
    EXPECT_THAT(page.Help(name), Not(HasSubstr("#"))) << name;
  }
}

TEST(PrometheusText, EscapesLabelValues) {
  Totals totals;
  const std::string nasty = "a\"b\\c\nd";
  totals.pools.push_back({nasty, {}, {}, {{"x\xff", {}, {}}}});
  const Exposition page(PrometheusText(totals, {}, "1"));
  EXPECT_EQ(page.Value("cashew_fragments_total", {{"pool", nasty}}), 0);
  EXPECT_EQ(page.Value("cashew_server_in_queue", {{"pool", nasty}, {"server", "x\xEF\xBF\xBD"}}),
            0);
}

TEST(PrometheusText, LeavesOutWhatCouldNotBeRead) {
  const Exposition page(PrometheusText({}, {}, "1"));
  EXPECT_FALSE(page.Has("process_open_fds"));
  EXPECT_FALSE(page.Has("cashew_server_requests_total"));
}

TEST(ProcessStats, AreThoseOfThisProcess) {
  const ProcessStats before = ReadProcessStats();
  const int fd = dup(0);
  ASSERT_GE(fd, 0);
  const ProcessStats after = ReadProcessStats();
  close(fd);
  EXPECT_EQ(after.open_fds.value(), before.open_fds.value() + 1);
  EXPECT_GE(after.max_fds.value(), after.open_fds.value());
  EXPECT_GT(after.resident_bytes.value(), 100'000);
  EXPECT_GE(after.cpu_seconds.value(), before.cpu_seconds.value());
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  // btime is in whole seconds, and clocks that are set later move it.
  EXPECT_NEAR(after.start_time_seconds.value(), now, 600);
}

}  // namespace
}  // namespace cashew::metrics

#include "pkg/metrics/stats_json.h"

#include <fmt/format.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "pkg/metrics/rows.h"

namespace cashew::metrics {
namespace {

template <typename... Args>
void Append(std::string* out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(*out), format, std::forward<Args>(args)...);
}

// The name as a JSON string, with its quotes.
std::string Quoted(const std::string& name) {
  return nlohmann::json(name).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// "a":1, "b":2
template <typename Id>
void AppendMembers(std::string* out, const Values<Id>& values) {
  std::string_view separator;
  for (size_t i = 0; i < values.array.size(); ++i) {
    const MetricRow& row = RowsOf(Id{})[i];
    if (row.json_name.empty()) continue;
    Append(out, R"({}"{}":{})", separator, row.json_name, values.array[i]);
    separator = ", ";
  }
}

// Objects are told apart from what is before them by ", " when that is a number
// and by "," when it is another object.
void AppendServers(std::string* out, const PoolTotals& pool) {
  std::string_view separator = ", ";
  for (const ServerTotals& server : pool.servers) {
    Append(out, "{}{}: {{", separator, Quoted(server.name));
    AppendMembers(out, server.values);
    out->push_back('}');
    separator = ",";
  }
}

template <typename Id>
void DescribeSection(std::string* out, std::string_view title) {
  Append(out, "{}:\n", title);
  for (const MetricRow& row : RowsOf(Id{})) {
    if (row.json_name.empty()) continue;
    Append(out, "  {:<20}\"{}\"\n", row.json_name, row.help);
  }
}

}  // namespace

std::string StatsJson(const Totals& totals, const StatsHeader& header) {
  std::string out;
  Append(&out,
         R"({{"service":"nutcracker", "source":{}, "version":{}, "uptime":{}, "timestamp":{}, )",
         Quoted(header.source), Quoted(header.version), header.uptime_s, header.timestamp_s);
  AppendMembers(&out, totals.process);
  std::string_view separator = ", ";
  for (const PoolTotals& pool : totals.pools) {
    Append(&out, "{}{}: {{", separator, Quoted(pool.name));
    AppendMembers(&out, pool.values);
    AppendServers(&out, pool);
    out.push_back('}');
    separator = ",";
  }
  out += "}\n";
  return out;
}

std::string DescribeStats() {
  std::string out;
  DescribeSection<PoolMetric>(&out, "pool stats");
  out.push_back('\n');
  DescribeSection<ServerMetric>(&out, "server stats");
  return out;
}

}  // namespace cashew::metrics

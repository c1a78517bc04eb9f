#include "pkg/app/status_report.h"

#include <algorithm>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "pkg/app/reports.h"

namespace cashew::app {
namespace {

using Json = nlohmann::ordered_json;
using metrics::PoolMetric;
using metrics::ServerMetric;

int64_t Sum(const metrics::PoolTotals& pool, metrics::ClassMetric id) {
  int64_t sum = 0;
  for (const metrics::ClassTotals& c : pool.classes) sum += c.values[id];
  return sum;
}

// Blocking commands wait because they are told to: they say nothing of how fast the pool is.
std::vector<int64_t> Latency(const metrics::PoolTotals& pool) {
  std::vector<int64_t> counts(metrics::kBuckets);
  for (size_t c = 0; c < pool.classes.size(); ++c) {
    if (c == static_cast<size_t>(metrics::CommandClass::kBlocking)) continue;
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += pool.classes[c].duration.counts[i];
  }
  return counts;
}

template <typename Named>
const Named* Find(const std::vector<Named>& list, const std::string& name) {
  const auto it =
      std::find_if(list.begin(), list.end(), [&](const Named& n) { return n.name == name; });
  return it == list.end() ? nullptr : &*it;
}

Json DescribeServer(const pool::ServerView& server, const metrics::ServerTotals& totals) {
  const auto& v = totals.values;
  return {{"name", server.spec.name},
          {"address", server.spec.Address()},
          {"state", StateOf(server)},
          {"requests", v[ServerMetric::kRequests]},
          {"in_queue", v[ServerMetric::kInQueue]},
          {"out_queue", v[ServerMetric::kOutQueue]},
          {"connections", v[ServerMetric::kServerConnections]},
          {"failures", v[ServerMetric::kServerEof] + v[ServerMetric::kServerErr] +
                           v[ServerMetric::kServerTimedout] + v[ServerMetric::kDesync]},
          {"ejects", v[ServerMetric::kEjects]},
          {"latency", totals.response_duration.counts}};
}

Json DescribePool(const pool::PoolView& view, const metrics::PoolTotals& totals) {
  int64_t errors = 0;
  for (const int64_t n : totals.errors.array) errors += n;
  Json pool = {{"name", view.name},
               {"protocol", view.redis ? "redis" : "memcached"},
               {"distribution", fmt::format("{} by {}", view.distribution, view.hash)},
               {"clients", totals.values[PoolMetric::kClientConnections]},
               {"requests", Sum(totals, metrics::ClassMetric::kRequests)},
               {"errors", errors},
               {"hits", totals.values[PoolMetric::kGetHits]},
               {"misses", totals.values[PoolMetric::kGetMisses]},
               {"latency", Latency(totals)},
               {"servers", Json::array()}};
  for (const pool::ServerView& server : view.servers) {
    const metrics::ServerTotals* found = Find(totals.servers, server.spec.name);
    pool["servers"].push_back(
        DescribeServer(server, found != nullptr ? *found : metrics::ServerTotals{}));
  }
  return pool;
}

}  // namespace

std::string StatusJson(const StatusHeader& header,
                       const std::vector<std::shared_ptr<const pool::PoolView>>& pools,
                       const metrics::Totals& totals) {
  Json json = {{"source", header.source},
               {"version", header.version},
               {"time_ms", header.time_ms},
               {"uptime_s", header.uptime_s},
               {"not_ready", header.not_ready},
               {"connections", totals.process[metrics::ProcessMetric::kCurrConnections]},
               {"buffer_bytes", totals.process[metrics::ProcessMetric::kBufferBytes]},
               {"bounds_s", Json::array()},
               {"workers", Json::array()},
               {"pools", Json::array()}};
  for (const int64_t ns : metrics::kBucketBoundsNs) {
    json["bounds_s"].push_back(static_cast<double>(ns) / 1e9);
  }
  for (const metrics::WorkerTotals& worker : totals.workers) {
    const double busy_s = static_cast<double>(worker.values[metrics::WorkerMetric::kBusy]) / 1e9;
    json["workers"].push_back(
        {{"busy_s", busy_s}, {"clients", worker.values[metrics::WorkerMetric::kClients]}});
  }
  for (const auto& view : pools) {
    const metrics::PoolTotals* found = Find(totals.pools, view->name);
    json["pools"].push_back(DescribePool(*view, found != nullptr ? *found : metrics::PoolTotals{}));
  }
  // Names are whatever bytes the file held.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cashew::app

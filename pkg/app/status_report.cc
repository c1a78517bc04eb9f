#include "pkg/app/status_report.h"

#include <algorithm>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "pkg/hash/hash.h"
#include "pkg/ring/ring.h"

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

std::string AddressOf(const pool::Server& server) {
  if (!server.unix_path.empty()) return server.unix_path;
  const bool v6 = server.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", server.host, server.port)
            : fmt::format("{}:{}", server.host, server.port);
}

Json DescribeServer(const pool::Server& server, const metrics::ServerTotals& totals) {
  const auto& v = totals.values;
  return {{"name", server.name},
          {"address", AddressOf(server)},
          {"state", server.live ? "live" : "ejected"},
          {"requests", v[ServerMetric::kRequests]},
          {"in_queue", v[ServerMetric::kInQueue]},
          {"out_queue", v[ServerMetric::kOutQueue]},
          {"connections", v[ServerMetric::kServerConnections]},
          {"failures", v[ServerMetric::kServerEof] + v[ServerMetric::kServerErr] +
                           v[ServerMetric::kServerTimedout] + v[ServerMetric::kDesync]},
          {"ejects", v[ServerMetric::kEjects]},
          {"latency", totals.response_duration.counts}};
}

Json DescribePool(const pool::Snapshot& snapshot, const metrics::PoolTotals& totals) {
  const pool::Settings& settings = snapshot.settings();
  int64_t errors = 0;
  for (const int64_t n : totals.errors.array) errors += n;
  Json pool = {{"name", settings.name},
               {"protocol", settings.redis ? "redis" : "memcached"},
               {"distribution",
                fmt::format("{} by {}", std::string(ring::DistributionName(settings.distribution)),
                            std::string(hash::KindName(settings.hash)))},
               {"clients", totals.values[PoolMetric::kClientConnections]},
               {"requests", Sum(totals, metrics::ClassMetric::kRequests)},
               {"errors", errors},
               {"hits", totals.values[PoolMetric::kGetHits]},
               {"misses", totals.values[PoolMetric::kGetMisses]},
               {"latency", Latency(totals)},
               {"servers", Json::array()}};
  for (const pool::Server& server : snapshot.servers()) {
    const metrics::ServerTotals* found = Find(totals.servers, server.name);
    pool["servers"].push_back(
        DescribeServer(server, found != nullptr ? *found : metrics::ServerTotals{}));
  }
  return pool;
}

}  // namespace

std::string StatusJson(const StatusHeader& header,
                       const std::vector<std::shared_ptr<const pool::Snapshot>>& snapshots,
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
  for (const auto& snapshot : snapshots) {
    const metrics::PoolTotals* found = Find(totals.pools, snapshot->settings().name);
    json["pools"].push_back(
        DescribePool(*snapshot, found != nullptr ? *found : metrics::PoolTotals{}));
  }
  // Names are whatever bytes the file held.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cashew::app

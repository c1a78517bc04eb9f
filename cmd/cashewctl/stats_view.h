#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

#include "cmd/cashewctl/tables.h"

namespace cashew::ctl {

// The counters of the stats JSON at two moments, as rates.

using Counters = std::map<std::string, int64_t, std::less<>>;

struct Sample {
  struct Server {
    std::string name;
    Counters counters;
  };
  struct Pool {
    std::string name;
    Counters counters;
    std::vector<Server> servers;
  };

  absl::Time at;
  std::string version;
  int64_t uptime = 0;  // seconds
  std::vector<Pool> pools;
};

// Reads the stats JSON. INVALID_ARGUMENT when it is none. What is no number is passed over.
absl::StatusOr<Sample> ParseStats(std::string_view json, absl::Time at);

// What one pool or server did between two samples. A counter that went down (a new process, a
// server that came back) counts from zero.
struct Rates {
  double requests = 0;  // all of these per second
  double responses = 0;
  double request_bytes = 0;
  double response_bytes = 0;
  double errors = 0;  // pool: requests that failed; server: lost connections
  double timeouts = 0;
  int64_t queued = 0;       // requests that wait for a server, now
  int64_t connections = 0;  // pool: of clients; server: to it
};

struct PoolRates {
  std::string name;
  Rates total;
  std::vector<std::pair<std::string, Rates>> servers;
};

// For the pools and servers of `now`; one that `before` does not have begins at zero.
std::vector<PoolRates> RatesBetween(const Sample& before, const Sample& now);

// A row for each pool, its servers indented below it.
Table RatesTable(const std::vector<PoolRates>& pools);

// For files and pipes: a line for each pool and server, words as key=value.
std::string RatesLines(const std::vector<PoolRates>& pools, absl::Time at);

nlohmann::ordered_json RatesJson(const std::vector<PoolRates>& pools, absl::Time at);

// 0, 0.4, 12, 3.4k, 120M: three figures at most.
std::string Short(double value);

}  // namespace cashew::ctl

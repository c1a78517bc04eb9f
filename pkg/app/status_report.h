#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pkg/metrics/totals.h"
#include "pkg/pool/membership.h"

namespace cashew::app {

// What /status shows, as JSON: counters as they stand (the page makes rates of two of
// them), with each server's address and state. Made for that page and free to change.
struct StatusHeader {
  std::string source;   // host name
  std::string version;  // of this program
  int64_t time_ms = 0;  // since the epoch
  int64_t uptime_s = 0;
  std::vector<std::string> not_ready;
};
std::string StatusJson(const StatusHeader& header,
                       const std::vector<std::shared_ptr<const pool::PoolView>>& pools,
                       const metrics::Totals& totals);

}  // namespace cashew::app

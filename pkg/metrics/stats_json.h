#pragma once

#include <cstdint>
#include <string>

#include "pkg/metrics/totals.h"

namespace cashew::metrics {

// What the stats JSON says about the process besides its counters.
struct StatsHeader {
  std::string source;       // host name
  std::string version;      // of this program
  int64_t uptime_s = 0;     // since start
  int64_t timestamp_s = 0;  // since the epoch
};

// The answer of the stats port: nutcracker's JSON to the byte (order, spacing, one
// line that ends in \n), but with names escaped. Bytes of a name that are not
// UTF-8 become U+FFFD. nutcracker: nc_stats.c, stats_make_rsp().
std::string StatsJson(const Totals& totals, const StatsHeader& header);

// What -D prints after the version banner. nutcracker: nc_stats.c, stats_describe().
std::string DescribeStats();

}  // namespace cashew::metrics

#pragma once

#include <optional>

// What the kernel knows about this process, under the names that every Prometheus
// client library uses (hence no "cashew_").
//
//  member of ProcessStats, Prometheus name, kind, help
#define CASHEW_OS_METRICS(ROW)                                                        \
  ROW(cpu_seconds, "process_cpu_seconds_total", kCounter, "user and system CPU time") \
  ROW(resident_bytes, "process_resident_memory_bytes", kGauge, "resident memory")     \
  ROW(open_fds, "process_open_fds", kGauge, "# open file descriptors")                \
  ROW(max_fds, "process_max_fds", kGauge, "# file descriptors that may be open")      \
  ROW(start_time_seconds, "process_start_time_seconds", kGauge,                       \
      "time the process started, in seconds since the epoch")

namespace cashew::metrics {

// A value that could not be read is absent.
struct ProcessStats {
#define CASHEW_OS_MEMBER(member, prom, kind, help) std::optional<double> member;
  CASHEW_OS_METRICS(CASHEW_OS_MEMBER)
#undef CASHEW_OS_MEMBER
};

// Reads /proc; takes time in proportion to the open file descriptors, so it is
// called once a scrape. Any thread.
ProcessStats ReadProcessStats();

}  // namespace cashew::metrics

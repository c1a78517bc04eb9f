#pragma once

#include <string>
#include <string_view>

#include "pkg/metrics/process_stats.h"
#include "pkg/metrics/totals.h"

namespace cashew::metrics {

// The media type of PrometheusText().
inline constexpr std::string_view kPrometheusContentType =
    "text/plain; version=0.0.4; charset=utf-8";

// Prometheus' text exposition of all that has a Prometheus name: the table's rows
// as cashew_*, cashew_build_info and the process_* family. Labels are pool and
// server; bytes of a name that are not UTF-8 become U+FFFD, since one such name
// would make Prometheus drop the whole scrape.
std::string PrometheusText(const Totals& totals, const ProcessStats& process,
                           const std::string& version);

// The help text as Prometheus' users write it: nutcracker's "# x" is "Number of x".
std::string PrometheusHelp(std::string_view help);

}  // namespace cashew::metrics

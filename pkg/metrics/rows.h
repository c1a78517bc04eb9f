#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "pkg/metrics/cells.h"

namespace cashew::metrics {

enum class MetricKind : uint8_t { kCounter, kGauge, kTimestamp };

// A row of the metric table as data, for whoever walks all metrics.
struct MetricRow {
  std::string_view json_name;        // "" = not in the stats JSON
  std::string_view prometheus_name;  // without "cashew_"; "" = not exported
  MetricKind kind;
  std::string_view help;  // nutcracker's wording: "# " at the front means "number of"
};

// Indexed by the metric's id.
template <typename Id>
using RowTable = std::array<MetricRow, static_cast<size_t>(Id::kCount)>;

#define CASHEW_METRIC_ROW(id, json, prom, kind, help) MetricRow{json, prom, MetricKind::kind, help},
inline constexpr RowTable<ProcessMetric> kProcessRows = {CASHEW_PROCESS_METRICS(CASHEW_METRIC_ROW)};
inline constexpr RowTable<PoolMetric> kPoolRows = {CASHEW_POOL_METRICS(CASHEW_METRIC_ROW)};
inline constexpr RowTable<ServerMetric> kServerRows = {CASHEW_SERVER_METRICS(CASHEW_METRIC_ROW)};
inline constexpr RowTable<PoolStateMetric> kPoolStateRows = {
    CASHEW_POOL_STATE_METRICS(CASHEW_METRIC_ROW)};
inline constexpr RowTable<ServerStateMetric> kServerStateRows = {
    CASHEW_SERVER_STATE_METRICS(CASHEW_METRIC_ROW)};
#undef CASHEW_METRIC_ROW

// The table of an id's type, for templates.
constexpr const auto& RowsOf(ProcessMetric) { return kProcessRows; }
constexpr const auto& RowsOf(PoolMetric) { return kPoolRows; }
constexpr const auto& RowsOf(ServerMetric) { return kServerRows; }
constexpr const auto& RowsOf(PoolStateMetric) { return kPoolStateRows; }
constexpr const auto& RowsOf(ServerStateMetric) { return kServerStateRows; }

}  // namespace cashew::metrics

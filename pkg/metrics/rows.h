#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "pkg/metrics/cells.h"

namespace cashew::metrics {

enum class MetricKind : uint8_t { kCounter, kGauge, kTimestamp, kSeconds };

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
inline constexpr RowTable<ProcessStateMetric> kProcessStateRows = {
    CASHEW_PROCESS_STATE_METRICS(CASHEW_METRIC_ROW)};
inline constexpr RowTable<WorkerMetric> kWorkerRows = {CASHEW_WORKER_METRICS(CASHEW_METRIC_ROW)};
inline constexpr RowTable<ClassMetric> kClassRows = {CASHEW_CLASS_METRICS(CASHEW_METRIC_ROW)};
#undef CASHEW_METRIC_ROW

// A value of a label whose values are fixed.
struct LabelRow {
  std::string_view label;
  std::string_view meaning;
};
#define CASHEW_LABEL_ROW(id, label, meaning) LabelRow{label, meaning},
inline constexpr std::array kClassLabels = {CASHEW_COMMAND_CLASSES(CASHEW_LABEL_ROW)};
inline constexpr std::array kErrorLabels = {CASHEW_ERROR_KINDS(CASHEW_LABEL_ROW)};
#undef CASHEW_LABEL_ROW

struct HistogramRow {
  std::string_view prometheus_name;  // without "cashew_"
  std::string_view labels;
  std::string_view help;
};
#define CASHEW_HISTOGRAM_ROW(id, prom, labels, help) HistogramRow{prom, labels, help},
inline constexpr std::array kHistogramRows = {CASHEW_HISTOGRAMS(CASHEW_HISTOGRAM_ROW)};
#undef CASHEW_HISTOGRAM_ROW

// The one metric with label kind.
inline constexpr std::string_view kErrorsName = "client_errors_total";
inline constexpr std::string_view kErrorsHelp = "# requests answered with an error";

// The table of an id's type, for templates.
constexpr const auto& RowsOf(ProcessMetric) { return kProcessRows; }
constexpr const auto& RowsOf(PoolMetric) { return kPoolRows; }
constexpr const auto& RowsOf(ServerMetric) { return kServerRows; }
constexpr const auto& RowsOf(PoolStateMetric) { return kPoolStateRows; }
constexpr const auto& RowsOf(ServerStateMetric) { return kServerStateRows; }
constexpr const auto& RowsOf(ProcessStateMetric) { return kProcessStateRows; }
constexpr const auto& RowsOf(WorkerMetric) { return kWorkerRows; }
constexpr const auto& RowsOf(ClassMetric) { return kClassRows; }

}  // namespace cashew::metrics

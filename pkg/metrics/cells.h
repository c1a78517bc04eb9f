#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pkg/metrics/cell.h"
#include "pkg/metrics/histogram.h"
#include "pkg/metrics/table.h"

namespace cashew::metrics {

#define CASHEW_METRIC_ID(id, json, prom, kind, help) id,
enum class ProcessMetric : uint8_t { CASHEW_PROCESS_METRICS(CASHEW_METRIC_ID) kCount };
enum class PoolMetric : uint8_t { CASHEW_POOL_METRICS(CASHEW_METRIC_ID) kCount };
enum class ServerMetric : uint8_t { CASHEW_SERVER_METRICS(CASHEW_METRIC_ID) kCount };
enum class PoolStateMetric : uint8_t { CASHEW_POOL_STATE_METRICS(CASHEW_METRIC_ID) kCount };
enum class ServerStateMetric : uint8_t { CASHEW_SERVER_STATE_METRICS(CASHEW_METRIC_ID) kCount };
enum class ProcessStateMetric : uint8_t { CASHEW_PROCESS_STATE_METRICS(CASHEW_METRIC_ID) kCount };
enum class WorkerMetric : uint8_t { CASHEW_WORKER_METRICS(CASHEW_METRIC_ID) kCount };
enum class ClassMetric : uint8_t { CASHEW_CLASS_METRICS(CASHEW_METRIC_ID) kCount };
#undef CASHEW_METRIC_ID

#define CASHEW_LABEL_ID(id, label, meaning) id,
enum class CommandClass : uint8_t { CASHEW_COMMAND_CLASSES(CASHEW_LABEL_ID) kCount };
enum class ErrorKind : uint8_t { CASHEW_ERROR_KINDS(CASHEW_LABEL_ID) kCount };
#undef CASHEW_LABEL_ID

#define CASHEW_HISTOGRAM_ID(id, prom, labels, help) id,
enum class HistogramMetric : uint8_t { CASHEW_HISTOGRAMS(CASHEW_HISTOGRAM_ID) kCount };
#undef CASHEW_HISTOGRAM_ID

// The cells of the process, one pool or one server, written by one thread. Aligned so that no
// cache line is written by two workers.
template <typename Id>
class alignas(64) Cells {
 public:
  MetricCell& operator[](Id id) { return cells_[static_cast<size_t>(id)]; }
  const MetricCell& operator[](Id id) const { return cells_[static_cast<size_t>(id)]; }

 private:
  std::array<MetricCell, static_cast<size_t>(Id::kCount)> cells_;
};

using ProcessCells = Cells<ProcessMetric>;

// Requests of one class.
struct ClassCells : Cells<ClassMetric> {
  Histogram duration;  // kRequestDuration
};

struct PoolCells : Cells<PoolMetric> {
  std::array<ClassCells, static_cast<size_t>(CommandClass::kCount)> classes;
  Cells<ErrorKind> errors;
  Histogram queue_duration;

  ClassCells& of(CommandClass id) { return classes[static_cast<size_t>(id)]; }
};

struct ServerCells : Cells<ServerMetric> {
  Histogram response_duration;
};

struct WorkerCells : Cells<WorkerMetric> {
  Histogram loop_lag;
};

}  // namespace cashew::metrics

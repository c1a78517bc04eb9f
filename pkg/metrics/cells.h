#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "pkg/metrics/table.h"

namespace cashew::metrics {

#define CASHEW_METRIC_ID(id, json, prom, kind, help) id,
enum class ProcessMetric : uint8_t { CASHEW_PROCESS_METRICS(CASHEW_METRIC_ID) kCount };
enum class PoolMetric : uint8_t { CASHEW_POOL_METRICS(CASHEW_METRIC_ID) kCount };
enum class ServerMetric : uint8_t { CASHEW_SERVER_METRICS(CASHEW_METRIC_ID) kCount };
enum class PoolStateMetric : uint8_t { CASHEW_POOL_STATE_METRICS(CASHEW_METRIC_ID) kCount };
enum class ServerStateMetric : uint8_t { CASHEW_SERVER_STATE_METRICS(CASHEW_METRIC_ID) kCount };
#undef CASHEW_METRIC_ID

// One number with one writer (a worker, or the control thread) and any number of
// readers. Relaxed load and store are enough: a reader wants a recent value, not
// an ordering between values.
class MetricCell {
 public:
  void Add(int64_t n) {
    v_.store(v_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void Set(int64_t n) { v_.store(n, std::memory_order_relaxed); }
  int64_t Get() const { return v_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> v_{0};
};

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
using PoolCells = Cells<PoolMetric>;
using ServerCells = Cells<ServerMetric>;

}  // namespace cashew::metrics

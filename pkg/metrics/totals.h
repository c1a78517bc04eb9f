#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "pkg/metrics/cells.h"

namespace cashew::metrics {

// The values of one set of rows at one moment.
template <typename Id>
struct Values {
  std::array<int64_t, static_cast<size_t>(Id::kCount)> array{};

  int64_t& operator[](Id id) { return array[static_cast<size_t>(id)]; }
  int64_t operator[](Id id) const { return array[static_cast<size_t>(id)]; }
};

struct ServerTotals {
  std::string name;
  Values<ServerMetric> values;
  Values<ServerStateMetric> state;
  HistogramTotals response_duration = {};
};

struct ClassTotals {
  Values<ClassMetric> values;
  HistogramTotals duration;
};

struct WorkerTotals {
  Values<WorkerMetric> values;
  HistogramTotals loop_lag;
};

struct PoolTotals {
  std::string name;
  Values<PoolMetric> values;
  Values<PoolStateMetric> state;
  std::vector<ServerTotals> servers;  // in index order
  std::array<ClassTotals, static_cast<size_t>(CommandClass::kCount)> classes = {};
  Values<ErrorKind> errors = {};
  HistogramTotals queue_duration = {};
};

// What all exports are made from: the writers' cells added up. A plain value that
// belongs to whoever asked for it. Pools come in nutcracker's order: shorter
// names first, then bytewise.
struct Totals {
  Values<ProcessMetric> process;
  Values<ProcessStateMetric> state;
  std::vector<WorkerTotals> workers;  // by number
  std::vector<PoolTotals> pools;
};

}  // namespace cashew::metrics

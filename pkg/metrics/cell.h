#pragma once

#include <atomic>
#include <cstdint>

namespace cashew::metrics {

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

}  // namespace cashew::metrics

#pragma once

#include <atomic>
#include <cstdint>

namespace cashew::base {

// Where time comes from. Passed in, so that timeouts, ejection and retry are
// tested without sleeping. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic nanoseconds since an arbitrary start; for deadlines and durations.
  virtual int64_t NowNs() const = 0;
  // Microseconds since the Unix epoch; for what people and files see.
  virtual int64_t WallUs() const = 0;
};

// The machine's clocks. One instance for the process, never destroyed.
const Clock& RealClock();

// A clock that stands still until told otherwise.
class ManualClock : public Clock {
 public:
  explicit ManualClock(int64_t now_ns = 1'000'000'000) : now_ns_(now_ns) {}
  int64_t NowNs() const override { return now_ns_.load(std::memory_order_relaxed); }
  int64_t WallUs() const override { return NowNs() / 1000; }
  void AdvanceMs(int64_t ms) { now_ns_.fetch_add(ms * 1'000'000, std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> now_ns_;
};

inline constexpr int64_t kNsPerMs = 1'000'000;
inline constexpr int64_t kNsPerSec = 1'000'000'000;

}  // namespace cashew::base

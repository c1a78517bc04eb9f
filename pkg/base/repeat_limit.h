#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

namespace cashew::base {

// Lets through so many in a second, and counts the rest. For the lines of one place in the
// source: a server that refuses a thousand connections a second says so fifty times, then
// how often it would have. Constant-initialized; any thread, without a lock: threads that
// come together at a window's edge may get a few lines more through.
class RepeatLimit {
 public:
  static constexpr uint32_t kBurst = 50;
  static constexpr int64_t kWindowNs = 1'000'000'000;

  // Whether this one may pass. `*left_out` is how many did not, in windows that are over and
  // were not asked for yet.
  bool Admit(int64_t now_ns, uint32_t* left_out) {
    *left_out = 0;
    int64_t began_ns = began_ns_.load(std::memory_order_relaxed);
    if (now_ns - began_ns >= kWindowNs &&
        began_ns_.compare_exchange_strong(began_ns, now_ns, std::memory_order_relaxed)) {
      passed_.store(1, std::memory_order_relaxed);
      *left_out = left_out_.exchange(0, std::memory_order_relaxed);
      return true;
    }
    if (passed_.fetch_add(1, std::memory_order_relaxed) < kBurst) return true;
    passed_.store(kBurst, std::memory_order_relaxed);  // it must not wrap
    left_out_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }

  // How many were left out since it was last told, if their window is over.
  uint32_t TakeLeftOut(int64_t now_ns) {
    const bool over = now_ns - began_ns_.load(std::memory_order_relaxed) >= kWindowNs;
    return over ? left_out_.exchange(0, std::memory_order_relaxed) : 0;
  }
  // There are some that were not told yet.
  bool holds_back() const { return left_out_.load(std::memory_order_relaxed) > 0; }

 private:
  std::atomic<int64_t> began_ns_{std::numeric_limits<int64_t>::min() / 2};
  std::atomic<uint32_t> passed_{0};
  std::atomic<uint32_t> left_out_{0};
};

}  // namespace cashew::base

// How long to wait before trying again.
//
// client-go's numbers for a reflector: 0.8 s, doubled up to 30 s, each drawn from [d, 2d) and
// never above the ceiling, so that the sidecars of a fleet do not return together.
//
// One thread at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

namespace cashew::k8s {

struct BackoffOptions {
  int64_t first_ms = 800;
  int64_t max_ms = 30'000;
};

class Backoff {
 public:
  Backoff(BackoffOptions options, uint64_t seed) : options_(options), random_(seed) { Reset(); }

  int64_t NextMs() {
    const int64_t base = next_ms_;
    next_ms_ = std::min(base * 2, options_.max_ms);
    std::uniform_int_distribution<int64_t> jitter(0, std::max<int64_t>(base - 1, 0));
    return std::min(base + jitter(random_), options_.max_ms);
  }
  void Reset() { next_ms_ = std::min(options_.first_ms, options_.max_ms); }

 private:
  const BackoffOptions options_;
  std::mt19937_64 random_;
  int64_t next_ms_ = 0;
};

}  // namespace cashew::k8s

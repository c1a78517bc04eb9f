#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pkg/ring/server.h"

namespace cashew::ring {

// Any live server with equal chance, weights ignored: for stateless reads from
// replicas that all hold everything. The randomness is the caller's, so a test or a
// worker with a seed repeats its choices. Immutable after construction.
class Random {
 public:
  explicit Random(std::span<const RingServer> servers);

  int32_t Pick(uint32_t random_bits) const { return Locate(random_bits).server; }
  Location Locate(uint32_t random_bits) const;

  std::span<const int32_t> live() const { return live_; }
  size_t size() const { return live_.size(); }

 private:
  std::vector<int32_t> live_;  // indices of the live servers
};

}  // namespace cashew::ring

#include "pkg/ring/random.h"

namespace cashew::ring {

Random::Random(std::span<const RingServer> servers) {
  for (size_t i = 0; i < servers.size(); ++i) {
    if (servers[i].live) live_.push_back(static_cast<int32_t>(i));
  }
}

Location Random::Locate(uint32_t random_bits) const {
  if (live_.empty()) return {};
  // Multiply and shift instead of modulo: takes the high bits, which are good in
  // every generator, and needs no division.
  const auto index = static_cast<size_t>((uint64_t{random_bits} * live_.size()) >> 32);
  return {live_[index], static_cast<uint32_t>(index), index};
}

}  // namespace cashew::ring

#include <cstddef>

#include "pkg/hash/bytes.h"
#include "pkg/hash/functions.h"

namespace cashew::hash {

// Austin Appleby's MurmurHash2 with a seed that depends on the length.
uint32_t Murmur(std::string_view key) {
  constexpr uint32_t kMultiplier = 0x5bd1e995;
  constexpr int kShift = 24;

  const auto length = static_cast<uint32_t>(key.size());
  uint32_t h = (0xdeadbeef * length) ^ length;
  const char* p = key.data();
  for (size_t left = key.size() / 4; left > 0; --left, p += 4) {
    uint32_t k = LittleEndian32(p) * kMultiplier;
    k ^= k >> kShift;
    h = (h * kMultiplier) ^ (k * kMultiplier);
  }
  if (const size_t tail = key.size() % 4; tail > 0) {
    for (size_t i = 0; i < tail; ++i) h ^= ZeroExtended(p[i]) << (8 * i);
    h *= kMultiplier;
  }
  h ^= h >> 13;
  h *= kMultiplier;
  h ^= h >> 15;
  return h;
}

}  // namespace cashew::hash

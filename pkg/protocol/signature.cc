#include <cctype>
#include <cstring>

#include "pkg/protocol/codec.h"

namespace cashew::protocol {
namespace {

uint64_t Load(const char* p, size_t n) {
  uint64_t v = 0;
  memcpy(&v, p, n);
  return v;
}

}  // namespace

// Eight bytes at a time, the last eight overlapping: a few nanoseconds for a usual
// key. All of it counts, since keys like "user:1234:profile" differ in the middle. A
// collision merely fails to notice a fault.
uint32_t KeySignature(std::string_view key) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15u;
  const size_t n = key.size();
  uint64_t h = n * kMultiplier;
  if (n < 8) {
    h ^= Load(key.data(), n);
  } else {
    for (size_t i = 0; i + 8 < n; i += 8) {
      h = (h ^ Load(key.data() + i, 8)) * 0xff51afd7ed558ccdu;
      h ^= h >> 32;
    }
    h ^= Load(key.data() + n - 8, 8);
  }
  h *= kMultiplier;
  return static_cast<uint32_t>(h >> 32) | 1;
}

std::string_view FirstWord(std::string_view text) {
  size_t n = 0;
  while (n < text.size() &&
         (isalnum(static_cast<unsigned char>(text[n])) != 0 || text[n] == '-' || text[n] == '_')) {
    ++n;
  }
  return text.substr(0, n);
}

}  // namespace cashew::protocol

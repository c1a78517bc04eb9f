#include <cstddef>

#include "pkg/hash/bytes.h"
#include "pkg/hash/functions.h"

namespace cashew::hash {

// Paul Hsieh's SuperFastHash, begun at 0 instead of at the length, and with the last
// byte of a tail of three sign-extended while that of a tail of one is not.
uint32_t Hsieh(std::string_view key) {
  uint32_t h = 0;
  const char* p = key.data();
  for (size_t left = key.size() / 4; left > 0; --left, p += 4) {
    h += LittleEndian16(p);
    h = (h << 16) ^ (LittleEndian16(p + 2) << 11) ^ h;
    h += h >> 11;
  }
  switch (key.size() % 4) {
    case 3:
      h += LittleEndian16(p);
      h ^= h << 16;
      h ^= SignExtended(p[2]) << 18;
      h += h >> 11;
      break;
    case 2:
      h += LittleEndian16(p);
      h ^= h << 11;
      h += h >> 17;
      break;
    case 1:
      h += ZeroExtended(p[0]);
      h ^= h << 10;
      h += h >> 1;
      break;
    default:
      break;
  }
  h ^= h << 3;
  h += h >> 5;
  h ^= h << 4;
  h += h >> 17;
  h ^= h << 25;
  h += h >> 6;
  return h;
}

}  // namespace cashew::hash

#include "pkg/hash/bytes.h"
#include "pkg/hash/functions.h"

namespace cashew::hash {

// Bob Jenkins's one-at-a-time, over sign-extended bytes.
uint32_t OneAtATime(std::string_view key) {
  uint32_t v = 0;
  for (const char c : key) {
    v += SignExtended(c);
    v += v << 10;
    v ^= v >> 6;
  }
  v += v << 3;
  v ^= v >> 11;
  v += v << 15;
  return v;
}

}  // namespace cashew::hash

#include <bit>
#include <cstddef>

#include "pkg/hash/bytes.h"
#include "pkg/hash/functions.h"

namespace cashew::hash {
namespace {

// Bob Jenkins's lookup3, hashlittle(), read byte by byte where the original picks a
// path by the alignment of the key.
struct State {
  uint32_t a, b, c;

  void Mix() {
    a = (a - c) ^ std::rotl(c, 4), c += b;
    b = (b - a) ^ std::rotl(a, 6), a += c;
    c = (c - b) ^ std::rotl(b, 8), b += a;
    a = (a - c) ^ std::rotl(c, 16), c += b;
    b = (b - a) ^ std::rotl(a, 19), a += c;
    c = (c - b) ^ std::rotl(b, 4), b += a;
  }

  void Finish() {
    c = (c ^ b) - std::rotl(b, 14);
    a = (a ^ c) - std::rotl(c, 11);
    b = (b ^ a) - std::rotl(a, 25);
    c = (c ^ b) - std::rotl(b, 16);
    a = (a ^ c) - std::rotl(c, 4);
    b = (b ^ a) - std::rotl(a, 14);
    c = (c ^ b) - std::rotl(b, 24);
  }
};

// Up to four bytes of the tail; those behind its end count as zero.
uint32_t Word(std::string_view tail, size_t at) {
  uint32_t word = 0;
  for (size_t i = at; i < tail.size() && i < at + 4; ++i) {
    word |= ZeroExtended(tail[i]) << (8 * (i - at));
  }
  return word;
}

}  // namespace

uint32_t Jenkins(std::string_view key) {
  constexpr uint32_t kInitial = 13;
  constexpr size_t kBlock = 12;

  const uint32_t start = 0xdeadbeef + static_cast<uint32_t>(key.size()) + kInitial;
  State s{start, start, start};
  while (key.size() > kBlock) {
    s.a += LittleEndian32(key.data());
    s.b += LittleEndian32(key.data() + 4);
    s.c += LittleEndian32(key.data() + 8);
    s.Mix();
    key.remove_prefix(kBlock);
  }
  if (key.empty()) return s.c;
  s.a += Word(key, 0);
  s.b += Word(key, 4);
  s.c += Word(key, 8);
  s.Finish();
  return s.c;
}

}  // namespace cashew::hash

#include "pkg/hash/bytes.h"
#include "pkg/hash/functions.h"

namespace cashew::hash {
namespace {

// Offset basis and prime. The 64-bit pair is cut to its low 32 bits: for fnv1_64
// this changes nothing, since only the low half of the product is returned; for
// fnv1a_64 it is what nutcracker computes.
struct Parameters {
  uint32_t basis;
  uint32_t prime;
};
constexpr Parameters k32{.basis = 2166136261, .prime = 16777619};
constexpr Parameters k64{.basis = 0x84222325, .prime = 0x1b3};

uint32_t MultiplyThenXor(std::string_view key, Parameters p) {
  uint32_t h = p.basis;
  for (const char c : key) {
    h *= p.prime;
    h ^= SignExtended(c);
  }
  return h;
}

uint32_t XorThenMultiply(std::string_view key, Parameters p) {
  uint32_t h = p.basis;
  for (const char c : key) {
    h ^= SignExtended(c);
    h *= p.prime;
  }
  return h;
}

}  // namespace

uint32_t Fnv1_32(std::string_view key) { return MultiplyThenXor(key, k32); }
uint32_t Fnv1_64(std::string_view key) { return MultiplyThenXor(key, k64); }
uint32_t Fnv1a_32(std::string_view key) { return XorThenMultiply(key, k32); }
uint32_t Fnv1a_64(std::string_view key) { return XorThenMultiply(key, k64); }

}  // namespace cashew::hash

#pragma once

#include <cstdint>

// How the hashes read bytes: the same value whatever the machine's byte order and
// whatever the sign of its `char`.

namespace cashew::hash {

// 0x80 -> 0xffffff80. nutcracker adds plain chars to integers, which does this where
// char is signed; keys would move between an amd64 and an arm64 proxy if it were not
// pinned.
constexpr uint32_t SignExtended(char c) {
  return static_cast<uint32_t>(static_cast<int32_t>(static_cast<int8_t>(c)));
}

// 0x80 -> 0x80.
constexpr uint32_t ZeroExtended(char c) { return static_cast<uint8_t>(c); }

constexpr uint32_t LittleEndian16(const char* p) {
  return ZeroExtended(p[0]) | ZeroExtended(p[1]) << 8;
}

constexpr uint32_t LittleEndian32(const char* p) {
  return LittleEndian16(p) | LittleEndian16(p + 2) << 16;
}

}  // namespace cashew::hash

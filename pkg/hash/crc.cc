#include <array>

#include "pkg/hash/bytes.h"
#include "pkg/hash/functions.h"

namespace cashew::hash {
namespace {

constexpr std::array<uint16_t, 256> MakeCrc16Table() {
  constexpr uint16_t kPolynomial = 0x1021;  // CCITT, most significant bit first
  std::array<uint16_t, 256> table{};
  for (uint32_t byte = 0; byte < table.size(); ++byte) {
    uint32_t c = byte << 8;
    for (int bit = 0; bit < 8; ++bit) c = (c & 0x8000) != 0 ? (c << 1) ^ kPolynomial : c << 1;
    table[byte] = static_cast<uint16_t>(c);
  }
  return table;
}

constexpr std::array<uint32_t, 256> MakeCrc32Table() {
  constexpr uint32_t kPolynomial = 0xedb88320;  // IEEE, least significant bit first
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < table.size(); ++byte) {
    uint32_t c = byte;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? (c >> 1) ^ kPolynomial : c >> 1;
    table[byte] = c;
  }
  return table;
}

constexpr auto kCrc16Table = MakeCrc16Table();
constexpr auto kCrc32Table = MakeCrc32Table();

}  // namespace

// The state is 32 bits wide and never cut to 16, so results exceed 65535.
uint32_t Crc16(std::string_view key) {
  uint32_t c = 0;
  for (const char b : key) c = (c << 8) ^ kCrc16Table[((c >> 8) ^ ZeroExtended(b)) & 0xff];
  return c;
}

uint32_t Crc32a(std::string_view key) {
  uint32_t c = ~0U;
  for (const char b : key) c = (c >> 8) ^ kCrc32Table[(c ^ ZeroExtended(b)) & 0xff];
  return ~c;
}

// 15 bits of the checksum, as libmemcached takes them. Fine for modula; on a ketama
// ring all keys fall into the first 1/131072 of the circle, almost surely to one server.
uint32_t Crc32(std::string_view key) { return (Crc32a(key) >> 16) & 0x7fff; }

}  // namespace cashew::hash

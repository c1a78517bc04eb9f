#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

// The key hashes: twelve pure functions from bytes to 32 bits, and their names as
// the configuration spells them. A client's keys live on the server that these
// functions chose for years, so the values are frozen: they equal nutcracker's
// for every input (test/compat/hash_vectors.json), including the parts that
// depart from the published algorithms (src/hashkit/ there):
//
//   - bytes >= 0x80 are sign-extended by one_at_a_time, the fnv family and the
//     tail of hsieh, on every architecture, whether its `char` is signed or not;
//   - crc16 keeps 32 bits of state, crc32 only 15 bits of result;
//   - fnv1a_64 is 32-bit arithmetic.
//
// A weakness that comes with them: under fnv1a_64, nutcracker's default, keys
// that differ only in their last characters get nearby values, so with ketama and
// few servers key1 ... key9 usually share a server; and its prime is 3 * 5 * 29,
// so under modula with 3 or 5 slots they share one too. md5, murmur and jenkins
// do not have it.
//
// Every function here is thread-safe and allocates nothing.

namespace cashew::hash {

enum class Kind : uint8_t {
  kOneAtATime,
  kMd5,
  kCrc16,
  kCrc32,
  kCrc32a,
  kFnv1_64,
  kFnv1a_64,
  kFnv1_32,
  kFnv1a_32,
  kHsieh,
  kMurmur,
  kJenkins,
};

// The configuration's spelling ("fnv1a_64"); nothing for any other text.
std::optional<Kind> KindFromName(std::string_view name);
std::string_view KindName(Kind kind);

// All names, in the order of Kind. Static storage.
std::span<const std::string_view> KindNames();

// From the bytes of a key (what TagOf left of it) to the value a ring is asked for.
// The empty key is 0 under every kind: that is nutcracker's dispatch, kept here so
// that no caller can forget it.
using HashFunction = uint32_t (*)(std::string_view key);

// The function itself, for the data path to hold. Never null.
HashFunction FunctionFor(Kind kind);

inline uint32_t Hash(Kind kind, std::string_view key) { return FunctionFor(kind)(key); }

// The 16 bytes of MD5; ketama takes four points from each digest.
std::array<uint8_t, 16> Md5Digest(std::string_view bytes);

}  // namespace cashew::hash

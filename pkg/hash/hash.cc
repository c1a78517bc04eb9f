#include "pkg/hash/hash.h"

#include <algorithm>
#include <cstddef>

#include "pkg/hash/functions.h"

namespace cashew::hash {
namespace {

template <HashFunction kFunction>
uint32_t ZeroIfEmpty(std::string_view key) {
  return key.empty() ? 0 : kFunction(key);
}

// Both tables are in the order of Kind.
constexpr std::array<std::string_view, 12> kNames = {
    "one_at_a_time", "md5",     "crc16",    "crc32", "crc32a", "fnv1_64",
    "fnv1a_64",      "fnv1_32", "fnv1a_32", "hsieh", "murmur", "jenkins",
};
constexpr std::array<HashFunction, kNames.size()> kFunctions = {
    ZeroIfEmpty<OneAtATime>, ZeroIfEmpty<Md5>,     ZeroIfEmpty<Crc16>,    ZeroIfEmpty<Crc32>,
    ZeroIfEmpty<Crc32a>,     ZeroIfEmpty<Fnv1_64>, ZeroIfEmpty<Fnv1a_64>, ZeroIfEmpty<Fnv1_32>,
    ZeroIfEmpty<Fnv1a_32>,   ZeroIfEmpty<Hsieh>,   ZeroIfEmpty<Murmur>,   ZeroIfEmpty<Jenkins>,
};
static_assert(kNames.size() == static_cast<size_t>(Kind::kJenkins) + 1);

}  // namespace

std::optional<Kind> KindFromName(std::string_view name) {
  const auto it = std::find(kNames.begin(), kNames.end(), name);
  if (it == kNames.end()) return std::nullopt;
  return static_cast<Kind>(it - kNames.begin());
}

std::string_view KindName(Kind kind) { return kNames[static_cast<size_t>(kind)]; }

std::span<const std::string_view> KindNames() { return kNames; }

HashFunction FunctionFor(Kind kind) { return kFunctions[static_cast<size_t>(kind)]; }

}  // namespace cashew::hash

#pragma once

#include <cstdint>
#include <string_view>

// The raw functions behind hash.h, one a file or family. For pkg/hash alone: these
// do not treat the empty key apart, FunctionFor() does.

namespace cashew::hash {

uint32_t OneAtATime(std::string_view key);
uint32_t Md5(std::string_view key);
uint32_t Crc16(std::string_view key);
uint32_t Crc32(std::string_view key);
uint32_t Crc32a(std::string_view key);
uint32_t Fnv1_64(std::string_view key);
uint32_t Fnv1a_64(std::string_view key);
uint32_t Fnv1_32(std::string_view key);
uint32_t Fnv1a_32(std::string_view key);
uint32_t Hsieh(std::string_view key);
uint32_t Murmur(std::string_view key);
uint32_t Jenkins(std::string_view key);

}  // namespace cashew::hash

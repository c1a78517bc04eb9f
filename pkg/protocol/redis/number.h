#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace cashew::protocol::redis {

// A number as redis writes and reads it in its protocol: digits, a minus before it
// perhaps, no plus, no leading zero, no space; 64 bits. (What redis' string2ll takes: a
// looser reading would let a client send what the server then takes for an error.)
inline std::optional<int64_t> ParseNumber(std::string_view text) {
  const bool negative = !text.empty() && text.front() == '-';
  if (negative) text.remove_prefix(1);
  if (text.empty() || text.size() > 19) return std::nullopt;
  if (text.front() == '0' && (text.size() > 1 || negative)) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  const uint64_t limit = uint64_t{INT64_MAX} + (negative ? 1 : 0);
  if (value > limit) return std::nullopt;
  return static_cast<int64_t>(negative ? ~value + 1 : value);
}

}  // namespace cashew::protocol::redis

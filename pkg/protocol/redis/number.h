#pragma once

#include <algorithm>
#include <cstddef>
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

// The header that nearly every element has: a type, one to five digits (no leading zero), CRLF.
struct ShortHeader {
  size_t size = 0;  // with its CRLF; 0: the front of `in` is none, or is cut off
  int64_t number = 0;
};
inline ShortHeader ReadShortHeader(std::string_view in) {
  constexpr size_t kDigits = 5;
  const size_t end = std::min(in.size(), 1 + kDigits);
  int64_t number = 0;
  size_t at = 1;
  for (; at < end; ++at) {
    const auto digit = static_cast<unsigned>(in[at] - '0');
    if (digit > 9) break;
    number = number * 10 + digit;
  }
  const bool whole = at > 1 && in.size() - at >= 2 && in[at] == '\r' && in[at + 1] == '\n';
  if (!whole || (in[1] == '0' && at > 2)) return {};
  return {at + 2, number};
}

}  // namespace cashew::protocol::redis

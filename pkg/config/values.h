// The single values of a configuration file: from text to number, duration, address.
// Pure functions. An error is half a sentence for a person, which begins with the value
// found and says what would be right; the caller knows file, line and key.
#pragma once

#include <absl/status/statusor.h>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "pkg/config/config.h"

namespace cashew::config {

// twemproxy keeps numbers in 32 bits and wraps beyond; here they end.
inline constexpr int64_t kMaxNumber = 2147483647;

struct NumberRange {
  int64_t min = 0;
  int64_t max = kMaxNumber;
  int64_t example = 1;
};

// Decimal digits only; leading zeros are decimal too.
absl::StatusOr<int64_t> ParseNumber(std::string_view text, const NumberRange& range);

// Exactly `true` or `false`.
absl::StatusOr<bool> ParseBool(std::string_view text);

// A whole number and its unit, ms, s, m or h: "400ms", "30s". In milliseconds, at most 2^31-1.
absl::StatusOr<int64_t> ParseDuration(std::string_view text, int64_t min_ms);

// A whole number and its unit, kb, mb or gb, powers of 1024: "64mb". In bytes, at most 1 PiB.
absl::StatusOr<int64_t> ParseSize(std::string_view text, int64_t min_bytes);

// `host:port`, `[v6]:port`, `v6:port` (the last ':' splits) or `/path [octal-mode]`.
absl::StatusOr<Address> ParseListen(std::string_view text);

// `host:port` alone, for listeners of our own; port 0 lets the kernel choose.
absl::StatusOr<Address> ParseHostPort(std::string_view text, int64_t min_port);

// The part of `unix:` after the colon, or of a server: absolute, and short enough to bind.
absl::StatusOr<std::string> ParseUnixPath(std::string_view path);

// `host:port:weight [name]` or `/path:weight [name]`, split from the right as twemproxy does.
// `line` is left to the caller.
absl::StatusOr<Server> ParseServer(std::string_view text);

// The value in quotes, escaped and cut to a length that suits a message.
std::string Quoted(std::string_view value);

// The name that someone who wrote `text` most likely meant, if any is near.
std::optional<std::string_view> Nearest(std::string_view text,
                                        std::span<const std::string_view> names);

}  // namespace cashew::config

#pragma once

#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <string_view>

namespace cashew::base {

// A log line as one JSON object, without its end:
//
//   JsonLine(us, "notice", "control.cc:12", "server ejected pool={} retry_ms={}", args)
//   {"ts":"2026-02-03T04:05:06.789012Z","level":"notice","src":"control.cc:12",
//    "msg":"server ejected","pool":"alpha","retry_ms":30000}
//
// Which words are fields is read off `format`, never off what a value says: a value is one
// whatever its bytes. Those of numbers and booleans are JSON's, all others strings; bytes that
// are no UTF-8 are replaced. `wall_us` is of the Unix epoch.
std::string JsonLine(int64_t wall_us, std::string_view level, std::string_view source,
                     fmt::string_view format, fmt::format_args args);

}  // namespace cashew::base

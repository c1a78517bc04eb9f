#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace cashew::ctl {

// A larger file is refused unread.
inline constexpr size_t kMaxFileBytes = size_t{16} << 20;

// The whole of a file; "-" is standard input. The error names the file and the reason.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace cashew::ctl

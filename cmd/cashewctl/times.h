#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/timestamp.pb.h"

namespace cashew::ctl {

// `2026-02-03T04:05:06.789Z`, with as many decimals as there are.
std::string Rfc3339(const google::protobuf::Timestamp& time);

// The same in seconds, for tables; empty when the message is the default one.
std::string Seconds(const google::protobuf::Timestamp& time);

// `90s`, `10m`: a number and its unit, ms, s, m or h, above zero. The error names `option`.
absl::StatusOr<absl::Duration> ParseLength(const std::string& option, const std::string& text);

}  // namespace cashew::ctl

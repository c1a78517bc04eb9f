#include "cmd/cashewctl/times.h"

#include "fmt/format.h"

#include "pkg/config/values.h"

namespace cashew::ctl {
namespace {

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

}  // namespace

std::string Rfc3339(const google::protobuf::Timestamp& time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", ToTime(time), absl::UTCTimeZone());
}

std::string Seconds(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0 && time.nanos() == 0) return "";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", ToTime(time), absl::UTCTimeZone());
}

absl::StatusOr<absl::Duration> ParseLength(const std::string& option, const std::string& text) {
  const absl::StatusOr<int64_t> ms = config::ParseDuration(text, 1);
  if (ms.ok()) return absl::Milliseconds(*ms);
  return absl::InvalidArgumentError(
      fmt::format("{} {}", option, std::string(ms.status().message())));
}

}  // namespace cashew::ctl

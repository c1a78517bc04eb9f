#include "cmd/cashewctl/session.h"

#include "fmt/format.h"

#include "cmd/cashewctl/errors.h"
#include "cmd/cashewctl/json.h"
#include "cmd/cashewctl/times.h"

namespace cashew::ctl {

void Session::Print(std::string_view text) { out_ << text << std::flush; }

void Session::PrintJson(const nlohmann::ordered_json& json) { Print(Dump(json)); }

int Session::Answer(const nlohmann::ordered_json& value, std::string_view text) {
  json() ? PrintJson(value) : Print(text);
  return kDone;
}

int Session::Answer(const google::protobuf::Message& message, std::string_view text) {
  json() ? PrintJson(ToJson(message)) : Print(text);
  return kDone;
}

void Session::PrintError(std::string_view line) { err_ << line << "\n" << std::flush; }

int Session::Fail(ExitCode code, std::string_view text) {
  PrintError(fmt::format("cashewctl: {}", text));
  return code;
}

int Session::Fail(std::string_view asked, const grpc::Status& status) {
  return Fail(ExitCodeOf(status.error_code()), Explain(asked, address(), status));
}

int Session::Connect() {
  if (channel_ != nullptr) return kDone;
  if (!timeout.empty()) {
    const auto limit = ParseLength("--timeout", timeout);
    if (!limit.ok()) return Fail(kUsage, std::string(limit.status().message()));
  }
  if (connect.address.empty()) {
    const auto found = FindSocket(DefaultSockets(ProcessEnv));
    if (!found.ok()) return Fail(kUnreachable, std::string(found.status().message()));
    connect.address = *found;
  }
  const auto channel = OpenChannel(connect);
  if (!channel.ok()) return Fail(kUsage, std::string(channel.status().message()));
  channel_ = *channel;
  membership_ = membership::v1::MembershipService::NewStub(channel_);
  admin_ = admin::v1::AdminService::NewStub(channel_);
  return kDone;
}

absl::Duration Session::Limit(absl::Duration usual) const {
  if (timeout.empty()) return usual;
  return ParseLength("--timeout", timeout).value_or(usual);
}

}  // namespace cashew::ctl

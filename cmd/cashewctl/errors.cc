#include "cmd/cashewctl/errors.h"

#include <algorithm>
#include <array>

#include "fmt/format.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

#include "cmd/cashewctl/tables.h"

namespace cashew::ctl {
namespace {

struct CodeRow {
  grpc::StatusCode code;
  ExitCode exit;
  std::string_view words;  // between what was asked and what the proxy said
};

constexpr std::array<CodeRow, 10> kCodes = {{
    {grpc::StatusCode::NOT_FOUND, kNotFound, "not found"},
    {grpc::StatusCode::ABORTED, kConflict, "conflict"},
    {grpc::StatusCode::ALREADY_EXISTS, kConflict, "conflict"},
    {grpc::StatusCode::UNAVAILABLE, kUnreachable, "cannot reach the proxy"},
    {grpc::StatusCode::DEADLINE_EXCEEDED, kUnreachable, "no answer in time"},
    {grpc::StatusCode::INVALID_ARGUMENT, kRefused, "refused"},
    {grpc::StatusCode::FAILED_PRECONDITION, kRefused, "refused"},
    {grpc::StatusCode::PERMISSION_DENIED, kRefused, "not allowed"},
    {grpc::StatusCode::UNAUTHENTICATED, kRefused, "not allowed"},
    {grpc::StatusCode::UNIMPLEMENTED, kRefused, "this proxy does not know the call"},
}};

constexpr CodeRow kOther = {grpc::StatusCode::UNKNOWN, kRefused, "failed"};

const CodeRow& RowOf(grpc::StatusCode code) {
  const auto row = std::find_if(kCodes.begin(), kCodes.end(),
                                [code](const CodeRow& each) { return each.code == code; });
  return row == kCodes.end() ? kOther : *row;
}

std::string_view Advice(grpc::StatusCode code) {
  if (code == grpc::StatusCode::UNAVAILABLE) {
    return "; check that cashew runs, that this is the address of `global: {grpc: …}` in its "
           "configuration (--address or CASHEW_GRPC say it here), and, when it has grpc_tls, the "
           "--tls options";
  }
  if (code == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return "; what was asked may still happen; --timeout waits longer";
  }
  return "";
}

// gRPC's "failed to connect to all addresses; last error: UNKNOWN: …" without its beginning.
std::string_view Reason(std::string_view message) {
  for (const std::string_view words : {"last error: ", "UNKNOWN: ", "UNAVAILABLE: "}) {
    const size_t at = message.find(words);
    if (at != std::string_view::npos) message.remove_prefix(at + words.size());
  }
  return message;
}

// One line for each refused field, when the status carries them and its message does not.
std::string Violations(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return "";
  std::string text;
  for (const google::protobuf::Any& any : details.details()) {
    google::rpc::BadRequest refused;
    if (!any.UnpackTo(&refused)) continue;
    for (const auto& violation : refused.field_violations()) {
      const std::string line = fmt::format("{}: {}", violation.field(), violation.description());
      if (status.error_message().find(line) != std::string::npos) continue;
      text += "\n  " + Printable(line);
    }
  }
  return text;
}

}  // namespace

ExitCode ExitCodeOf(grpc::StatusCode code) { return RowOf(code).exit; }

std::string Explain(std::string_view asked, std::string_view address, const grpc::Status& status) {
  const CodeRow& row = RowOf(status.error_code());
  const bool unreachable = row.exit == kUnreachable;
  const std::string& message = status.error_message();
  const std::string said = PrintableLines(unreachable ? Reason(message) : message);
  return fmt::format("{}: {}{}{}{}{}{}", Printable(asked), row.words,
                     unreachable ? fmt::format(" at {}", Printable(address)) : "",
                     said.empty() ? "" : ": ", said, Advice(status.error_code()),
                     Violations(status));
}

}  // namespace cashew::ctl

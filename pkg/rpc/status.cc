#include "pkg/rpc/status.h"

#include "absl/strings/cord.h"
#include "fmt/format.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

#include "pkg/rpc/convert.h"

namespace cashew::rpc {
namespace {

constexpr char kBadRequestType[] = "type.googleapis.com/google.rpc.BadRequest";

constexpr size_t kMaxMessage = 4096;

// Violations that are spelled out; a list of 4,096 servers without ports says so once.
constexpr size_t kMaxViolations = 8;

std::string Summary(const std::vector<FieldViolation>& violations) {
  const FieldViolation& first = violations.front();
  std::string text = fmt::format("{}: {}", first.field, first.description);
  if (violations.size() > 1) text += fmt::format(" (and {} more)", violations.size() - 1);
  return text;
}

std::string Details(const absl::Status& status, const std::string& message) {
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& value) {
    google::protobuf::Any* any = details.add_details();
    any->set_type_url(std::string(type));
    any->set_value(std::string(value));
  });
  return details.details_size() > 0 ? details.SerializeAsString() : std::string();
}

}  // namespace

absl::Status BadRequest(const std::vector<FieldViolation>& violations) {
  google::rpc::BadRequest request;
  for (const FieldViolation& violation : violations) {
    if (static_cast<size_t>(request.field_violations_size()) == kMaxViolations) break;
    auto* field = request.add_field_violations();
    field->set_field(violation.field);
    field->set_description(violation.description);
  }
  absl::Status status = absl::InvalidArgumentError(Summary(violations));
  status.SetPayload(kBadRequestType, absl::Cord(request.SerializeAsString()));
  return status;
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message = ToText(std::string(status.message()).substr(0, kMaxMessage));
  return {static_cast<grpc::StatusCode>(status.code()), message, Details(status, message)};
}

}  // namespace cashew::rpc

// An absl::Status as a gRPC status, with what is wrong with which field of the request.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace cashew::rpc {

// One wrong field: "servers[3].weight", "0 is not a weight; leave it unset for 1".
struct FieldViolation {
  std::string field;
  std::string description;
};

// INVALID_ARGUMENT that reads "field: description; ..." and carries the violations (one at
// least) as google.rpc.BadRequest, as a payload of the absl::Status.
absl::Status BadRequest(const std::vector<FieldViolation>& violations);

// The same code and message. Payloads become details: an encoded google.rpc.Status, which
// gRPC sends as grpc-status-details-bin. Messages are cut at 4 KiB, well under the 8 KiB that
// a peer accepts of metadata by default.
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace cashew::rpc

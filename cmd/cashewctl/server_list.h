#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cashew/membership/v1/membership.pb.h"
#include "google/protobuf/repeated_ptr_field.h"

namespace cashew::ctl {

// Server lists as people write and change them. Forms are checked here, so that a slip is
// told by its argument or line; what a pool accepts is the proxy's to say.

using Server = membership::v1::Server;
using ServerList = google::protobuf::RepeatedPtrField<Server>;

// NAME=HOST:PORT[:WEIGHT], an IPv6 host in brackets. INVALID_ARGUMENT otherwise.
absl::StatusOr<Server> ParseServerArgument(std::string_view text);

// INVALID_ARGUMENT names the first argument that is wrong, or the name given twice.
absl::StatusOr<ServerList> ParseServerArguments(const std::vector<std::string>& arguments);

// The text of a file in any of three forms:
//   - one server a line, as above or as in a pool's `servers` (host:port:weight [name]); `#`
//     begins a comment;
//   - YAML or JSON: a list, or a mapping with the list under `servers`. Its entries are such
//     lines, or mappings of name, address, weight, zone and state;
//   - what `cashewctl servers POOL --output json` prints.
// INVALID_ARGUMENT names `file` and the line.
absl::StatusOr<ServerList> ParseServerFile(std::string_view text, const std::string& file);

// The list that a pool has now, as its updater gave it: without servers that are only held.
ServerList ListOf(const membership::v1::Pool& pool);

// Adds `added` at the end. A server with the name and the same settings is there already and
// stays; with others it is ALREADY_EXISTS, unless `replace`.
absl::Status AddServers(const ServerList& added, bool replace, ServerList* list);

// NOT_FOUND names the first server that is not in the list, and those that are.
absl::Status RemoveServers(const std::vector<std::string>& names, ServerList* list);

}  // namespace cashew::ctl

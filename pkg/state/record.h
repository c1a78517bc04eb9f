#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/pool/membership.h"

// What is kept of a pool over a restart, and the bytes of the file that keeps it. Pure
// functions, from any thread; files are the business of store.h.
//
// A file is one header line and a JSON body:
//
//   cashew-state <format> <bytes of the body> <SHA-256 of the body, hex>
//   {"pool":"cache", "servers":[...], "overrides":{...}, ...}
//
// Length and checksum tell a torn or altered file from a whole one. Strings are
// percent-encoded (whatever is not printable ASCII, and '%'): any byte survives.

namespace cashew::state {

// A larger file is not read, a larger record not written.
inline constexpr size_t kMaxFileBytes = 8 * 1024 * 1024;

// Reads of a newer format are refused; an older one would be converted in Decode.
inline constexpr int kFormat = 1;

struct PoolRecord {
  std::vector<pool::ServerSpec> servers;  // in the order of the list
  std::vector<pool::ServerSpec> held;     // have left it, and keep their place for hold_down
  std::string updater;                    // who sent it
  std::string source_version;             // the updater's own version of it
  int64_t updated_us = 0;                 // wall clock, when it was accepted
  bool has_list = false;  // false: no list was accepted yet, only overrides are kept
  std::map<std::string, pool::Override> overrides;  // by server name

  bool operator==(const PoolRecord&) const = default;
};

// InvalidArgument naming the server and what is wrong with it: no or a repeated name, weight 0,
// port 0, neither a host nor an absolute socket path; servers without has_list.
absl::Status Validate(const PoolRecord& record);

// The whole file for `record`. InvalidArgument when Validate refuses it or it would be larger
// than kMaxFileBytes.
absl::StatusOr<std::string> Encode(const std::string& pool, const PoolRecord& record);

// The record in `file`, if it is whole, for `pool`, of a known format and valid; otherwise an
// error that says which of these it is not.
absl::StatusOr<PoolRecord> Decode(const std::string& pool, std::string_view file);

// The file's name for a pool of any name: letters, digits, '_', '-' and inner dots stay, other
// bytes are percent-encoded, what is too long for a file system ends in a hash. Two pools never
// share a name; it ends in ".state" and never begins with a dot.
std::string FileName(const std::string& pool);

}  // namespace cashew::state

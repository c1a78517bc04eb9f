// Between the messages of proto/ and the plain data of pkg/pool; and the rules for lists from
// the network. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cashew/admin/v1/admin.pb.h"
#include "cashew/membership/v1/membership.pb.h"

#include "pkg/pool/membership.h"
#include "pkg/rpc/backend.h"

namespace cashew::rpc {

namespace membershippb = ::cashew::membership::v1;
namespace adminpb = ::cashew::admin::v1;

inline constexpr int kMaxServers = 4096;
inline constexpr size_t kMaxServerName = 255;
inline constexpr size_t kMaxZone = 63;
inline constexpr size_t kMaxWord = 255;                // pool, updater, source_version
inline constexpr uint32_t kMaxWeight = 2147483647;     // as in the configuration file
inline constexpr uint64_t kMaxWeightSum = 4294967295;  // slots of a modula ring count in 32 bits

using ServerList = google::protobuf::RepeatedPtrField<membershippb::Server>;

// ---- from the network -------------------------------------------------------

// A pool's list, checked: names (not empty, at most 255 bytes, without spaces and control
// characters, no two alike), addresses (see address.h), weights (1 to 2^31-1, 2^32-1 in all),
// zones (at most 63 bytes without control characters), states, and the number of servers.
// Otherwise INVALID_ARGUMENT with google.rpc.BadRequest, which names each server and field.
// An empty list passes: whether a pool may be empty is its own affair.
absl::StatusOr<std::vector<pool::ServerSpec>> ParseServers(const ServerList& servers);

// A word that is shown, logged and kept. `field` names it in the error.
absl::Status CheckWord(const std::string& field, const std::string& word);

// What SetOverride asks for; `now_us` is the wall clock that expires_in counts from.
// INVALID_ARGUMENT as above when nothing is set or a value is impossible.
absl::StatusOr<pool::Override> ParseOverride(const adminpb::SetOverrideRequest& request,
                                             int64_t now_us);

// ---- to the network ---------------------------------------------------------

// The text if it is UTF-8, which a proto3 string has to be; else with its bytes escaped.
std::string ToText(std::string_view bytes);

enum class Servers { kOmit, kInclude };
void FillPool(const pool::PoolView& view, Servers servers, membershippb::Pool* out);

// Which servers differ between two views of a pool, by name.
struct Difference {
  std::vector<std::string> added, removed, changed;
};
Difference Compare(const pool::PoolView& before, const pool::PoolView& after);

void FillApplied(const pool::Applied& applied, membershippb::SetServersResponse* out);
void FillStatus(const ProxyStatus& status, adminpb::GetStatusResponse* out);
void FillLocation(const Location& location, adminpb::LocateResponse* out);
void FillHotKeys(const pool::HotKeys& hot, adminpb::GetHotKeysResponse* out);
void FillSlowLog(const std::vector<pool::SlowRequest>& slow, adminpb::GetSlowLogResponse* out);
void FillReloaded(const Reloaded& reloaded, adminpb::ReloadResponse* out);

}  // namespace cashew::rpc

#pragma once

#include <string>

#include "absl/time/time.h"
#include "cashew/membership/v1/membership.pb.h"

#include "cmd/cashewctl/tables.h"

namespace cashew::ctl {

// Pools as people read them. The texts end in a line's end.

Table PoolsTable(const membership::v1::ListPoolsResponse& answer);

// A line about the pool, then its servers as a table.
std::string PoolText(const membership::v1::Pool& pool, bool terminal);

// One server in a line: what it is, where, and whether it is routed.
std::string ServerText(const membership::v1::ServerStatus& status);

// What a new list changed, or would.
std::string ChangeText(const std::string& pool, bool dry_run,
                       const membership::v1::SetServersResponse& answer);

// One line for the change, and one for each server that came or changed.
std::string UpdateText(const membership::v1::WatchPoolResponse& update, absl::Time now);

// "10.0.0.1:11211 weight 2"; a state and a weight that a person set, until when.
std::string OverrideText(const membership::v1::Override& override_);

}  // namespace cashew::ctl

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/protocol/redis/reply_parser.h"

// Commands that ask every server of a pool: `cluster_commands`, `dangerous_commands`.

namespace cashew::protocol::redis {

// One reply of what all servers said, for the kinds of Merge::kWhole. An error when a
// reply is not what its kind promises.
std::string MergeReplies(ReplyKind kind, const std::vector<std::string>& replies);

// A cursor of SCAN over all servers: which server, a part of the checksum of the list that
// holds it, and that server's own cursor. 63 bits, since some clients read cursors as signed.
// A server's cursor has no more bits than its table of keys, so 40 are plenty.
struct ScanCursor {
  uint32_t server = 0;
  uint32_t check = 0;  // 0: the walk begins
  uint64_t cursor = 0;

  // Never 0.
  static uint32_t CheckOf(uint32_t membership_checksum);
  static std::optional<ScanCursor> Parse(std::string_view text);
  // The reply's first two lines: the cursor that goes on from here, "0" at the end.
  static std::string Begin(uint32_t server, size_t servers, uint32_t check, int64_t cursor);
};

}  // namespace cashew::protocol::redis

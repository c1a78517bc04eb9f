#pragma once

#include <array>
#include <string_view>

namespace cashew::ctl {

// What a script may branch on. --help and the man page list this table.
enum ExitCode : int {
  kDone = 0,
  kRefused = 1,
  kUsage = 2,
  kUnreachable = 3,
  kNotFound = 4,
  kConflict = 5,
};

struct ExitCodeRow {
  ExitCode code;
  std::string_view meaning;
};

inline constexpr std::array<ExitCodeRow, 6> kExitCodes = {{
    {kDone, "done"},
    {kRefused, "refused by the proxy, or the file is wrong; the message says why"},
    {kUsage, "wrong use of this command"},
    {kUnreachable, "the proxy cannot be reached, or did not answer in time"},
    {kNotFound, "no such pool, or no such server in it"},
    {kConflict, "somebody else changed the pool meanwhile, or a stream owns it"},
}};

}  // namespace cashew::ctl

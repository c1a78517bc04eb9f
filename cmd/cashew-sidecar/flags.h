// The command line of cashew-sidecar.
#pragma once

#include <optional>
#include <string>

#include "pkg/k8s/sidecar.h"

namespace cashew::sidecar {

struct Flags {
  k8s::SidecarOptions options;  // complete but for dry_run
  std::string listen;           // "off": no HTTP
  bool once = false;
  bool dry_run = false;
  int timeout_s = 0;
  int verbosity = 0;
  std::string log_file;
  std::string log_format;  // "text" or "json"
};

// Flags, or nothing and the exit code to leave with: 0 after --help and --version, 1 when
// something is wrong, which was said on stderr.
std::optional<Flags> ParseFlags(int argc, char** argv, int* exit_code);

}  // namespace cashew::sidecar

#pragma once

#include <string>

namespace cashew::app {

// Where this process keeps things when the configuration does not say.

// `unix:` and a path: grpc.sock in $RUNTIME_DIRECTORY (systemd), $XDG_RUNTIME_DIR/cashew or
// /run/cashew. The last directory of the path is made when it is missing.
std::string DefaultGrpcAddress();

// $STATE_DIRECTORY (systemd), /var/lib/cashew for root, or else $XDG_STATE_HOME/cashew or
// ~/.local/state/cashew.
std::string DefaultStateDir();

}  // namespace cashew::app

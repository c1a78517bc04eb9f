#include "pkg/pool/membership.h"

#include "fmt/format.h"

namespace cashew::pool {

const char* ServerStateName(ServerState state) {
  static constexpr const char* kNames[] = {"ready", "down", "draining"};
  return kNames[static_cast<int>(state)];
}

std::string ServerSpec::Address() const {
  if (!unix_path.empty()) return unix_path;
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

}  // namespace cashew::pool

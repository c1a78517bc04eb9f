// Where a server listens, as an updater on the network writes it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace cashew::rpc {

struct HostPort {
  std::string host;  // a name or a numeric address, without brackets
  uint16_t port = 0;
};

// host:port or [v6]:port. Whoever reaches the gRPC port may name servers, and the proxy then
// speaks to them; so addresses are refused that mean something only on this machine or link:
// unix paths, link-local (169.254/16, fe80::/10: cloud metadata lives there), unspecified,
// multicast and broadcast. Loopback is allowed. Numeric IPv4 is four decimal numbers: the short
// and hexadecimal forms that resolvers know (127.1, 0x7f000001) would slip past these rules.
// A name is not resolved here. The error says what was found and what would be right, without
// naming the field.
absl::StatusOr<HostPort> ParseServerAddress(const std::string& address);

}  // namespace cashew::rpc

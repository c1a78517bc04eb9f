#pragma once

#include <absl/status/status.h>
#include <cstdint>
#include <string>
#include <vector>

namespace cashew::dns {

// What a look-up brought.
struct Answer {
  // NotFound: there is no such name, or it has no address. InvalidArgument: it cannot be a name.
  // Unavailable: no name server gave a usable answer; nothing is known of the name.
  absl::Status status;

  // Numeric, each once. The family that RFC 6724 puts first (by what this host can reach) comes
  // first; within a family by value. So the order does not depend on the server's, which many
  // servers rotate. Not empty if status is OK.
  std::vector<std::string> ips;

  // Time to the next look-up, but for the jitter.
  int64_t ttl_ms = 0;
};

// The address to use for a server after `answer`, when `current` (empty: none) is used so far:
// it stays while it is among the addresses, or nothing better is known; else the first. Many
// addresses, in whatever order, therefore never move a connection that could have stayed.
std::string Keep(const std::string& current, const Answer& answer);

}  // namespace cashew::dns

// One DNS answer as bytes → what of it matters here. Pure functions; the bytes are a
// stranger's and nothing of them is trusted (glibc's ns_parse bounds every read).
#pragma once

#include <absl/status/statusor.h>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cashew::k8s {

struct SrvRecord {
  std::string owner;   // _memcached._tcp.mc.demo.svc.cluster.local
  std::string target;  // mc-0.mc.demo.svc.cluster.local
  uint16_t port = 0;
};

struct AddressRecord {
  std::string owner;
  std::string address;
  bool v6 = false;
};

struct DnsAnswer {
  std::vector<SrvRecord> srv;
  std::vector<AddressRecord> addresses;  // of the answer and, beside SRV, the additional section
  uint32_t ttl_s = 0;                    // the smallest of all of these
};

// Names come without the dot at the end, in lower case.
absl::StatusOr<DnsAnswer> ParseDnsAnswer(std::string_view bytes);

}  // namespace cashew::k8s

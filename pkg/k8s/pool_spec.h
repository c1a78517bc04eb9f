// Which pool of the proxy follows what, as a flag or a file says it.
//
//   --pool cache=mc:memcached            the Service mc of the sidecar's own namespace
//   --pool cache=demo/mc:11211           of another; the port by number
//   --dns cache=mc.demo.svc:memcached    the same by DNS: SRV records
//
// and as YAML, where grpc may be given as well:
//
//   grpc: unix:/run/cashew/grpc.sock
//   pools:
//     cache: {service: demo/mc, port: memcached}
//     sessions: {dns: sessions.demo.svc, port: redis, allow_empty: true}
//
// Pure functions, apart from reading the file.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <string>
#include <vector>

namespace cashew::k8s {

struct PoolSpec {
  std::string pool;
  std::string name_space;  // empty: the default one; unused with DNS
  std::string service;     // or
  std::string dns_name;    // one of the two is set
  std::string port;        // name or number; empty: the only one
  bool allow_empty = false;
};

// POOL=[NAMESPACE/]SERVICE[:PORT]
absl::StatusOr<PoolSpec> ParsePoolFlag(const std::string& text);
// POOL=NAME[:PORT]
absl::StatusOr<PoolSpec> ParseDnsFlag(const std::string& text);

struct SidecarFile {
  std::string grpc;  // empty: not given
  std::vector<PoolSpec> pools;
};
absl::StatusOr<SidecarFile> LoadSidecarFile(const std::string& path);

// That no pool is named twice and there is one.
absl::Status CheckPools(const std::vector<PoolSpec>& pools);

}  // namespace cashew::k8s

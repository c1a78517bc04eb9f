// Follows a headless Service by DNS, for where EndpointSlices may not be read.
//
//   port by name    SRV of _PORT._tcp.NAME; a server is called what its target has in front
//                   of the Service's domain (mc-0 of mc-0.mc.demo.svc.cluster.local), as
//                   EndpointSlices would call it, else the whole target
//   no port         SRV of NAME itself, if the Service has one port
//   port by number  A and AAAA of NAME; a server is called address:port, so one that comes
//                   back with another address is another server
//
// DNS lists what is ready and nothing else: states are all READY. Asked again when the TTL is
// over, but between 5 s and 60 s. An answer is taken whole or not at all: while a server of an
// SRV answer cannot be looked up, or DNS does not answer, the last list stays. A name without
// records is an empty list.
//
// Names are searched as resolv.conf says (c-ares), read again when that file changes. One
// thread of its own; on_change is called on it after every complete answer.
#pragma once

#include <absl/status/statusor.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "pkg/base/clock.h"
#include "pkg/k8s/backoff.h"
#include "pkg/k8s/mapper.h"
#include "pkg/k8s/metrics.h"
#include "pkg/k8s/waitable_mutex.h"

namespace cashew::k8s {

struct DnsOptions {
  std::string name;
  std::string port;  // name, number or empty
  IpFamily prefer = IpFamily::kIpv4;
  int64_t min_refresh_ms = 5'000;
  int64_t max_refresh_ms = 60'000;
  int query_timeout_ms = 2'000;  // of one try; there are three
  std::string servers;           // host[:port],…; empty: resolv.conf's
  BackoffOptions backoff;
};

class DnsResolver;  // dns_resolver.h

class DnsSource {
 public:
  using OnChange = std::function<void(MapResult)>;

  // `clock` and what `metrics` refers to outlive this.
  DnsSource(DnsOptions options, const base::Clock& clock, SourceMetrics metrics,
            OnChange on_change);
  // Stops.
  ~DnsSource();

  DnsSource(const DnsSource&) = delete;
  DnsSource& operator=(const DnsSource&) = delete;

  void Start();
  // Ends what is being asked, and the thread. No on_change after it returned.
  void Stop();

 private:
  void Run();
  int64_t Refresh();
  absl::StatusOr<MapResult> Ask(uint32_t* ttl_s);
  absl::StatusOr<MapResult> AskAddresses(uint16_t port, uint32_t* ttl_s);
  absl::StatusOr<MapResult> AskServices(uint32_t* ttl_s);

  const DnsOptions options_;
  const base::Clock& clock_;
  const SourceMetrics metrics_;
  const OnChange on_change_;
  const std::unique_ptr<DnsResolver> resolver_;

  WaitableMutex wait_;
  bool stopped_ CASHEW_GUARDED_BY(wait_.mutex()) = false;
  std::thread thread_;
  Backoff backoff_;         // the thread's
  std::string last_error_;  // the thread's
};

}  // namespace cashew::k8s

// Several DNS queries at once, waited for (c-ares). One thread at a time; Cancel() from any.
#pragma once

#include <absl/status/statusor.h>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "pkg/k8s/dns_answer.h"

struct ares_channeldata;

namespace cashew::k8s {

struct DnsQuery {
  std::string name;
  int type = 0;         // ns_t_a, ns_t_aaaa, ns_t_srv
  bool search = false;  // with resolv.conf's domains; else the name is whole
};

class DnsResolver {
 public:
  // As DnsOptions of dns_source.h.
  DnsResolver(std::string servers, int query_timeout_ms);
  ~DnsResolver();

  DnsResolver(const DnsResolver&) = delete;
  DnsResolver& operator=(const DnsResolver&) = delete;

  // An answer for each query, in order. No such name, or none of that type, is an empty
  // answer; anything else that is no answer is an error with the reason.
  std::vector<absl::StatusOr<DnsAnswer>> Ask(const std::vector<DnsQuery>& queries);

  // Ends Ask() that runs, and every later one, with CANCELLED.
  void Cancel();

 private:
  absl::Status Open();
  void Close();
  void Drive();

  const std::string servers_;
  const int query_timeout_ms_;
  const int wake_fd_;  // eventfd
  std::atomic<bool> cancelled_{false};
  ares_channeldata* channel_ = nullptr;
  int64_t resolv_conf_mtime_ns_ = 0;
};

}  // namespace cashew::k8s

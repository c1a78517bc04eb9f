#include "pkg/k8s/dns_answer.h"

#include <algorithm>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <array>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"

namespace cashew::k8s {

namespace {

constexpr size_t kSrvFixedBytes = 6;  // priority, weight, port

std::string Name(std::string text) {
  while (!text.empty() && text.back() == '.') text.pop_back();
  return absl::AsciiStrToLower(text);
}

bool TakeSrv(ns_msg message, ns_rr record, DnsAnswer* answer) {
  if (ns_rr_rdlen(record) <= kSrvFixedBytes) return false;
  const unsigned char* data = ns_rr_rdata(record);
  std::array<char, NS_MAXDNAME> target;
  if (ns_name_uncompress(ns_msg_base(message), ns_msg_end(message), data + kSrvFixedBytes,
                         target.data(), target.size()) < 0) {
    return false;
  }
  answer->srv.push_back({.owner = Name(ns_rr_name(record)),
                         .target = Name(target.data()),
                         .port = static_cast<uint16_t>(ns_get16(data + 4))});
  return true;
}

bool TakeAddress(ns_rr record, DnsAnswer* answer) {
  const bool v6 = ns_rr_type(record) == ns_t_aaaa;
  if (ns_rr_rdlen(record) != (v6 ? sizeof(in6_addr) : sizeof(in_addr))) return false;
  std::array<char, INET6_ADDRSTRLEN> text;
  if (inet_ntop(v6 ? AF_INET6 : AF_INET, ns_rr_rdata(record), text.data(), text.size()) ==
      nullptr) {
    return false;
  }
  answer->addresses.push_back(
      {.owner = Name(ns_rr_name(record)), .address = text.data(), .v6 = v6});
  return true;
}

bool TakeSection(ns_msg* message, ns_sect section, DnsAnswer* answer) {
  for (int i = 0; i < ns_msg_count(*message, section); ++i) {
    ns_rr record;
    if (ns_parserr(message, section, i, &record) != 0) return false;
    if (ns_rr_class(record) != ns_c_in) continue;  // EDNS' OPT has its size there
    const int type = ns_rr_type(record);
    bool taken = false;
    if (type == ns_t_srv) {
      taken = TakeSrv(*message, record, answer);
    } else if (type == ns_t_a || type == ns_t_aaaa) {
      taken = TakeAddress(record, answer);
    } else {
      continue;  // CNAME and the like
    }
    if (!taken) return false;
    answer->ttl_s = std::min(answer->ttl_s, static_cast<uint32_t>(ns_rr_ttl(record)));
  }
  return true;
}

}  // namespace

absl::StatusOr<DnsAnswer> ParseDnsAnswer(std::string_view bytes) {
  DnsAnswer answer;
  answer.ttl_s = std::numeric_limits<uint32_t>::max();
  ns_msg message;
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  if (ns_initparse(data, static_cast<int>(bytes.size()), &message) != 0 ||
      !TakeSection(&message, ns_s_an, &answer) || !TakeSection(&message, ns_s_ar, &answer)) {
    return absl::InvalidArgumentError("malformed DNS answer");
  }
  if (answer.srv.empty() && answer.addresses.empty()) answer.ttl_s = 0;
  return answer;
}

}  // namespace cashew::k8s

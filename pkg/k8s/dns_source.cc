#include "pkg/k8s/dns_source.h"

#include <algorithm>
#include <arpa/nameser.h>
#include <charconv>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "fmt/format.h"

#include "pkg/base/log.h"
#include "pkg/k8s/dns_resolver.h"

namespace cashew::k8s {

namespace {

constexpr size_t kMaxServers = 10'000;
constexpr size_t kMaxNameBytes = 255;

std::string HostPort(const std::string& address, bool v6, uint16_t port) {
  return v6 ? fmt::format("[{}]:{}", address, port) : fmt::format("{}:{}", address, port);
}

uint16_t NumberOf(const std::string& port) {
  uint16_t number = 0;
  const char* end = port.data() + port.size();
  const auto [rest, error] = std::from_chars(port.data(), end, number);
  return error == std::errc() && rest == end ? number : 0;
}

// mc-0 of mc-0.mc.demo.svc.cluster.local when that was listed for mc.demo.svc.cluster.local.
std::string ServerName(const SrvRecord& record, const std::string& prefix) {
  std::string domain = record.owner;
  if (domain.compare(0, prefix.size(), prefix) == 0) domain.erase(0, prefix.size());
  const std::string& target = record.target;
  if (target.size() > domain.size() + 1 && target[target.size() - domain.size() - 1] == '.' &&
      target.compare(target.size() - domain.size(), domain.size(), domain) == 0) {
    return target.substr(0, target.size() - domain.size() - 1);
  }
  return target;
}

using AddressMap = std::map<std::string, std::vector<AddressRecord>>;

void Collect(const DnsAnswer& answer, AddressMap* addresses) {
  for (const AddressRecord& record : answer.addresses) {
    (*addresses)[record.owner].push_back(record);
  }
}

// The smallest of the preferred family, so that the order of an answer changes nothing.
const AddressRecord* Choose(const std::vector<AddressRecord>& records, IpFamily prefer) {
  const AddressRecord* chosen = nullptr;
  const bool want_v6 = prefer == IpFamily::kIpv6;
  for (const AddressRecord& record : records) {
    if (chosen == nullptr || (record.v6 == want_v6) > (chosen->v6 == want_v6) ||
        (record.v6 == chosen->v6 && record.address < chosen->address)) {
      chosen = &record;
    }
  }
  return chosen;
}

void Sort(MapResult* result) {
  std::sort(
      result->servers.begin(), result->servers.end(),
      [](const MappedServer& a, const MappedServer& b) { return NaturalLess(a.name, b.name); });
}

}  // namespace

DnsSource::DnsSource(DnsOptions options, const base::Clock& clock, SourceMetrics metrics,
                     OnChange on_change)
    : options_(std::move(options)),
      clock_(clock),
      metrics_(metrics),
      on_change_(std::move(on_change)),
      resolver_(std::make_unique<DnsResolver>(options_.servers, options_.query_timeout_ms)),
      backoff_(options_.backoff, std::random_device()()) {}

DnsSource::~DnsSource() { Stop(); }

void DnsSource::Start() {
  thread_ = std::thread([this] { Run(); });
}

void DnsSource::Stop() {
  {
    base::MutexLock lock(&wait_.mutex());
    stopped_ = true;
  }
  wait_.NotifyAll();
  resolver_->Cancel();
  if (thread_.joinable()) thread_.join();
}

void DnsSource::Run() {
  for (;;) {
    const int64_t wait_ms = Refresh();
    const int64_t until_ns = clock_.NowNs() + wait_ms * base::kNsPerMs;
    base::MutexLock lock(&wait_.mutex());
    for (;;) {
      if (stopped_) return;
      const int64_t left_ns = until_ns - clock_.NowNs();
      if (left_ns <= 0) break;
      wait_.WaitMs(left_ns / base::kNsPerMs + 1);
    }
  }
}

// Asks once; in how many milliseconds to ask again.
int64_t DnsSource::Refresh() {
  uint32_t ttl_s = 0;
  auto result = Ask(&ttl_s);
  if (!result.ok()) {
    if (absl::IsCancelled(result.status())) return 0;
    metrics_.errors.Increment();
    std::string error(result.status().message());
    if (error != last_error_) {
      CASHEW_LOG_WARN("DNS look-up failed, the last list stays name={} reason=\"{}\"",
                      options_.name, base::Escape(error, 200));
    }
    last_error_ = std::move(error);
    return backoff_.NextMs();
  }
  last_error_.clear();
  backoff_.Reset();
  metrics_.lists.Increment();
  metrics_.synced.Set(1);
  metrics_.endpoints.Set(static_cast<double>(result->endpoints));
  metrics_.heard_seconds.Set(static_cast<double>(clock_.WallUs()) / 1e6);
  on_change_(*std::move(result));
  return std::clamp<int64_t>(int64_t{ttl_s} * 1000, options_.min_refresh_ms,
                             options_.max_refresh_ms);
}

absl::StatusOr<MapResult> DnsSource::Ask(uint32_t* ttl_s) {
  const uint16_t number = NumberOf(options_.port);
  return number != 0 ? AskAddresses(number, ttl_s) : AskServices(ttl_s);
}

absl::StatusOr<MapResult> DnsSource::AskAddresses(uint16_t port, uint32_t* ttl_s) {
  const bool v6_first = options_.prefer == IpFamily::kIpv6;
  for (const int type : {v6_first ? ns_t_aaaa : ns_t_a, v6_first ? ns_t_a : ns_t_aaaa}) {
    auto answer =
        std::move(resolver_->Ask({{.name = options_.name, .type = type, .search = true}})[0]);
    if (!answer.ok()) return answer.status();
    if (answer->addresses.empty()) continue;
    MapResult result;
    std::set<std::string> names;
    for (const AddressRecord& record : answer->addresses) {
      if (record.v6 != (type == ns_t_aaaa)) continue;
      const std::string address = HostPort(record.address, record.v6, port);
      if (!names.insert(address).second) continue;
      result.servers.push_back({.name = address, .address = address, .zone = {}});
    }
    result.endpoints = result.servers.size();
    *ttl_s = answer->ttl_s;
    Sort(&result);
    return result;
  }
  return MapResult{};
}

absl::StatusOr<MapResult> DnsSource::AskServices(uint32_t* ttl_s) {
  const std::string prefix = options_.port.empty() ? "" : fmt::format("_{}._tcp.", options_.port);
  auto answer = std::move(
      resolver_->Ask({{.name = prefix + options_.name, .type = ns_t_srv, .search = true}})[0]);
  if (!answer.ok()) return answer.status();
  if (answer->srv.size() > kMaxServers) {
    return absl::ResourceExhaustedError(
        fmt::format("{} SRV records; at most {} are taken", answer->srv.size(), kMaxServers));
  }
  *ttl_s = answer->ttl_s;

  // Most servers of DNS send the targets' addresses along; the rest is asked for.
  AddressMap addresses;
  Collect(*answer, &addresses);
  std::vector<DnsQuery> missing;
  for (const SrvRecord& record : answer->srv) {
    if (addresses.count(record.target) != 0) continue;
    addresses[record.target];
    missing.push_back({.name = record.target, .type = ns_t_a});
    missing.push_back({.name = record.target, .type = ns_t_aaaa});
  }
  if (!missing.empty()) {
    for (const auto& found : resolver_->Ask(missing)) {
      if (!found.ok()) return found.status();
      Collect(*found, &addresses);
      if (found->ttl_s > 0) *ttl_s = std::min(*ttl_s, found->ttl_s);
    }
  }

  MapResult result;
  result.endpoints = answer->srv.size();
  std::map<std::string, uint16_t> ports;  // by name
  for (const SrvRecord& record : answer->srv) {
    const std::string name = ServerName(record, prefix);
    const AddressRecord* address = Choose(addresses[record.target], options_.prefer);
    if (address == nullptr || record.port == 0 || name.size() > kMaxNameBytes) {
      return absl::UnavailableError(
          fmt::format("{} has no address or port yet", base::Escape(record.target, 100)));
    }
    const auto [known, first] = ports.try_emplace(name, record.port);
    if (!first && known->second != record.port) {
      return absl::FailedPreconditionError(
          fmt::format("{} has several ports: say which one", base::Escape(name, 100)));
    }
    if (first) {
      result.servers.push_back({.name = name,
                                .address = HostPort(address->address, address->v6, record.port),
                                .zone = {}});
    }
  }
  Sort(&result);
  return result;
}

}  // namespace cashew::k8s

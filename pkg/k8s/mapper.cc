#include "pkg/k8s/mapper.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

constexpr size_t kMaxNameBytes = 255;  // membership.proto
constexpr size_t kShownBytes = 64;
constexpr size_t kMaxWarnings = 20;

// One entry of one slice, on its way to be a server.
struct Candidate {
  MappedServer server;
  std::string uid;
  uint64_t seen = 0;
  uint64_t received = 0;
  bool preferred_family = true;
  bool terminating = false;

  // Larger wins, of entries with one uid: the family first, since both are the same pod.
  auto RankWithinUid() const {
    return std::tuple(preferred_family, !terminating, received, server.state == ServerState::kReady,
                      std::string_view(server.address));
  }
  // Larger wins, of pods with one name.
  auto RankAmongUids() const {
    return std::tuple(!terminating, seen, received, server.state == ServerState::kReady,
                      std::string_view(server.address));
  }
};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::optional<uint16_t> ParseNumber(const std::string& text) {
  uint16_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end || number == 0) return std::nullopt;
  return number;
}

bool IsAddress(AddressType type, const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> bytes;
  return inet_pton(type == AddressType::kIpv4 ? AF_INET : AF_INET6, text.c_str(), bytes.data()) ==
         1;
}

class Mapper {
 public:
  explicit Mapper(const MapOptions& options)
      : options_(options), number_(ParseNumber(options.port)) {}

  MapResult Run(const SliceSnapshot& snapshot) {
    for (const auto& slice : snapshot.slices) TakeSlice(*slice);
    for (auto& [name, candidate] : OnePerName()) {
      result_.servers.push_back(std::move(candidate.server));
    }
    std::sort(
        result_.servers.begin(), result_.servers.end(),
        [](const MappedServer& a, const MappedServer& b) { return NaturalLess(a.name, b.name); });
    return std::move(result_);
  }

 private:
  void TakeSlice(const EndpointSlice& slice) {
    result_.endpoints += slice.endpoints.size();
    if (slice.endpoints.empty()) return;  // as before the first pod: ports are null as well
    if (slice.address_type != AddressType::kIpv4 && slice.address_type != AddressType::kIpv6) {
      Warn(fmt::format("slice \"{}\" is left out: only addressType IPv4 and IPv6 are followed",
                       base::Escape(slice.name, kShownBytes)));
      return;
    }
    const std::optional<uint16_t> port = PortOf(slice);
    if (!port) return;
    for (const Endpoint& endpoint : slice.endpoints) TakeEndpoint(slice, endpoint, *port);
  }

  std::optional<uint16_t> PortOf(const EndpointSlice& slice) {
    if (number_) return number_;
    std::optional<uint16_t> found;
    std::string names;
    for (const EndpointPort& port : slice.ports) {
      if (!port.tcp || !port.port) continue;
      names +=
          fmt::format("{}\"{}\"", names.empty() ? "" : ", ", base::Escape(port.name, kShownBytes));
      if (!options_.port.empty() && port.name != options_.port) continue;
      if (found && *found != *port.port) {
        Warn(fmt::format("slice \"{}\" has several TCP ports ({}): say which one",
                         base::Escape(slice.name, kShownBytes), names));
        return std::nullopt;
      }
      found = port.port;
    }
    if (!found) WarnNoPort(slice, names);
    return found;
  }

  void WarnNoPort(const EndpointSlice& slice, const std::string& names) {
    const std::string wanted =
        options_.port.empty() ? "TCP port"
                              : fmt::format("TCP port \"{}\"", base::Escape(options_.port, 64));
    Warn(fmt::format("slice \"{}\" has no {}; it has: {}", base::Escape(slice.name, kShownBytes),
                     wanted, names.empty() ? "none" : names));
  }

  void TakeEndpoint(const EndpointSlice& slice, const Endpoint& endpoint, uint16_t port) {
    if (endpoint.addresses.empty() || !IsAddress(slice.address_type, endpoint.addresses[0])) {
      Warn(fmt::format(
          "an endpoint of slice \"{}\" is left out: \"{}\" is no {} address",
          base::Escape(slice.name, kShownBytes),
          endpoint.addresses.empty() ? "" : base::Escape(endpoint.addresses[0], kShownBytes),
          slice.address_type == AddressType::kIpv4 ? "IPv4" : "IPv6"));
      return;
    }
    const std::string& ip = endpoint.addresses[0];
    const bool v6 = slice.address_type == AddressType::kIpv6;
    Candidate candidate;
    candidate.server.address =
        v6 ? fmt::format("[{}]:{}", ip, port) : fmt::format("{}:{}", ip, port);
    candidate.server.name = !endpoint.pod.empty()        ? endpoint.pod
                            : !endpoint.hostname.empty() ? endpoint.hostname
                                                         : candidate.server.address;
    if (candidate.server.name.size() > kMaxNameBytes) {
      Warn(fmt::format("server \"{}\" is left out: a name has at most {} bytes",
                       base::Escape(candidate.server.name, kShownBytes), kMaxNameBytes));
      return;
    }
    candidate.server.zone = endpoint.zone;
    candidate.server.state = StateOf(endpoint.conditions);
    candidate.uid = endpoint.uid;
    candidate.seen = endpoint.seen;
    candidate.received = slice.received;
    candidate.preferred_family = v6 == (options_.prefer == IpFamily::kIpv6);
    candidate.terminating = endpoint.conditions.terminating.value_or(false);
    Compete(std::move(candidate));
  }

  void Compete(Candidate candidate) {
    std::pair<std::string, std::string> key(candidate.server.name, candidate.uid);
    const auto [it, first] = best_.try_emplace(std::move(key), candidate);
    if (!first && candidate.RankWithinUid() > it->second.RankWithinUid()) {
      it->second = std::move(candidate);
    }
  }

  std::map<std::string, Candidate> OnePerName() {
    std::map<std::string, Candidate> winners;
    for (auto& [key, candidate] : best_) {
      const auto [it, first] = winners.try_emplace(key.first, candidate);
      if (!first && candidate.RankAmongUids() > it->second.RankAmongUids()) {
        it->second = std::move(candidate);
      }
    }
    return winners;
  }

  void Warn(std::string text) {
    if (result_.warnings.size() < kMaxWarnings && warned_.insert(text).second) {
      result_.warnings.push_back(std::move(text));
    }
  }

  const MapOptions& options_;
  const std::optional<uint16_t> number_;
  MapResult result_;
  std::set<std::string> warned_;
  std::map<std::pair<std::string, std::string>, Candidate> best_;  // by name and uid
};

}  // namespace

MapResult MapSlices(const SliceSnapshot& snapshot, const MapOptions& options) {
  return Mapper(options).Run(snapshot);
}

ServerState StateOf(const Conditions& conditions) {
  const bool serving = conditions.serving.value_or(conditions.ready.value_or(true));
  if (!serving) return ServerState::kDown;
  return conditions.terminating.value_or(false) ? ServerState::kDraining : ServerState::kReady;
}

const char* StateName(ServerState state) {
  static constexpr const char* kNames[] = {"READY", "DRAINING", "DOWN"};
  return kNames[static_cast<size_t>(state)];
}

bool NaturalLess(const std::string& a, const std::string& b) {
  size_t i = 0;
  size_t j = 0;
  while (i < a.size() && j < b.size()) {
    if (!IsDigit(a[i]) || !IsDigit(b[j])) {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i;
      ++j;
      continue;
    }
    const auto run = [](const std::string& text, size_t& at) {
      while (at < text.size() && text[at] == '0') ++at;
      const size_t begin = at;
      while (at < text.size() && IsDigit(text[at])) ++at;
      return std::string_view(text).substr(begin, at - begin);
    };
    const std::string_view x = run(a, i);
    const std::string_view y = run(b, j);
    if (x.size() != y.size()) return x.size() < y.size();
    if (x != y) return x < y;
  }
  if (i < a.size() || j < b.size()) return j < b.size();
  return a < b;  // differ in leading zeros at most
}

}  // namespace cashew::k8s

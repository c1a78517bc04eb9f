#include "pkg/k8s/mapper.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <deque>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

constexpr size_t kMaxNameBytes = 255;  // membership.proto
constexpr size_t kShownBytes = 64;
constexpr size_t kMaxWarnings = 20;
// So that 4,096 servers, which is all a pool has, stay below the sum that a ring can count.
constexpr uint32_t kMaxWeight = 1'000;

// One entry of one slice, on its way to be a server. Points into the snapshot: of thousands a
// change concerns one, so that copies of all are most of what a change would cost.
struct Candidate {
  std::string_view name;
  const Endpoint* endpoint;
  uint32_t weight;
  uint64_t received;
  ServerState state;
  uint16_t port;
  bool v6;
  bool preferred_family;
  bool terminating;
  bool named_by_note;

  const std::string& ip() const { return endpoint->addresses[0]; }
  const std::string& uid() const { return endpoint->uid; }

  // Larger wins, of entries with one uid: the family first, since both are the same pod.
  auto RankWithinUid() const {
    return std::tuple(preferred_family, !terminating, received, state == ServerState::kReady,
                      std::string_view(ip()), port);
  }
  // READY 2, DRAINING 1, DOWN 0.
  int usable() const { return 2 - static_cast<int>(state); }

  // Larger wins, of pods with one name. Pods that a note gives it are those of a Deployment, whose
  // new pod starts while the old one still serves: the one that serves is the server.
  auto RankAmongUids() const {
    return std::tuple(named_by_note ? usable() : 0, !terminating, endpoint->seen, received,
                      state == ServerState::kReady, std::string_view(ip()), port);
  }
};

std::string AddressOf(const std::string& ip, bool v6, uint16_t port) {
  return v6 ? fmt::format("[{}]:{}", ip, port) : fmt::format("{}:{}", ip, port);
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

template <typename Number>
std::optional<Number> ParseNumber(const std::string& text) {
  Number number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end || number == 0) return std::nullopt;
  return number;
}

bool IsName(std::string_view text) {
  const auto is_wrong = [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f; };
  return text.size() <= kMaxNameBytes && std::none_of(text.begin(), text.end(), is_wrong);
}

bool IsAddress(AddressType type, const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> bytes;
  return inet_pton(type == AddressType::kIpv4 ? AF_INET : AF_INET6, text.c_str(), bytes.data()) ==
         1;
}

class Mapper {
 public:
  Mapper(const MapOptions& options, const PodNotes* pods)
      : options_(options), pods_(pods), number_(ParseNumber<uint16_t>(options.port)) {}

  MapResult Run(const SliceSnapshot& snapshot) {
    for (const auto& slice : snapshot.slices) result_.endpoints += slice->endpoints.size();
    candidates_.reserve(result_.endpoints);
    for (const auto& slice : snapshot.slices) TakeSlice(*slice);
    ChooseOnePerName();
    if (pods_ != nullptr) WarnOfNoShare();  // without annotations all weigh the same
    return std::move(result_);
  }

 private:
  void TakeSlice(const EndpointSlice& slice) {
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
    const bool v6 = slice.address_type == AddressType::kIpv6;
    const PodNote* note = NoteOf(endpoint);
    const std::string_view name = NameOf(endpoint, note, v6, port);
    if (name.size() > kMaxNameBytes) {
      Warn(fmt::format("server \"{}\" is left out: a name has at most {} bytes",
                       base::Escape(name, kShownBytes), kMaxNameBytes));
      return;
    }
    candidates_.push_back({.name = name,
                           .endpoint = &endpoint,
                           .weight = WeightOf(note),
                           .received = slice.received,
                           .state = StateOf(endpoint.conditions),
                           .port = port,
                           .v6 = v6,
                           .preferred_family = v6 == (options_.prefer == IpFamily::kIpv6),
                           .terminating = endpoint.conditions.terminating.value_or(false),
                           .named_by_note = note != nullptr && name == note->server_name});
  }

  const PodNote* NoteOf(const Endpoint& endpoint) const {
    if (pods_ == nullptr || endpoint.pod.empty()) return nullptr;
    const auto it = pods_->find(endpoint.pod);
    return it == pods_->end() ? nullptr : &it->second;
  }

  uint32_t WeightOf(const PodNote* note) {
    if (note == nullptr || note->weight.empty()) return 1;
    const std::optional<uint32_t> weight = ParseNumber<uint32_t>(note->weight);
    if (weight && *weight <= kMaxWeight) return *weight;
    WarnNote(*note, kWeightAnnotation, note->weight,
             fmt::format("no number from 1 to {}: it has weight 1", kMaxWeight));
    return 1;
  }

  std::string_view NameOf(const Endpoint& endpoint, const PodNote* note, bool v6, uint16_t port) {
    if (note != nullptr && !note->server_name.empty()) {
      if (IsName(note->server_name)) return note->server_name;
      WarnNote(
          *note, kNameAnnotation, note->server_name,
          fmt::format("no name of 1 to {} bytes without spaces: it keeps its own", kMaxNameBytes));
    }
    if (!endpoint.pod.empty()) return endpoint.pod;
    if (!endpoint.hostname.empty()) return endpoint.hostname;
    return addresses_.emplace_back(AddressOf(endpoint.addresses[0], v6, port));
  }

  void WarnNote(const PodNote& note, const char* annotation, std::string_view value,
                const std::string& what) {
    Warn(fmt::format("pod \"{}\": annotation {} \"{}\" is {}", base::Escape(note.name, kShownBytes),
                     annotation, base::Escape(value, kShownBytes), what));
  }

  void ChooseOnePerName() {
    const auto before = [](const Candidate& a, const Candidate& b) {
      return a.name == b.name ? a.uid() < b.uid() : NaturalLess(a.name, b.name);
    };
    std::sort(candidates_.begin(), candidates_.end(), before);
    result_.servers.reserve(candidates_.size());
    for (auto at = candidates_.begin(); at != candidates_.end();) {
      const auto end = std::find_if(at, candidates_.end(),
                                    [&](const Candidate& c) { return c.name != at->name; });
      const Candidate& best = BestOfName(at, end);
      WarnIfShared(best, at, end);
      result_.servers.push_back(ServerOf(best));
      at = end;
    }
  }

  using Place = std::vector<Candidate>::const_iterator;

  // Of one name, by uid: the best of each uid, then the best of those.
  static const Candidate& BestOfName(Place begin, Place end) {
    const Candidate* best = nullptr;
    while (begin != end) {
      const Candidate* of_uid = &*begin;
      for (; begin != end && begin->uid() == of_uid->uid(); ++begin) {
        if (begin->RankWithinUid() > of_uid->RankWithinUid()) of_uid = &*begin;
      }
      if (best == nullptr || of_uid->RankAmongUids() > best->RankAmongUids()) best = of_uid;
    }
    return *best;
  }

  // Successive pods may have one name; pods that serve side by side may not.
  void WarnIfShared(const Candidate& best, Place begin, Place end) {
    for (; begin != end; ++begin) {
      const bool both_serve =
          begin->state == ServerState::kReady && best.state == ServerState::kReady;
      if (!both_serve || begin->endpoint->pod == best.endpoint->pod) continue;
      Warn(fmt::format("pods \"{}\" and \"{}\" have the name \"{}\" both: only \"{}\" is a server",
                       base::Escape(best.endpoint->pod, kShownBytes),
                       base::Escape(begin->endpoint->pod, kShownBytes),
                       base::Escape(best.name, kShownBytes),
                       base::Escape(best.endpoint->pod, kShownBytes)));
    }
  }

  // Ketama's steps are a fortieth of the average weight (pkg/ring/ketama.cc).
  void WarnOfNoShare() {
    constexpr uint64_t kSteps = 40;
    uint64_t sum = 0;
    for (const MappedServer& server : result_.servers) sum += server.weight;
    for (const MappedServer& server : result_.servers) {
      if (server.weight * kSteps * result_.servers.size() >= sum) continue;
      Warn(
          fmt::format("server \"{}\" has so small a weight, {} of {}, that ketama gives it no keys",
                      base::Escape(server.name, kShownBytes), server.weight, sum));
    }
  }

  static MappedServer ServerOf(const Candidate& candidate) {
    return {.name = std::string(candidate.name),
            .address = AddressOf(candidate.ip(), candidate.v6, candidate.port),
            .zone = candidate.endpoint->zone,
            .state = candidate.state,
            .weight = candidate.weight};
  }

  void Warn(std::string text) {
    if (result_.warnings.size() < kMaxWarnings && warned_.insert(text).second) {
      result_.warnings.push_back(std::move(text));
    }
  }

  const MapOptions& options_;
  const PodNotes* const pods_;
  const std::optional<uint16_t> number_;
  MapResult result_;
  std::set<std::string> warned_;
  std::vector<Candidate> candidates_;
  std::deque<std::string> addresses_;  // the names of what has no other
};

}  // namespace

MapResult MapSlices(const SliceSnapshot& snapshot, const MapOptions& options,
                    const PodNotes* pods) {
  return Mapper(options, pods).Run(snapshot);
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

bool NaturalLess(std::string_view a, std::string_view b) {
  size_t i = 0;
  size_t j = 0;
  while (i < a.size() && j < b.size()) {
    if (!IsDigit(a[i]) || !IsDigit(b[j])) {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i;
      ++j;
      continue;
    }
    const auto run = [](std::string_view text, size_t& at) {
      while (at < text.size() && text[at] == '0') ++at;
      const size_t begin = at;
      while (at < text.size() && IsDigit(text[at])) ++at;
      return text.substr(begin, at - begin);
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

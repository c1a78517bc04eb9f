#include "pkg/pool/roster.h"

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/clock.h"

namespace cashew::pool {
namespace {

constexpr int64_t kUsPerMs = 1000;
// With so many names nobody more is held: twice what a list may have. Whole lists that replace each
// other faster than hold_down would pile up otherwise.
constexpr size_t kMaxHeldFrom = 8192;

// Whole milliseconds until `left_ns` have passed, rounded up.
int64_t MsUntil(int64_t left_ns) {
  return std::max<int64_t>(0, (left_ns + base::kNsPerMs - 1) / base::kNsPerMs);
}

}  // namespace

absl::Status Roster::Check(const std::vector<ServerSpec>& servers) const {
  if (!servers.empty() || policy_.allow_empty) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "servers: the list is empty, which would take the whole pool away; the pool takes one "
      "only with allow_empty: true");
}

Roster::Entries Roster::Next(const std::vector<ServerSpec>& servers, bool hold,
                             int64_t now_ns) const {
  Entries next;
  for (const ServerSpec& server : servers) next[server.name].spec = server;
  if (!hold || !policy_.keep_ring || policy_.hold_down_ms == 0) return next;
  std::unordered_set<std::string> of_new_names;  // addresses
  for (const ServerSpec& server : servers) {
    if (!entries_.contains(server.name)) of_new_names.insert(server.Address());
  }
  for (const auto& [name, entry] : entries_) {
    if (next.size() >= kMaxHeldFrom && !next.contains(name)) continue;
    const bool renamed =
        !entry.held() && !next.contains(name) && of_new_names.contains(entry.spec.Address());
    if (renamed) continue;
    const auto [it, vanished] = next.try_emplace(name, entry);
    if (vanished && !entry.held()) {
      it->second.held_until_ns = now_ns + policy_.hold_down_ms * base::kNsPerMs;
    }
  }
  return next;
}

// Both maps are in name order: one pass.
Applied Roster::Difference(const Entries& next) const {
  Applied applied;
  auto old = entries_.begin();
  const auto skip_removed = [&](const std::string* before) {
    while (old != entries_.end() && (before == nullptr || ring::NameLess(old->first, *before))) {
      applied.removed.push_back(old->first);
      ++old;
    }
  };
  for (const auto& [name, entry] : next) {
    skip_removed(&name);
    if (old == entries_.end() || old->first != name) {
      applied.added.push_back(name);
      continue;
    }
    if (!(old->second == entry)) applied.changed.push_back(name);
    ++old;
  }
  skip_removed(nullptr);
  const bool differs = version_ == 0 || !applied.added.empty() || !applied.removed.empty() ||
                       !applied.changed.empty();
  applied.version = version_ + (differs ? 1 : 0);
  return applied;
}

Applied Roster::Compare(const std::vector<ServerSpec>& servers, bool hold, int64_t now_ns) const {
  return Difference(Next(servers, hold, now_ns));
}

Applied Roster::Replace(const std::vector<ServerSpec>& servers, bool hold, int64_t now_ns) {
  Entries next = Next(servers, hold, now_ns);
  Applied applied = Difference(next);
  entries_ = std::move(next);
  version_ = applied.version;
  return applied;
}

absl::Status Roster::SetOverride(const std::string& server, const Override& how) {
  if (!entries_.contains(server)) {
    return absl::NotFoundError(fmt::format("there is no server \"{}\" in the list", server));
  }
  Override& said = overrides_[server];
  if (how.state) said.state = how.state;
  if (how.weight) said.weight = how.weight;
  said.expires_us = how.expires_us;
  ++version_;
  return absl::OkStatus();
}

absl::Status Roster::ClearOverride(const std::string& server) {
  if (overrides_.erase(server) == 0) {
    return absl::NotFoundError(fmt::format("nothing is set for server \"{}\"", server));
  }
  ++version_;
  return absl::OkStatus();
}

void Roster::RestoreOverrides(std::map<std::string, Override> overrides) {
  overrides_ = std::move(overrides);
}

bool Roster::Expire(int64_t now_ns, int64_t wall_us) {
  const size_t held = std::erase_if(entries_, [&](const auto& named) {
    return named.second.held() && named.second.held_until_ns <= now_ns;
  });
  const size_t said = std::erase_if(overrides_, [&](const auto& named) {
    return named.second.expires_us != 0 && named.second.expires_us <= wall_us;
  });
  if (held + said == 0) return false;
  ++version_;
  return true;
}

int64_t Roster::NextExpiryMs(int64_t now_ns, int64_t wall_us) const {
  int64_t next_ms = -1;
  const auto sooner = [&next_ms](int64_t ms) {
    if (next_ms < 0 || ms < next_ms) next_ms = ms;
  };
  for (const auto& [name, entry] : entries_) {
    if (entry.held()) sooner(MsUntil(entry.held_until_ns - now_ns));
  }
  for (const auto& [name, said] : overrides_) {
    if (said.expires_us == 0) continue;
    sooner(std::max<int64_t>(0, (said.expires_us - wall_us + kUsPerMs - 1) / kUsPerMs));
  }
  return next_ms;
}

ServerState Roster::StateOf(const Entry& entry) const {
  if (entry.held()) return ServerState::kDown;
  const Override* said = OverrideOf(entry.spec.name);
  return said != nullptr && said->state ? *said->state : entry.spec.state;
}

std::vector<Server> Roster::Effective() const {
  std::vector<Server> servers;
  servers.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) {
    Server server;
    server.name = name;
    server.host = entry.spec.host;
    server.port = entry.spec.port;
    server.unix_path = entry.spec.unix_path;
    const Override* said = OverrideOf(name);
    server.weight = said != nullptr && said->weight ? *said->weight : entry.spec.weight;
    const ServerState state = StateOf(entry);
    server.live =
        state == ServerState::kReady || (state == ServerState::kDraining && policy_.keep_ring);
    servers.push_back(std::move(server));
  }
  return servers;
}

const Override* Roster::OverrideOf(const std::string& server) const {
  const auto it = overrides_.find(server);
  return it == overrides_.end() ? nullptr : &it->second;
}

std::vector<ServerSpec> Roster::Listed() const {
  std::vector<ServerSpec> listed;
  for (const auto& [name, entry] : entries_) {
    if (!entry.held()) listed.push_back(entry.spec);
  }
  return listed;
}

std::vector<ServerSpec> Roster::Held() const {
  std::vector<ServerSpec> held;
  for (const auto& [name, entry] : entries_) {
    if (entry.held()) held.push_back(entry.spec);
  }
  return held;
}

}  // namespace cashew::pool

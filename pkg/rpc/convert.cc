#include "pkg/rpc/convert.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "fmt/format.h"
#include "google/protobuf/stubs/common.h"

#include "pkg/base/log.h"
#include "pkg/rpc/address.h"
#include "pkg/rpc/status.h"

namespace cashew::rpc {
namespace {

constexpr int64_t kUsPerSec = 1'000'000;
constexpr int64_t kMaxExpirySec = 10LL * 366 * 24 * 3600;  // ten years: beyond is a mistake

// Faults that are collected before the rest of a list is not looked at.
constexpr size_t kMaxFaults = 64;

std::string Quoted(std::string_view text) { return fmt::format("\"{}\"", base::Escape(text, 80)); }

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

bool HasControl(std::string_view text) { return std::any_of(text.begin(), text.end(), IsControl); }

// Reads a list and keeps account of what is wrong with it.
class ListReader {
 public:
  absl::StatusOr<std::vector<pool::ServerSpec>> Read(const ServerList& servers) {
    if (servers.size() > kMaxServers) {
      Fault("servers",
            fmt::format("{} servers; a pool has at most {}", servers.size(), kMaxServers));
      return BadRequest(faults_);
    }
    std::vector<pool::ServerSpec> specs;
    specs.reserve(servers.size());
    for (; index_ < servers.size() && faults_.size() < kMaxFaults; ++index_) {
      specs.push_back(ReadServer(servers[index_]));
    }
    if (weights_ > kMaxWeightSum) {
      Fault("servers",
            fmt::format("the weights add up to {}; at most {}", weights_, kMaxWeightSum));
    }
    if (!faults_.empty()) return BadRequest(faults_);
    return specs;
  }

 private:
  pool::ServerSpec ReadServer(const membershippb::Server& server) {
    pool::ServerSpec spec;
    ReadName(server, &spec);
    ReadAddress(server, &spec);
    ReadWeight(server, &spec);
    ReadZone(server, &spec);
    ReadState(server, &spec);
    return spec;
  }

  void ReadName(const membershippb::Server& server, pool::ServerSpec* spec) {
    const std::string& name = server.name();
    spec->name = name;
    if (name.empty()) return FieldFault("name", "is missing; it is the server's identity");
    if (name.size() > kMaxServerName) {
      return FieldFault("name", fmt::format("{} bytes; at most {}", name.size(), kMaxServerName));
    }
    if (HasControl(name) || name.find(' ') != std::string::npos) {
      return FieldFault("name", fmt::format("{} has a space or a control character", Quoted(name)));
    }
    const auto [first, is_new] = names_.try_emplace(name, index_);
    if (is_new) return;
    FieldFault("name", fmt::format("{} is the name of servers[{}] already; names differ",
                                   Quoted(name), first->second));
  }

  void ReadAddress(const membershippb::Server& server, pool::ServerSpec* spec) {
    absl::StatusOr<HostPort> parsed = ParseServerAddress(server.address());
    if (!parsed.ok()) return FieldFault("address", std::string(parsed.status().message()));
    spec->host = std::move(parsed->host);
    spec->port = parsed->port;
  }

  void ReadWeight(const membershippb::Server& server, pool::ServerSpec* spec) {
    if (server.has_weight()) spec->weight = server.weight();
    weights_ += spec->weight;
    if (spec->weight == 0) return FieldFault("weight", "0 is not a weight; leave it unset for 1");
    if (spec->weight > kMaxWeight) {
      FieldFault("weight", fmt::format("{} is too much; give 1 to {}", spec->weight, kMaxWeight));
    }
  }

  void ReadZone(const membershippb::Server& server, pool::ServerSpec* spec) {
    const std::string& zone = server.zone();
    spec->zone = zone;
    if (zone.size() > kMaxZone) {
      return FieldFault("zone", fmt::format("{} bytes; at most {}", zone.size(), kMaxZone));
    }
    if (HasControl(zone)) {
      FieldFault("zone", fmt::format("{} has a control character", Quoted(zone)));
    }
  }

  void ReadState(const membershippb::Server& server, pool::ServerSpec* spec);

  void FieldFault(std::string_view field, std::string description) {
    Fault(fmt::format("servers[{}].{}", index_, field), std::move(description));
  }

  void Fault(std::string field, std::string description) {
    faults_.push_back({std::move(field), std::move(description)});
  }

  int index_ = 0;
  uint64_t weights_ = 0;
  std::unordered_map<std::string, int> names_;
  std::vector<FieldViolation> faults_;
};

// Nullopt: no such state, and not UNSPECIFIED either.
std::optional<pool::ServerState> FromProto(membershippb::ServerState state) {
  switch (state) {
    case membershippb::SERVER_STATE_READY:
      return pool::ServerState::kReady;
    case membershippb::SERVER_STATE_DOWN:
      return pool::ServerState::kDown;
    case membershippb::SERVER_STATE_DRAINING:
      return pool::ServerState::kDraining;
    default:
      return std::nullopt;
  }
}

membershippb::ServerState ToProto(pool::ServerState state) {
  switch (state) {
    case pool::ServerState::kDown:
      return membershippb::SERVER_STATE_DOWN;
    case pool::ServerState::kDraining:
      return membershippb::SERVER_STATE_DRAINING;
    case pool::ServerState::kReady:
      break;
  }
  return membershippb::SERVER_STATE_READY;
}

std::string UnknownState(int state) {
  return fmt::format("{} is not a state; give READY (1), DOWN (2) or DRAINING (3)", state);
}

void ListReader::ReadState(const membershippb::Server& server, pool::ServerSpec* spec) {
  if (server.state() == membershippb::SERVER_STATE_UNSPECIFIED) return;  // as READY
  if (const auto state = FromProto(server.state())) {
    spec->state = *state;
  } else {
    FieldFault("state", UnknownState(server.state()));
  }
}

void FillTime(int64_t us, google::protobuf::Timestamp* out) {
  out->set_seconds(us / kUsPerSec);
  out->set_nanos(static_cast<int32_t>(us % kUsPerSec * 1000));
}

void FillOverride(const pool::Override& override, membershippb::Override* out) {
  if (override.state) out->set_state(ToProto(*override.state));
  if (override.weight) out->set_weight(*override.weight);
  if (override.expires_us != 0) FillTime(override.expires_us, out->mutable_expires_at());
}

void FillServer(const pool::ServerView& view, membershippb::ServerStatus* out) {
  membershippb::Server* server = out->mutable_server();
  server->set_name(ToText(view.spec.name));
  server->set_address(ToText(view.spec.Address()));
  server->set_weight(view.spec.weight);
  server->set_zone(ToText(view.spec.zone));
  server->set_state(ToProto(view.spec.state));
  out->set_ip(ToText(view.ip));
  out->set_healthy(view.healthy);
  out->set_routed(view.routed);
  out->set_held(view.held);
  if (view.override) FillOverride(*view.override, out->mutable_override());
}

template <typename Repeated>
void FillNames(const std::vector<std::string>& names, Repeated* out) {
  for (const std::string& name : names) *out->Add() = ToText(name);
}

// The microseconds from now to the end; INVALID_ARGUMENT for what is no time ahead.
absl::StatusOr<int64_t> ParseExpiry(const google::protobuf::Duration& duration) {
  const bool in_order = duration.seconds() >= 0 && duration.nanos() >= 0 &&
                        duration.nanos() < 1'000'000'000 && duration.seconds() <= kMaxExpirySec;
  const int64_t us = in_order ? duration.seconds() * kUsPerSec + duration.nanos() / 1000 : 0;
  if (us > 0) return us;
  return BadRequest(
      {{"expires_in", fmt::format("{} s and {} ns is not a time ahead of at most ten years; leave "
                                  "it unset for an override that lasts until it is cleared",
                                  duration.seconds(), duration.nanos())}});
}

}  // namespace

absl::StatusOr<std::vector<pool::ServerSpec>> ParseServers(const ServerList& servers) {
  return ListReader().Read(servers);
}

absl::Status CheckWord(const std::string& field, const std::string& word) {
  if (word.size() > kMaxWord) {
    return BadRequest({{field, fmt::format("{} bytes; at most {}", word.size(), kMaxWord)}});
  }
  if (!HasControl(word)) return absl::OkStatus();
  return BadRequest({{field, fmt::format("{} has a control character", Quoted(word))}});
}

absl::StatusOr<pool::Override> ParseOverride(const adminpb::SetOverrideRequest& request,
                                             int64_t now_us) {
  pool::Override how;
  if (request.state() != membershippb::SERVER_STATE_UNSPECIFIED) {
    how.state = FromProto(request.state());
    if (!how.state) return BadRequest({{"state", UnknownState(request.state())}});
  }
  if (request.has_weight()) how.weight = request.weight();
  if (!how.state && !how.weight) {
    return BadRequest({{"state", "nothing is set; give a state, a weight, or both"}});
  }
  if (how.weight && (*how.weight == 0 || *how.weight > kMaxWeight)) {
    return BadRequest(
        {{"weight", fmt::format("{} is not a weight; give 1 to {}, or state DOWN to take the "
                                "server out",
                                *how.weight, kMaxWeight)}});
  }
  if (!request.has_expires_in()) return how;
  absl::StatusOr<int64_t> ahead_us = ParseExpiry(request.expires_in());
  if (!ahead_us.ok()) return ahead_us.status();
  how.expires_us = now_us + *ahead_us;
  return how;
}

std::string ToText(std::string_view bytes) {
  const bool valid = google::protobuf::internal::IsStructurallyValidUTF8(
      bytes.data(), static_cast<int>(bytes.size()));
  return valid ? std::string(bytes) : base::Escape(bytes, bytes.size());
}

void FillPool(const pool::PoolView& view, Servers servers, membershippb::Pool* out) {
  out->set_name(ToText(view.name));
  out->set_protocol(view.redis ? "redis" : "memcached");
  out->set_membership(view.updatable ? "grpc" : "static");
  out->set_hash(view.hash);
  out->set_distribution(view.distribution);
  out->set_eject_mode(view.keep_ring ? "keep_ring" : "rehash");
  out->set_version(view.version);
  out->set_membership_checksum(view.membership_checksum);
  out->set_ring_checksum(view.ring_checksum);
  out->set_live_servers(view.live_servers);
  out->set_server_count(static_cast<uint32_t>(view.servers.size()));
  out->set_updater(ToText(view.updater));
  out->set_source_version(ToText(view.source_version));
  out->set_source(ToText(view.source));
  if (view.updated_us != 0) FillTime(view.updated_us, out->mutable_updated_at());
  if (servers == Servers::kOmit) return;
  out->mutable_servers()->Reserve(static_cast<int>(view.servers.size()));
  for (const pool::ServerView& server : view.servers) FillServer(server, out->add_servers());
}

Difference Compare(const pool::PoolView& before, const pool::PoolView& after) {
  Difference difference;
  std::unordered_map<std::string_view, const pool::ServerView*> old;
  old.reserve(before.servers.size());
  for (const pool::ServerView& server : before.servers) old.emplace(server.spec.name, &server);
  for (const pool::ServerView& server : after.servers) {
    const auto found = old.find(server.spec.name);
    if (found == old.end()) {
      difference.added.push_back(server.spec.name);
      continue;
    }
    if (*found->second != server) difference.changed.push_back(server.spec.name);
    old.erase(found);
  }
  for (const pool::ServerView& server : before.servers) {
    if (old.contains(server.spec.name)) difference.removed.push_back(server.spec.name);
  }
  return difference;
}

void FillApplied(const pool::Applied& applied, membershippb::SetServersResponse* out) {
  out->set_version(applied.version);
  FillNames(applied.added, out->mutable_added());
  FillNames(applied.removed, out->mutable_removed());
  FillNames(applied.changed, out->mutable_changed());
  out->set_ring_checksum(applied.ring_checksum);
}

void FillStatus(const ProxyStatus& status, adminpb::GetStatusResponse* out) {
  FillTime(status.started_us, out->mutable_started_at());
  out->set_ready(status.not_ready_reasons.empty());
  FillNames(status.not_ready_reasons, out->mutable_not_ready_reasons());
  out->set_workers(status.workers);
  out->set_config_file(ToText(status.config_file));
  FillTime(status.configured_us, out->mutable_configured_at());
  out->set_last_reload_error(ToText(status.last_reload_error));
  out->set_client_connections(status.client_connections);
  out->set_buffer_bytes(status.buffer_bytes);
  out->set_buffer_limit_bytes(status.buffer_limit_bytes);
  out->set_state_dir(ToText(status.state_dir));
}

void FillLocation(const Location& location, adminpb::LocateResponse* out) {
  out->set_hashed(ToText(location.hashed));
  out->set_hash(location.hash);
  out->set_position(location.position);
  out->set_server(ToText(location.server));
  out->set_address(ToText(location.address));
  out->set_if_ejected(ToText(location.if_ejected));
  out->set_owner(ToText(location.owner));
}

void FillHotKeys(const pool::HotKeys& hot, adminpb::GetHotKeysResponse* out) {
  const double seconds = static_cast<double>(hot.window_ns) / 1e9;
  const double samples = static_cast<double>(std::max<uint64_t>(1, hot.samples));
  out->set_sample(hot.sample);
  out->set_samples(hot.samples);
  out->set_window_seconds(seconds);
  for (const pool::HotKey& key : hot.keys) {
    adminpb::HotKey* added = out->add_keys();
    const auto at_least = static_cast<double>(key.at_least);
    added->set_key(pool::ShownKey(key.key, key.key.size()));
    added->set_key_bytes(key.key_bytes);
    added->set_share(at_least / samples);
    added->set_per_second(seconds > 0 ? at_least * static_cast<double>(hot.sample) / seconds : 0);
    added->set_samples(key.at_least);
    added->set_samples_at_most(key.at_most);
  }
}

void FillSlowLog(const std::vector<pool::SlowRequest>& slow, adminpb::GetSlowLogResponse* out) {
  for (const pool::SlowRequest& request : slow) {
    adminpb::SlowRequest* added = out->add_requests();
    FillTime(request.at_us, added->mutable_ended_at());
    added->set_pool(ToText(request.pool));
    added->set_server(ToText(request.server));
    added->set_command(request.command);
    added->set_key(request.key);
    added->set_keys(request.keys);
    added->set_parts(request.parts);
    // What is rounded is the points in time, so that the stages still add up.
    const int64_t sent_us = request.queued_ns / 1000;
    const int64_t left_us = (request.queued_ns + request.server_ns) / 1000;
    added->set_total_us(request.total_ns / 1000);
    added->set_queued_us(sent_us);
    added->set_server_us(left_us - sent_us);
    added->set_held_us(added->total_us() - left_us);
    added->set_request_bytes(request.request_bytes);
    added->set_reply_bytes(request.reply_bytes);
    added->set_outcome(request.outcome);
  }
}

void FillReloaded(const Reloaded& reloaded, adminpb::ReloadResponse* out) {
  out->set_changed(reloaded.changed);
  FillNames(reloaded.added, out->mutable_added());
  FillNames(reloaded.removed, out->mutable_removed());
  FillNames(reloaded.modified, out->mutable_modified());
  FillNames(reloaded.warnings, out->mutable_warnings());
}

}  // namespace cashew::rpc

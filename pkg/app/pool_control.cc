#include "pkg/app/pool_control.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "fmt/format.h"

#include "pkg/app/translate.h"
#include "pkg/base/log.h"
#include "pkg/hash/hash.h"
#include "pkg/net/socket.h"
#include "pkg/proxy/local_pool.h"

namespace cashew::app {
namespace {

// How long after a silent timeout a confirming probe waits, when the pool has no
// timeout to derive it from.
constexpr int64_t kConfirmMs = 100;

pool::Roster::Policy PolicyOf(const config::Pool& config) {
  pool::Roster::Policy policy;
  policy.keep_ring = config.eject_mode == config::EjectMode::kKeepRing;
  policy.allow_empty = config.allow_empty;
  policy.hold_down_ms = config.hold_down_ms;
  return policy;
}

net::SocketAddress AddressOf(const pool::Server& server) {
  auto address = !server.unix_path.empty() ? net::UnixAddress(server.unix_path)
                 : server.ip.empty() ? absl::StatusOr<net::SocketAddress>(net::SocketAddress())
                                     : net::Resolve(server.ip, server.port, false);
  return address.ok() ? *address : net::SocketAddress();
}

// Counts the workers that run a snapshot; the last one tells the control thread.
struct Acknowledgement {
  Acknowledgement(net::EventLoop* l, size_t workers, std::function<void()> d)
      : loop(l), left(workers), done(std::move(d)) {}

  void One() {
    if (left.fetch_sub(1) == 1) loop->Post(std::move(done));
  }

  net::EventLoop* const loop;
  std::atomic<size_t> left;
  std::function<void()> done;
};

}  // namespace

PoolControl::PoolControl(const Services& services, const config::Pool& config,
                         PoolTransports transports, std::vector<HomeWorker> homes)
    : services_(services),
      config_(config),
      settings_(std::make_shared<pool::Settings>(SettingsOf(config))),
      transports_(std::move(transports)),
      homes_(std::move(homes)),
      roster_(PolicyOf(config)),
      expiry_(services.loop, [this] { OnExpiry(); }) {
  if (!config.servers.empty()) {
    roster_.Replace(SpecsOf(config), /*hold=*/false, services_.loop->clock().NowNs());
    origin_.source = "config";
  }
  WatchHosts();
}

PoolControl::~PoolControl() {
  for (const std::string& host : hosts_) services_.watch_host(host, false);
}

void PoolControl::Configure(const config::Pool& config, PoolTransports transports,
                            std::vector<HomeWorker> homes) {
  config_ = config;
  settings_ = std::make_shared<pool::Settings>(SettingsOf(config));
  transports_ = std::move(transports);
  homes_ = std::move(homes);
  roster_.SetPolicy(PolicyOf(config));
  for (auto& [server, watched] : watched_) watched.monitor.reset();  // told how to probe at birth
  if (!updatable()) {
    roster_.Replace(SpecsOf(config), /*hold=*/false, services_.loop->clock().NowNs());
    origin_ = {.source = "config", .source_version = "", .updater = ""};
  }
  ListChanged(nullptr);
}

void PoolControl::Restore(const state::PoolRecord& record) {
  if (record.has_list && updatable()) {
    const int64_t now_ns = services_.loop->clock().NowNs();
    // Holds begin anew: how long they have lasted is not worth a clock that outlives a process.
    std::vector<pool::ServerSpec> all = record.servers;
    all.insert(all.end(), record.held.begin(), record.held.end());
    roster_.Replace(all, /*hold=*/false, now_ns);
    if (!record.held.empty()) roster_.Replace(record.servers, /*hold=*/true, now_ns);
    origin_ = {"state", record.source_version, record.updater};
    updated_us_ = record.updated_us;
    CASHEW_LOG_NOTICE("last good list restored pool={} servers={} source_version=\"{}\"", name(),
                      record.servers.size(), record.source_version);
  }
  roster_.RestoreOverrides(record.overrides);
  WatchHosts();
}

void PoolControl::Inherit(const std::vector<std::string>& ejected) {
  (void)Servers();  // who they are, as far as the board goes
  for (const std::string& server : ejected) {
    services_.board->Inherit(name(), server);
    const auto it = watched_.find(server);
    if (it != watched_.end()) it->second.monitor->OnEjected();
  }
}

std::vector<std::string> PoolControl::Ejected() const {
  std::vector<std::string> names;
  for (const pool::Server& server : snapshot_->servers()) {
    if (server.ejected) names.push_back(server.name);
  }
  return names;
}

// ---- the list ---------------------------------------------------------------

absl::StatusOr<pool::Applied> PoolControl::TryReplace(const std::vector<pool::ServerSpec>& servers,
                                                      bool hold) const {
  if (absl::Status status = roster_.Check(servers); !status.ok()) return status;
  pool::Roster copy = roster_;
  pool::Applied applied = copy.Replace(servers, hold, services_.loop->clock().NowNs());
  const pool::Snapshot would_be(settings_, copy.Effective(), applied.version);
  applied.membership_checksum = would_be.membership_checksum();
  applied.ring_checksum = would_be.ring().checksum();
  return applied;
}

void PoolControl::Replace(std::vector<pool::ServerSpec> servers, const Origin& origin,
                          const Done& done) {
  if (absl::Status status = roster_.Check(servers); !status.ok()) return done(status);
  const uint64_t before = roster_.version();
  const auto applied = std::make_shared<pool::Applied>(roster_.Replace(
      std::move(servers), origin.source == "stream", services_.loop->clock().NowNs()));
  origin_ = origin;
  updated_us_ = base::RealClock().WallUs();
  using State = metrics::PoolStateMetric;
  services_.registry->AddPoolState(name(), State::kMembershipUpdates, 1);
  services_.registry->SetPoolState(name(), State::kMembershipUpdatedAt, updated_us_);
  services_.record_changed(*this);
  const auto fill = [this, applied] {
    applied->membership_checksum = snapshot_->membership_checksum();
    applied->ring_checksum = snapshot_->ring().checksum();
  };
  if (applied->version == before) {
    services_.published(*this);  // who said it last may be news
    fill();
    return done(*applied);
  }
  CASHEW_LOG_NOTICE(
      "server list changed pool={} version={} servers={} added={} removed={} changed={} source={} "
      "updater=\"{}\" source_version=\"{}\"",
      name(), applied->version, roster_.entries().size(), applied->added.size(),
      applied->removed.size(), applied->changed.size(), origin.source, origin.updater,
      origin.source_version);
  ListChanged([done, applied] { done(*applied); });
  fill();
}

absl::Status PoolControl::SetOverride(const std::string& server, const pool::Override& how,
                                      Adopted adopted) {
  if (absl::Status status = roster_.SetOverride(server, how); !status.ok()) return status;
  CASHEW_LOG_NOTICE("override set pool={} server={} state={} weight={}", name(), server,
                    how.state ? pool::ServerStateName(*how.state) : "as listed",
                    how.weight ? fmt::format("{}", *how.weight) : "as listed");
  OverrideChanged(std::move(adopted));
  return absl::OkStatus();
}

absl::Status PoolControl::ClearOverride(const std::string& server, Adopted adopted) {
  if (absl::Status status = roster_.ClearOverride(server); !status.ok()) return status;
  CASHEW_LOG_NOTICE("override cleared pool={} server={}", name(), server);
  OverrideChanged(std::move(adopted));
  return absl::OkStatus();
}

// The pool may be gone when the workers have adopted it.
void PoolControl::OverrideChanged(Adopted adopted) {
  services_.record_changed(*this);
  ListChanged([adopted = std::move(adopted), version = version()] { adopted(version); });
}

void PoolControl::ListChanged(std::function<void()> adopted) {
  WatchHosts();
  Publish(std::move(adopted));
}

void PoolControl::WatchHosts() {
  std::set<std::string> hosts;
  for (const auto& [name, entry] : roster_.entries()) {
    if (entry.spec.unix_path.empty() && !IsNumeric(entry.spec.host)) hosts.insert(entry.spec.host);
  }
  for (const std::string& host : hosts) {
    if (!hosts_.contains(host)) services_.watch_host(host, true);
  }
  for (const std::string& host : hosts_) {
    if (!hosts.contains(host)) services_.watch_host(host, false);
  }
  hosts_ = std::move(hosts);
}

void PoolControl::ArmExpiry() {
  const int64_t ms =
      roster_.NextExpiryMs(services_.loop->clock().NowNs(), base::RealClock().WallUs());
  if (ms < 0) return expiry_.Cancel();
  expiry_.SetAfterMs(std::max<int64_t>(ms, 1));
}

void PoolControl::OnExpiry() {
  if (roster_.Expire(services_.loop->clock().NowNs(), base::RealClock().WallUs())) {
    CASHEW_LOG_NOTICE("hold or override expired pool={} servers={}", name(),
                      roster_.entries().size());
    services_.record_changed(*this);
    return ListChanged(nullptr);
  }
  ArmExpiry();
}

// ---- snapshots --------------------------------------------------------------

std::vector<pool::Server> PoolControl::Servers() {
  std::vector<pool::Server> servers = roster_.Effective();
  std::vector<std::string> names;
  names.reserve(servers.size());
  for (pool::Server& server : servers) {
    names.push_back(server.name);
    if (!server.unix_path.empty()) continue;
    server.ip = IsNumeric(server.host) ? server.host : services_.address_of(server.host);
  }
  services_.registry->SetServers(name(), names);
  services_.board->SetServers(*settings_, names);
  WatchServers(servers);
  for (pool::Server& server : servers) {
    server.ejected = server.live && services_.board->IsOut(name(), server.name);
    server.live = server.live && !server.ejected;
    services_.registry->SetServerState(name(), server.name, metrics::ServerStateMetric::kHealthy,
                                       server.ejected ? 0 : 1);
  }
  return servers;
}

void PoolControl::WatchServers(const std::vector<pool::Server>& servers) {
  std::map<std::string, Watched> before = std::move(watched_);
  watched_.clear();
  for (const pool::Server& server : servers) {
    if (!server.live) continue;
    std::string address = fmt::format("{}{}:{}", server.unix_path, server.ip, server.port);
    const auto known = before.find(server.name);
    const bool same = known != before.end() && known->second.address == address;
    if (same && known->second.monitor != nullptr) {
      watched_.insert(before.extract(known));
      continue;
    }
    // At another address, or back from DOWN, it is another process as far as we know.
    if (!same) services_.board->Readmit(name(), server.name);
    auto monitor = std::make_unique<health::Monitor>(services_.loop, services_.board,
                                                     TargetOf(server), [this] { Publish(); });
    if (services_.board->IsOut(name(), server.name)) monitor->OnEjected();
    watched_[server.name] = {std::move(address), std::move(monitor)};
  }
}

void PoolControl::Publish(std::function<void()> adopted) {
  snapshot_ = std::make_shared<const pool::Snapshot>(settings_, Servers(), roster_.version());
  using State = metrics::PoolStateMetric;
  const auto set = [this](State id, int64_t value) {
    services_.registry->SetPoolState(name(), id, value);
  };
  set(State::kMembershipChecksum, snapshot_->membership_checksum());
  set(State::kRingChecksum, snapshot_->ring().checksum());
  set(State::kMembershipVersion, static_cast<int64_t>(snapshot_->version()));
  set(State::kLiveServers, snapshot_->live_servers());
  set(State::kMembershipUpdatedAt, updated_us_);
  set(State::kServers, static_cast<int64_t>(snapshot_->servers().size()));
  set(State::kListenCertificate, transports_.listen->certificate_expiry_us());
  set(State::kServerCertificate, transports_.servers->certificate_expiry_us());
  Post(snapshot_, std::move(adopted));
  ArmExpiry();
  services_.published(*this);
}

void PoolControl::Post(const std::shared_ptr<const pool::Snapshot>& snapshot,
                       std::function<void()> adopted) {
  std::shared_ptr<Acknowledgement> ack;
  if (adopted) {
    ack = std::make_shared<Acknowledgement>(services_.loop, homes_.size(), std::move(adopted));
  }
  const auto homes = static_cast<int>(homes_.size());
  for (const HomeWorker& home : homes_) {
    proxy::PoolAssignment assignment;
    assignment.snapshot = snapshot;
    assignment.connections = home.connections;
    assignment.exclusive = (settings_->exclusive_connections + homes - 1) / homes;
    assignment.clients = home.door.clients;
    assignment.listen_transport = transports_.listen;
    assignment.server_transport = transports_.servers;
    home.door.worker->Post([worker = home.door.worker, assignment, ack] {
      worker->Adopt(assignment);
      if (ack != nullptr) ack->One();
    });
  }
}

// ---- health -----------------------------------------------------------------

health::Target PoolControl::TargetOf(const pool::Server& server) const {
  health::Target target;
  target.pool = name();
  target.server = server.name;
  target.address = AddressOf(server);
  target.transport = transports_.servers;
  target.codec = &proxy::CodecOf(*settings_);
  target.retry_timeout_ms = settings_->retry_timeout_ms;
  target.may_eject = settings_->auto_eject;
  if (config_.health_check) {
    target.check =
        health::HealthCheck{config_.health_check->interval_ms, config_.health_check->timeout_ms,
                            config_.health_check->rise, config_.health_check->fall};
  }
  const int64_t quarter = settings_->timeout_ms > 0 ? settings_->timeout_ms / 4 : kConfirmMs;
  target.confirm_timeout_ms =
      std::max<int64_t>(1, target.check ? std::min(quarter, target.check->timeout_ms) : quarter);
  return target;
}

void PoolControl::OnEjected(const std::string& server) {
  CASHEW_LOG_EACH(kWarn, "server ejected pool={} server={} retry_ms={}", name(), server,
                  settings_->retry_timeout_ms);
  Publish();
  const auto it = watched_.find(server);
  if (it != watched_.end()) it->second.monitor->OnEjected();
}

void PoolControl::OnSuspected(const std::string& server) {
  const auto it = watched_.find(server);
  if (it != watched_.end()) it->second.monitor->OnSuspected();
}

void PoolControl::OnAddress(const std::string& host) {
  if (hosts_.contains(host)) Publish();
}

// ---- what others see --------------------------------------------------------

void PoolControl::SetUpdater(const std::string& updater) {
  if (updater_ == updater) return;
  updater_ = updater;
  services_.published(*this);
}

std::shared_ptr<const pool::PoolView> PoolControl::View() const {
  auto view = std::make_shared<pool::PoolView>();
  view->name = name();
  view->redis = config_.redis;
  view->updatable = updatable();
  view->keep_ring = config_.eject_mode == config::EjectMode::kKeepRing;
  view->hash = hash::KindName(config_.hash);
  view->distribution = ring::DistributionName(config_.distribution);
  view->version = roster_.version();
  view->membership_checksum = snapshot_->membership_checksum();
  view->ring_checksum = snapshot_->ring().checksum();
  view->live_servers = static_cast<uint32_t>(snapshot_->live_servers());
  view->updater = updater_;
  view->source = origin_.source;
  view->source_version = origin_.source_version;
  view->updated_us = updated_us_;
  // The snapshot was built from these very entries, in this order.
  auto server = snapshot_->servers().begin();
  for (const auto& [server_name, entry] : roster_.entries()) {
    pool::ServerView one;
    one.spec = entry.spec;
    one.ip = server->ip;
    one.healthy = !server->ejected;
    one.routed = server->live;
    one.held = entry.held();
    if (const pool::Override* said = roster_.OverrideOf(server_name)) one.override = *said;
    view->servers.push_back(std::move(one));
    ++server;
  }
  return view;
}

state::PoolRecord PoolControl::Record() const {
  state::PoolRecord record;
  record.has_list = updatable() && updated_us_ != 0;
  if (record.has_list) {
    record.servers = roster_.Listed();
    record.held = roster_.Held();
  }
  record.updater = origin_.updater;
  record.source_version = origin_.source_version;
  record.updated_us = updated_us_;
  record.overrides = roster_.overrides();
  return record;
}

}  // namespace cashew::app

#include "pkg/app/control.h"

#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/app/ask_workers.h"
#include "pkg/app/signals.h"
#include "pkg/base/log.h"
#include "pkg/hash/hash_tag.h"

// What others ask of the control thread: see control_pools.cc for the pools and their reload,
// control_life.cc for signals, names and the end.

namespace cashew::app {
namespace {

// Changes that wait while a successor starts.
constexpr size_t kMaxUndecided = 1000;

}  // namespace

Control::Control(Parts parts)
    : parts_(std::move(parts)),
      board_(*parts_.board),
      load_(parts_.workers.size(), 0),
      signals_(std::make_unique<Signals>([this](int signal) { OnSignal(signal); })),
      drain_(&loop_, [this] { CheckDrained(); }),
      file_watch_(&loop_, [this] { CheckFile(); }),
      store_(parts_.store) {
  const auto with_pool = [this](void (PoolControl::*action)(const std::string&)) {
    return [this, action](const std::string& pool, const std::string& server) {
      loop_.Post([this, action, pool, server] {
        if (PoolControl* control = Find(pool)) (control->*action)(server);
      });
    };
  };
  board_.SetListener({with_pool(&PoolControl::OnEjected), with_pool(&PoolControl::OnSuspected)});
  resolver_ = std::make_unique<dns::Resolver>(
      dns::Resolver::Options(), [this](const std::string& host, const dns::Answer& answer) {
        loop_.Post([this, host, answer] { OnAnswer(host, answer); });
      });
}

Control::~Control() {
  {
    base::MutexLock lock(&mu_);
    carrier_ = nullptr;
  }
  upgrade_.reset();
  board_.SetListener({});
  pools_.clear();  // they tell the resolver what they no longer need
  resolver_.reset();
}

// ---- membership -------------------------------------------------------------

std::vector<std::shared_ptr<const pool::PoolView>> Control::Pools() const {
  base::MutexLock lock(&mu_);
  std::vector<std::shared_ptr<const pool::PoolView>> all;
  for (const auto& [name, published] : published_) all.push_back(published.view);
  return all;
}

std::shared_ptr<const pool::PoolView> Control::Pool(const std::string& name) const {
  base::MutexLock lock(&mu_);
  const auto it = published_.find(name);
  return it == published_.end() ? nullptr : it->second.view;
}

PoolControl* Control::Find(const std::string& pool) {
  const auto it = pools_.find(pool);
  return it == pools_.end() ? nullptr : it->second.control.get();
}

namespace {

absl::Status NoSuchPool(const std::string& pool) {
  return absl::NotFoundError(fmt::format("there is no pool \"{}\"", pool));
}

}  // namespace

absl::StatusOr<PoolControl*> Control::FindUpdatable(const std::string& pool) {
  PoolControl* control = Find(pool);
  if (control == nullptr) return NoSuchPool(pool);
  if (!control->updatable()) {
    return absl::FailedPreconditionError(fmt::format(
        "pool \"{}\" is membership: static, its list is in {}; set membership: grpc to update it",
        pool, parts_.config_file));
  }
  return control;
}

void Control::SetServers(rpc::SetServers update, rpc::Done<pool::Applied> done) {
  WhenDecided([this, update = std::move(update), done = std::move(done)](absl::Status status) {
    if (!status.ok()) return done(status);
    status = MaySetServers(update);
    if (!status.ok()) {
      OnRefused(update.pool, status);
      return done(status);
    }
    if (update.dry_run) return done(Find(update.pool)->TryReplace(update.servers, false));
    Find(update.pool)
        ->Replace(update.servers, {.source = "SetServers", .source_version = "", .updater = ""},
                  done);
  });
}

// On the control thread, with OK, once it is known that this process goes on serving. A successor
// that starts has been told what there is already, so a change waits until it is ready (then it is
// the one to be asked: UNAVAILABLE) or has failed.
void Control::WhenDecided(std::function<void(absl::Status)> change) {
  loop_.Post([this, change = std::move(change)]() mutable {
    if (succeeded_) return change(ServedByAnother());
    if (upgrade_ == nullptr) return change(absl::OkStatus());
    if (undecided_.size() >= kMaxUndecided) {
      return change(absl::UnavailableError("an upgrade is under way: ask again"));
    }
    undecided_.push_back(std::move(change));
  });
}

absl::Status Control::MaySetServers(const rpc::SetServers& update) {
  const absl::StatusOr<PoolControl*> pool = FindUpdatable(update.pool);
  if (!pool.ok()) return pool.status();
  const std::string owner = streams_.UpdaterOf(update.pool);
  if (!owner.empty() && !update.take_over) {
    return absl::FailedPreconditionError(
        fmt::format("pool \"{}\" is owned by the stream of \"{}\"; with take_over the list is "
                    "replaced until that stream sends its next",
                    update.pool, owner));
  }
  if (update.expected_version != 0 && update.expected_version != (*pool)->version()) {
    return absl::AbortedError(fmt::format("pool \"{}\" is at version {}, not {}", update.pool,
                                          (*pool)->version(), update.expected_version));
  }
  return (*pool)->Check(update.servers);
}

void Control::OnMalformed(const std::string& pool, const absl::Status& why) {
  loop_.Post([this, pool, why] { OnRefused(pool, why); });
}

absl::Status Control::ServedByAnother() {
  return absl::UnavailableError("another process serves now: ask again");
}

uint64_t Control::OpenStream(std::function<void(absl::Status)> end) {
  const uint64_t id = next_stream_.fetch_add(1);
  loop_.Post([this, id, end = std::move(end)] { streams_.Open(id, end); });
  return id;
}

void Control::Update(uint64_t stream, rpc::StreamUpdate update, rpc::Done<pool::Applied> done) {
  WhenDecided(
      [this, stream, update = std::move(update), done = std::move(done)](absl::Status status) {
        if (!status.ok()) return done(status);
        const absl::StatusOr<PoolControl*> pool = FindUpdatable(update.pool);
        status = pool.status();
        if (status.ok()) status = streams_.Claim(stream, update.updater, update.pool);
        if (!status.ok()) {
          OnRefused(update.pool, status);
          return done(status);
        }
        ShowUpdaters();
        (*pool)->Replace(update.servers, {"stream", update.source_version, update.updater},
                         [this, done, name = update.pool](absl::StatusOr<pool::Applied> applied) {
                           if (!applied.ok()) OnRefused(name, applied.status());
                           done(std::move(applied));
                         });
      });
}

void Control::OnRefused(const std::string& pool, const absl::Status& status) {
  parts_.registry->AddProcessState(metrics::ProcessStateMetric::kMembershipNacks, 1);
  CASHEW_LOG_WARN("membership refused pool={} error=\"{}\"", base::Escape(pool, 80),
                  base::Escape(std::string(status.message()), 500));
}

void Control::ShowUpdaters() {
  for (const auto& [name, entry] : pools_) entry.control->SetUpdater(streams_.UpdaterOf(name));
  parts_.registry->SetProcessState(metrics::ProcessStateMetric::kMembershipStream,
                                   static_cast<int64_t>(streams_.size()));
}

void Control::CloseStream(uint64_t stream) {
  loop_.Post([this, stream] {
    streams_.Close(stream);
    ShowUpdaters();
  });
}

uint64_t Control::Watch(const std::string& pool,
                        std::function<void(std::shared_ptr<const pool::PoolView>)> changed) {
  const uint64_t id = watchers_.Add(pool, std::move(changed));
  loop_.Post([this, id, pool] { watchers_.NotifyOne(id, Pool(pool)); });
  return id;
}

void Control::Unwatch(uint64_t watch) { watchers_.Remove(watch); }

// ---- administration ---------------------------------------------------------

rpc::ProxyStatus Control::Status() const {
  rpc::ProxyStatus status;
  status.not_ready_reasons = NotReadyReasons();
  status.workers = static_cast<int>(parts_.workers.size());
  status.config_file = parts_.config_file;
  for (const proxy::Worker* worker : parts_.workers) {
    status.client_connections += worker->open_clients();
    status.buffer_bytes += worker->buffer_bytes();
  }
  {
    base::MutexLock lock(&mu_);
    status.configured_us = configured_us_;
    status.last_reload_error = reload_error_;
  }
  parts_.fill_status(&status);
  return status;
}

std::string Control::StatsJson() const { return parts_.stats_json(); }

namespace {

std::string NameAt(const pool::Snapshot& snapshot, int32_t index) {
  return index < 0 ? "" : snapshot.servers()[static_cast<size_t>(index)].name;
}

// The same pool with one server's liveness, or everyone's, set as asked.
pool::Snapshot With(const pool::Snapshot& snapshot, const std::string& server, bool live) {
  std::vector<pool::Server> servers = snapshot.servers();
  for (pool::Server& s : servers) {
    if (server.empty() || s.name == server) s.live = live;
  }
  // With keep_ring the ring ignores who is live; where a key would go then is asked of the
  // ring that is rebuilt.
  auto settings = std::make_shared<pool::Settings>(snapshot.settings());
  if (!live) settings->eject_mode = pool::EjectMode::kRehash;
  return pool::Snapshot(std::move(settings), std::move(servers), snapshot.version());
}

}  // namespace

absl::StatusOr<rpc::Location> Control::Locate(const std::string& pool,
                                              const std::string& key) const {
  std::shared_ptr<const pool::Snapshot> snapshot;
  {
    base::MutexLock lock(&mu_);
    const auto it = published_.find(pool);
    if (it == published_.end()) return NoSuchPool(pool);
    snapshot = it->second.snapshot;
  }
  if (snapshot->ring().needs_random()) {
    return absl::FailedPreconditionError(
        fmt::format("pool \"{}\" is distribution: random: any server may get the key", pool));
  }
  rpc::Location location;
  const auto& tag = snapshot->settings().hash_tag;
  location.hashed = tag ? hash::TagOf(key, (*tag)[0], (*tag)[1]) : key;
  location.hash = snapshot->hash()(location.hashed);
  const bool one = snapshot->servers().size() == 1;  // as pool::Route
  const ring::Location place = snapshot->ring().Locate(one ? 0 : location.hash);
  location.position = place.point_value;
  location.owner =
      NameAt(With(*snapshot, "", true), pool::Route(With(*snapshot, "", true), key, 0));
  if (place.server < 0) return location;
  const pool::Server& server = snapshot->servers()[static_cast<size_t>(place.server)];
  location.server = server.name;
  pool::ServerSpec spec;
  spec.host = server.host;
  spec.port = server.port;
  spec.unix_path = server.unix_path;
  location.address = spec.Address();
  const pool::Snapshot without = With(*snapshot, server.name, false);
  location.if_ejected = NameAt(without, pool::Route(without, key, 0));
  return location;
}

void Control::SetOverride(const std::string& pool, const std::string& server, pool::Override how,
                          rpc::Done<uint64_t> done) {
  WhenDecided([this, pool, server, how, done = std::move(done)](absl::Status status) {
    if (!status.ok()) return done(status);
    PoolControl* control = Find(pool);
    if (control == nullptr) return done(NoSuchPool(pool));
    status = control->SetOverride(server, how, [done](uint64_t version) { done(version); });
    if (!status.ok()) done(status);
  });
}

void Control::ClearOverride(const std::string& pool, const std::string& server,
                            rpc::Done<uint64_t> done) {
  WhenDecided([this, pool, server, done = std::move(done)](absl::Status status) {
    if (!status.ok()) return done(status);
    PoolControl* control = Find(pool);
    if (control == nullptr) return done(NoSuchPool(pool));
    status = control->ClearOverride(server, [done](uint64_t version) { done(version); });
    if (!status.ok()) done(status);
  });
}

void Control::GetHotKeys(const std::string& pool, size_t limit, rpc::Done<pool::HotKeys> done) {
  loop_.Post([this, pool, limit, done = std::move(done)] {
    const PoolControl* control = Find(pool);
    if (control == nullptr) return done(NoSuchPool(pool));
    if (control->config().hot_keys_sample == 0) {
      return done(absl::FailedPreconditionError(
          fmt::format("pool \"{}\" counts no keys; set hot_keys_sample: 100 and reload", pool)));
    }
    AskWorkers<pool::HotKeys>(
        &loop_, parts_.workers, [pool](proxy::Worker& worker) { return worker.ReadHotKeys(pool); },
        [limit, done](std::vector<pool::HotKeys> parts) {
          done(pool::MergeHotKeys(parts, limit));
        });
  });
}

void Control::GetSlowLog(const std::string& pool, bool reset,
                         rpc::Done<std::vector<pool::SlowRequest>> done) {
  loop_.Post([this, pool, reset, done = std::move(done)] {
    if (!pool.empty() && Find(pool) == nullptr) return done(NoSuchPool(pool));
    const auto limit = static_cast<size_t>(config_.global.slow_log_size);
    AskWorkers<std::vector<pool::SlowRequest>>(
        &loop_, parts_.workers,
        [pool, reset](proxy::Worker& worker) { return worker.ReadSlowLog(pool, reset); },
        [limit, done](std::vector<std::vector<pool::SlowRequest>> parts) {
          done(pool::MergeSlow(std::move(parts), limit));
        });
  });
}

void Control::Reload(rpc::Done<rpc::Reloaded> done) {
  WhenDecided([this, done = std::move(done)](const absl::Status& status) {
    done(status.ok() ? ReloadNow() : absl::StatusOr<rpc::Reloaded>(status));
  });
}

void Control::Upgrade(rpc::Done<rpc::Upgraded> done) {
  loop_.Post([this, done = std::move(done)] {
    if (upgrade_ != nullptr || drain_began_ns_ != 0) {
      const char* why = succeeded_ ? "another process has taken over already"
                        : upgrade_ ? "an upgrade is under way"
                                   : "this process is ending";
      return done(absl::FailedPreconditionError(why));
    }
    upgrade_ = std::make_unique<app::Upgrade>(
        PlanUpgrade(), [this, done](const absl::StatusOr<rpc::Upgraded>& successor) {
          loop_.Post([this, done, successor] { OnSuccessor(successor, done); });
        });
  });
}

void Control::Carry(proxy::CarriedClient client) {
  base::MutexLock lock(&mu_);
  if (carrier_ != nullptr) {
    carrier_->Send(std::move(client));
  } else {
    close(client.fd);
  }
}

void Control::Stop() {
  loop_.Post([this] { StartDrain(); });
}

// ---- what others see --------------------------------------------------------

std::vector<std::string> Control::NotReadyReasons() const {
  base::MutexLock lock(&mu_);
  std::vector<std::string> reasons;
  if (configured_us_ == 0) reasons.emplace_back("starting");
  if (draining_) reasons.emplace_back("draining");
  for (const auto& [name, published] : published_) {
    if (published.view->version == 0) {
      reasons.push_back(fmt::format("pool \"{}\" has no server list yet", name));
    }
  }
  return reasons;
}

config::Config Control::Configuration() const {
  base::MutexLock lock(&mu_);
  return config_;
}

void Control::OnPublished(const PoolControl& pool) {
  if (pool.snapshot() == nullptr) return;
  Published published{pool.View(), pool.snapshot()};
  const auto view = published.view;
  {
    base::MutexLock lock(&mu_);
    published_[pool.name()] = std::move(published);
  }
  watchers_.Notify(pool.name(), view);
  if (on_change_) on_change_();
}

// From the moment that a successor is told what there is, the files are its own.
void Control::Save(const PoolControl& pool) {
  if (store_ != nullptr && upgrade_ == nullptr) store_->Save(pool.name(), pool.Record());
}

}  // namespace cashew::app

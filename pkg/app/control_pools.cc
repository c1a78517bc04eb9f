#include <algorithm>
#include <fstream>
#include <numeric>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/app/config_diff.h"
#include "pkg/app/control.h"
#include "pkg/app/systemd.h"
#include "pkg/app/translate.h"
#include "pkg/base/log.h"
#include "pkg/proxy/fragment.h"
#include "pkg/proxy/local_pool.h"
#include "pkg/state/record.h"

// The pools: how they come, change and go.

namespace cashew::app {
namespace {

// How often the file is looked at, with watch_config. A change must have stayed for one look.
constexpr int64_t kFileWatchMs = 1000;

absl::Status Named(const std::string& pool, const absl::Status& status) {
  return absl::Status(status.code(),
                      fmt::format("pool \"{}\": {}", pool, std::string(status.message())));
}

// As much of the file as a configuration may have, "" when it cannot be read: then the
// loader says why.
std::string Bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes(config::kMaxFileBytes + 1, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return bytes;
}

// Changes with the file, also when a symbolic link in its path is swapped.
std::string IdentityOf(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) return "";
  return fmt::format("{}:{}:{}:{}.{}", status.st_dev, status.st_ino, status.st_size,
                     status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

void RemoveFrom(const std::vector<proxy::Home>& homes, const std::string& pool, int64_t drain_ms) {
  for (const proxy::Home& home : homes) {
    home.worker->Post(
        [home, pool, drain_ms] { home.worker->RemovePool(pool, home.clients, drain_ms); });
  }
}

}  // namespace

PoolControl::Services Control::PoolServices() {
  PoolControl::Services services;
  services.loop = &loop_;
  services.registry = parts_.registry;
  services.board = &board_;
  services.address_of = [this](const std::string& host) { return AddressOf(host); };
  services.watch_host = [this](const std::string& host, bool wanted) { WatchHost(host, wanted); };
  services.published = [this](const PoolControl& pool) { OnPublished(pool); };
  services.record_changed = [this](const PoolControl& pool) { Save(pool); };
  return services;
}

// As many workers as the pool may have connections to each server, those with the
// least to do first; each gets its share of the connections.
std::vector<HomeWorker> Control::ChooseHomes(int server_connections) {
  std::vector<size_t> order(parts_.workers.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [this](size_t a, size_t b) { return load_[a] < load_[b]; });
  const size_t count = std::min(order.size(), static_cast<size_t>(server_connections));
  std::vector<HomeWorker> homes;
  for (size_t i = 0; i < count; ++i) {
    HomeWorker home;
    home.door = {parts_.workers[order[i]], std::make_shared<proxy::ClientCount>()};
    home.connections = server_connections / static_cast<int>(count) +
                       (static_cast<int>(i) < server_connections % static_cast<int>(count) ? 1 : 0);
    load_[order[i]] += 1;
    homes.push_back(home);
  }
  return homes;
}

void Control::ReleaseHomes(const std::vector<HomeWorker>& homes) {
  for (const HomeWorker& home : homes) load_[static_cast<size_t>(home.door.worker->index())] -= 1;
}

absl::StatusOr<Control::Prepared> Control::Prepare(const config::Pool& config) {
  Prepared prepared;
  prepared.config = config;
  auto listen = ListenTransport(config);
  if (!listen.ok()) return Named(config.name, listen.status());
  auto servers = ServerTransport(config);
  if (!servers.ok()) return Named(config.name, servers.status());
  prepared.transports = {*listen, *servers};
  return prepared;
}

// The socket that another process left, or the service manager opened, or a new one.
absl::StatusOr<std::shared_ptr<Listener>> Control::InheritedOr(const config::Pool& config) {
  if (parts_.inheritance != nullptr) {
    const int fd = parts_.inheritance->Take("pool " + Listener::KeyOf(config));
    if (fd >= 0) return Listener::Adopt(config, fd);
    for (const int activated : parts_.inheritance->activated) {
      if (Listener::IsFor(config, activated)) return Listener::Adopt(config, dup(activated));
    }
  }
  return Listener::Open(config);
}

// A pool that listens there already has the socket that is wanted.
absl::Status Control::Listen(Prepared* prepared) {
  const config::Pool& config = prepared->config;
  for (const auto& [name, entry] : pools_) {
    const bool same = entry.listener != nullptr && entry.listener->key() == Listener::KeyOf(config);
    if (same) prepared->listener = entry.listener;
  }
  if (prepared->listener == nullptr) {
    auto opened = InheritedOr(config);
    if (!opened.ok()) return Named(config.name, opened.status());
    prepared->listener = *opened;
  }
  auto fd = prepared->listener->Duplicate(config);
  if (!fd.ok()) return Named(config.name, fd.status());
  prepared->door_fd = *fd;
  return absl::OkStatus();
}

proxy::Door Control::DoorOf(const PoolControl& pool, int fd) const {
  proxy::Door door;
  door.pool = pool.name();
  door.fd = fd;
  door.no_delay = !pool.config().listen.is_unix();
  door.client_connections = pool.config().client_connections;
  door.refusal = proxy::CodecOf(SettingsOf(pool.config())).Error(proxy::kOutOfMemory);
  for (const HomeWorker& home : pool.homes()) door.homes.push_back(home.door);
  return door;
}

// Ports are opened last: whoever finds one open finds the pool, its metrics and its servers.
absl::Status Control::AddPools(const config::Config& config) {
  {
    base::MutexLock lock(&mu_);
    config_ = config;
  }
  config_bytes_ = Bytes(parts_.config_file);
  file_read_ = file_seen_ = IdentityOf(parts_.config_file);
  std::vector<Prepared> prepared;
  for (const config::Pool& pool : config.pools) {
    absl::StatusOr<Prepared> one = Prepare(pool);
    if (!one.ok()) return one.status();
    Create(*one);
    prepared.push_back(std::move(*one));
  }
  WaitForNames();
  InheritVerdicts();
  for (const auto& [name, entry] : pools_) entry.control->Publish();
  for (Prepared& one : prepared) {
    if (absl::Status status = Listen(&one); !status.ok()) return status;
    OpenDoor(one);
  }
  if (config.global.watch_config) file_watch_.SetAfterMs(kFileWatchMs);
  SetSlowLogSize();
  {
    base::MutexLock lock(&mu_);
    configured_us_ = base::RealClock().WallUs();
  }
  if (on_change_) on_change_();
  return absl::OkStatus();
}

// A server that was out for the process before is out for this one, until a probe says
// otherwise.
void Control::InheritVerdicts() {
  if (parts_.inheritance == nullptr) return;
  for (const Inheritance::Ejected& ejected : parts_.inheritance->ejected) {
    if (PoolControl* pool = Find(ejected.pool)) pool->Inherit(ejected.servers);
  }
}

void Control::Create(const Prepared& prepared) {
  const std::string& name = prepared.config.name;
  Entry& entry = pools_[name];
  entry.control =
      std::make_unique<PoolControl>(PoolServices(), prepared.config, prepared.transports,
                                    ChooseHomes(prepared.config.server_connections));
  if (parts_.inheritance != nullptr) {
    for (const Inheritance::Record& left : parts_.inheritance->records) {
      if (left.pool != name) continue;
      if (const auto record = state::Decode(name, left.bytes); record.ok()) {
        return entry.control->Restore(*record);
      }
    }
  }
  if (store_ == nullptr) return;
  const auto record = store_->Load(name);
  if (!record.ok()) {
    CASHEW_LOG_WARN("state not read pool={} error=\"{}\"", name,
                    std::string(record.status().message()));
  } else if (*record) {
    entry.control->Restore(**record);
  }
}

void Control::OpenDoor(const Prepared& prepared) {
  Entry& entry = pools_.at(prepared.config.name);
  entry.listener = prepared.listener;
  const PoolControl& pool = *entry.control;
  parts_.acceptor->Post([acceptor = parts_.acceptor, door = DoorOf(pool, prepared.door_fd),
                         name = pool.name()]() mutable {
    if (absl::Status status = acceptor->AddDoor(std::move(door)); !status.ok()) {
      CASHEW_LOG_ERROR("cannot accept pool={} error=\"{}\"", name, std::string(status.message()));
    }
  });
  if (pool.homes().size() < parts_.workers.size()) {
    CASHEW_LOG_NOTICE(
        "pool runs on {} of {} workers pool={} hint=\"server_connections: {} would use all\"",
        pool.homes().size(), parts_.workers.size(), pool.name(), parts_.workers.size());
  }
  CASHEW_LOG_EACH(kNotice, "listening pool={} address={} servers={}", pool.name(),
                  pool.config().listen.text, pool.server_count());
}

// The list of a `membership: grpc` pool goes on; clients stay where they can.
void Control::Change(Prepared prepared) {
  const std::string name = prepared.config.name;
  Entry& entry = pools_.at(name);
  PoolControl& pool = *entry.control;
  if (prepared.config.membership != config::Membership::kGrpc) {
    streams_.EndOwner(
        name, absl::UnavailableError(fmt::format("pool \"{}\" is membership: static now", name)));
  }
  if (!ClientsCanStay(pool.config(), prepared.config)) {
    const state::PoolRecord record = pool.Record();
    TakeDown(name);
    Create(prepared);
    Find(name)->Restore(record);
    Find(name)->Publish();
    return OpenDoor(prepared);
  }
  std::vector<HomeWorker> homes = pool.homes();
  std::vector<proxy::Home> left;
  if (pool.config().server_connections != prepared.config.server_connections) {
    ReleaseHomes(pool.homes());
    homes = ChooseHomes(prepared.config.server_connections);
    for (const HomeWorker& old : pool.homes()) {
      const auto same = std::find_if(homes.begin(), homes.end(), [&old](const HomeWorker& home) {
        return home.door.worker == old.door.worker;
      });
      if (same == homes.end()) {
        left.push_back(old.door);
      } else {
        same->door.clients = old.door.clients;
      }
    }
  }
  if (entry.listener != prepared.listener) entry.listener->RemovePath();
  entry.listener = prepared.listener;
  pool.Configure(prepared.config, prepared.transports, std::move(homes));
  const int64_t drain_ms = config_.global.drain_timeout_ms;
  parts_.acceptor->Post([acceptor = parts_.acceptor, door = DoorOf(pool, prepared.door_fd), name,
                         left, drain_ms]() mutable {
    acceptor->RemoveDoor(name);
    if (absl::Status status = acceptor->AddDoor(std::move(door)); !status.ok()) {
      CASHEW_LOG_ERROR("cannot accept pool={} error=\"{}\"", name, std::string(status.message()));
    }
    RemoveFrom(left, name, drain_ms);
  });
}

void Control::Remove(const std::string& name) {
  TakeDown(name);
  streams_.EndOwner(
      name, absl::UnavailableError(fmt::format("pool \"{}\" has left the configuration", name)));
  {
    base::MutexLock lock(&mu_);
    published_.erase(name);
  }
  watchers_.Notify(name, nullptr);
}

// Who updates or watches it does not notice, if it is created again.
void Control::TakeDown(const std::string& name) {
  const auto it = pools_.find(name);
  std::vector<proxy::Home> homes;
  for (const HomeWorker& home : it->second.control->homes()) homes.push_back(home.door);
  ReleaseHomes(it->second.control->homes());
  const std::shared_ptr<Listener> listener = it->second.listener;
  pools_.erase(it);
  const bool shared = std::any_of(pools_.begin(), pools_.end(), [&](const auto& other) {
    return other.second.listener == listener;
  });
  if (!shared) listener->RemovePath();
  const int64_t drain_ms = config_.global.drain_timeout_ms;
  // The workers follow when the last accepted client is in their mailboxes.
  parts_.acceptor->Post([acceptor = parts_.acceptor, name, homes, drain_ms] {
    acceptor->RemoveDoor(name);
    RemoveFrom(homes, name, drain_ms);
  });
  parts_.registry->RemovePool(name);
  board_.RemovePool(name);
}

// ---- reload -----------------------------------------------------------------

absl::StatusOr<rpc::Reloaded> Control::ReloadNow() {
  NotifyServiceManager("RELOADING=1\nMONOTONIC_USEC=" + MonotonicUsec());
  file_read_ = IdentityOf(parts_.config_file);
  std::string bytes = Bytes(parts_.config_file);
  config::LoadResult loaded = config::LoadFile(parts_.config_file);
  absl::StatusOr<rpc::Reloaded> reloaded = rpc::Reloaded();
  if (!loaded.ok()) {
    std::vector<std::string> faults;
    for (const config::Problem& error : loaded.errors) faults.push_back(error.ToString());
    reloaded = absl::FailedPreconditionError(fmt::format(
        "{} is not good, nothing changed:\n{}", parts_.config_file, fmt::join(faults, "\n")));
  } else {
    reloaded = Apply(std::move(loaded.config));
  }
  {
    base::MutexLock lock(&mu_);
    reload_error_ = reloaded.ok() ? "" : std::string(reloaded.status().message());
    if (reloaded.ok()) configured_us_ = base::RealClock().WallUs();
  }
  NotifyServiceManager("READY=1");
  using Metric = metrics::ProcessStateMetric;
  metrics::Registry& registry = *parts_.registry;
  registry.SetProcessState(Metric::kReloadFailed, reloaded.ok() ? 0 : 1);
  registry.AddProcessState(reloaded.ok() ? Metric::kReloads : Metric::kReloadFailures, 1);
  if (reloaded.ok()) registry.SetProcessState(Metric::kReloadedAt, base::RealClock().WallUs());
  if (!reloaded.ok()) {
    CASHEW_LOG_ERROR("reload refused error=\"{}\"", std::string(reloaded.status().message()));
    return reloaded;
  }
  config_bytes_ = std::move(bytes);
  for (const config::Problem& warning : loaded.warnings) {
    reloaded->warnings.push_back(warning.ToString());
  }
  CASHEW_LOG_NOTICE("reloaded added={} removed={} modified={}", reloaded->added.size(),
                    reloaded->removed.size(), reloaded->modified.size());
  for (const std::string& warning : reloaded->warnings) CASHEW_LOG_WARN("{}", warning);
  return reloaded;
}

// All that can fail is tried before anything changes.
absl::StatusOr<rpc::Reloaded> Control::Apply(config::Config config) {
  ConfigDiff diff = Compare(config_, config);
  // Certificates are read again whatever the file says.
  for (const config::Pool& pool : config.pools) {
    const bool tls = pool.tls_listen || pool.tls_servers;
    const auto listed = [&pool](const std::vector<std::string>& names) {
      return std::find(names.begin(), names.end(), pool.name) != names.end();
    };
    if (tls && !listed(diff.added) && !listed(diff.modified)) diff.modified.push_back(pool.name);
  }
  std::map<std::string, Prepared> prepared;
  const auto close_doors = [&prepared] {
    for (auto& [name, one] : prepared) close(one.door_fd);
  };
  for (const config::Pool& pool : config.pools) {
    const bool concerned =
        std::find(diff.added.begin(), diff.added.end(), pool.name) != diff.added.end() ||
        std::find(diff.modified.begin(), diff.modified.end(), pool.name) != diff.modified.end();
    if (!concerned) continue;
    absl::StatusOr<Prepared> one = Prepare(pool);
    if (one.ok()) {
      if (absl::Status status = Listen(&*one); !status.ok()) one = status;
    }
    if (!one.ok()) {
      close_doors();
      return absl::FailedPreconditionError(
          fmt::format("nothing changed: {}", std::string(one.status().message())));
    }
    prepared[pool.name] = std::move(*one);
  }
  {
    base::MutexLock lock(&mu_);
    config_ = std::move(config);
  }
  OpenStore();
  for (const std::string& name : diff.removed) Remove(name);
  for (const std::string& name : diff.modified) Change(std::move(prepared.at(name)));
  for (const std::string& name : diff.added) {
    Create(prepared.at(name));
    Find(name)->Publish();
    OpenDoor(prepared.at(name));
  }
  ShowUpdaters();
  if (config_.global.watch_config && !file_watch_.armed()) file_watch_.SetAfterMs(kFileWatchMs);
  if (!config_.global.watch_config) file_watch_.Cancel();
  SetSlowLogSize();
  rpc::Reloaded reloaded;
  reloaded.changed = !diff.empty();
  for (const std::string& key : diff.need_restart) {
    reloaded.warnings.push_back(
        fmt::format("global.{} has changed and is read at start only: upgrade or restart", key));
  }
  reloaded.added = std::move(diff.added);
  reloaded.removed = std::move(diff.removed);
  reloaded.modified = std::move(diff.modified);
  if (on_change_) on_change_();
  return reloaded;
}

void Control::OpenStore() {
  if (store_ == nullptr && TakesLists(config_)) {
    store_ = parts_.open_store(config_.global.state_dir);
  }
}

void Control::SetSlowLogSize() {
  const auto size = static_cast<size_t>(config_.global.slow_log_size);
  for (proxy::Worker* worker : parts_.workers) {
    worker->Post([worker, size] { worker->slow_log().SetSize(size); });
  }
}

void Control::ReopenLogAndReload() {
  const absl::Status status = base::ReopenLog();
  if (status.ok()) {
    CASHEW_LOG_NOTICE("log reopened signal=SIGHUP");
  } else {
    CASHEW_LOG_ERROR("log not reopened signal=SIGHUP error=\"{}\"", std::string(status.message()));
  }
  // What became of it is in the log, unless it was not for this process to do.
  Reload([](const absl::StatusOr<rpc::Reloaded>& reloaded) {
    if (absl::IsUnavailable(reloaded.status())) {
      CASHEW_LOG_WARN("not reloaded: another process serves now, and wants the signal");
    }
  });
}

void Control::CheckFile() {
  file_watch_.SetAfterMs(kFileWatchMs);
  if (upgrade_ != nullptr) return;
  const std::string now = IdentityOf(parts_.config_file);
  const bool stayed = now == file_seen_;
  file_seen_ = now;
  if (now.empty() || now == file_read_ || !stayed) return;
  file_read_ = now;
  bool failed = false;  // then the good file that is back ends what the bad one was blamed for
  {
    base::MutexLock lock(&mu_);
    failed = !reload_error_.empty();
  }
  if (!failed && Bytes(parts_.config_file) == config_bytes_) return;
  CASHEW_LOG_NOTICE("configuration file changed file={}", parts_.config_file);
  (void)ReloadNow();
}

}  // namespace cashew::app

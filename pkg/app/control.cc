#include "pkg/app/control.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <numeric>
#include <sys/signalfd.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/app/translate.h"
#include "pkg/base/log.h"
#include "pkg/net/socket.h"
#include "pkg/protocol/codec.h"
#include "pkg/proxy/local_pool.h"

namespace cashew::app {
namespace {

constexpr int64_t kDrainCheckMs = 20;
// For replies that are still due when drain_timeout is over.
constexpr int64_t kForceMs = 2000;
// How long after a silent timeout a confirming probe waits, when the pool has no
// timeout to derive it from.
constexpr int64_t kConfirmMs = 100;
// Names are looked up again this often; those that do not resolve, each second.
constexpr auto kResolveEvery = std::chrono::seconds(10);
constexpr auto kResolveRetry = std::chrono::seconds(1);

sigset_t HandledSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGHUP, SIGINT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2}) {
    sigaddset(&set, signal);
  }
  return set;
}

}  // namespace

void BlockHandledSignals() {
  const sigset_t set = HandledSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

class Control::SignalHandler final : public net::IoHandler {
 public:
  explicit SignalHandler(Control* control) : control_(control) {
    const sigset_t set = HandledSignals();
    fd_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  }
  ~SignalHandler() override { close(fd_); }
  int fd() const { return fd_; }
  void OnReady(uint32_t) override {
    signalfd_siginfo info;
    while (read(fd_, &info, sizeof info) == sizeof info) {
      control_->OnSignal(static_cast<int>(info.ssi_signo));
    }
  }

 private:
  Control* const control_;
  int fd_;
};

Control::Control(Parts parts)
    : parts_(std::move(parts)),
      board_(*parts_.board),
      load_(parts_.workers.size(), 0),
      signals_(std::make_unique<SignalHandler>(this)),
      drain_(&loop_, [this] { CheckDrained(); }) {
  board_.SetListener({[this](const std::string& pool, const std::string& server) {
                        loop_.Post([this, pool, server] { OnEjected(pool, server); });
                      },
                      [this](const std::string& pool, const std::string& server) {
                        loop_.Post([this, pool, server] {
                          const auto it = pools_.find(pool);
                          if (it == pools_.end()) return;
                          const auto monitor = it->second.monitors.find(server);
                          if (monitor != it->second.monitors.end()) monitor->second->OnSuspected();
                        });
                      }});
}

Control::~Control() {
  board_.SetListener({});
  stop_resolver_ = true;
  if (resolver_.joinable()) resolver_.join();
  pools_.clear();
}

// ---- pools -----------------------------------------------------------------

// As many workers as the pool may have connections to each server, those with the
// least to do first; each gets its share of the connections.
std::vector<Control::Home> Control::ChooseHomes(int server_connections) {
  std::vector<size_t> order(parts_.workers.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [this](size_t a, size_t b) { return load_[a] < load_[b]; });
  const size_t count = std::min(order.size(), static_cast<size_t>(server_connections));
  std::vector<Home> homes;
  for (size_t i = 0; i < count; ++i) {
    Home home;
    home.door = {parts_.workers[order[i]], std::make_shared<proxy::ClientCount>()};
    home.connections = server_connections / static_cast<int>(count) +
                       (static_cast<int>(i) < server_connections % static_cast<int>(count) ? 1 : 0);
    load_[order[i]] += 1;
    homes.push_back(home);
  }
  return homes;
}

absl::Status Control::AddPool(const config::Pool& config) {
  const auto named = [&](const absl::Status& status) {
    return absl::Status(status.code(),
                        fmt::format("pool \"{}\": {}", config.name, std::string(status.message())));
  };
  Pool& pool = pools_[config.name];
  pool.settings = std::make_shared<pool::Settings>(SettingsOf(config));
  pool.servers = ServersOf(config, /*resolve=*/true);
  auto listen_transport = ListenTransport(config);
  if (!listen_transport.ok()) return named(listen_transport.status());
  pool.listen_transport = *listen_transport;
  auto server_transport = ServerTransport(config);
  if (!server_transport.ok()) return named(server_transport.status());
  pool.server_transport = *server_transport;

  const config::Address& listen = config.listen;
  // nutcracker hands "*" to the resolver, which makes loopback of it.
  auto address = listen.is_unix()
                     ? net::UnixAddress(listen.unix_path)
                     : net::Resolve(listen.host == "*" ? "localhost" : listen.host, listen.port,
                                    /*passive=*/true);
  if (!address.ok()) return named(address.status());
  auto fd = net::Listen(*address, {config.backlog, config.reuseport, listen.unix_mode});
  if (!fd.ok()) return named(fd.status());
  pool.unix_path = listen.unix_path;

  pool.homes = ChooseHomes(config.server_connections);
  checks_[config.name] = std::nullopt;
  if (config.health_check) {
    checks_[config.name] =
        health::HealthCheck{config.health_check->interval_ms, config.health_check->timeout_ms,
                            config.health_check->rise, config.health_check->fall};
  }
  std::vector<std::string> names;
  for (const pool::Server& server : pool.servers) names.push_back(server.name);
  parts_.registry->SetServers(config.name, names);
  board_.SetServers(*pool.settings, names);
  SetUpMonitors(config, &pool);
  Publish(config.name);

  proxy::Door door;
  door.pool = config.name;
  door.fd = *fd;
  door.no_delay = !listen.is_unix();
  door.client_connections = config.client_connections;
  door.refusal = proxy::CodecOf(*pool.settings).Error(proxy::kOutOfMemory);
  for (const Home& home : pool.homes) door.homes.push_back(home.door);
  if (auto status = parts_.acceptor->AddDoor(std::move(door)); !status.ok()) return named(status);

  if (pool.homes.size() < parts_.workers.size()) {
    CASHEW_LOG_NOTICE(
        "pool runs on {} of {} workers pool={} hint=\"server_connections: {} would use all\"",
        pool.homes.size(), parts_.workers.size(), config.name, parts_.workers.size());
  }
  CASHEW_LOG_NOTICE("listening pool={} address={} servers={}", config.name, address->ToString(),
                    pool.servers.size());
  return absl::OkStatus();
}

health::Target Control::TargetOf(const Pool& pool, const pool::Server& server) const {
  health::Target target;
  target.pool = pool.settings->name;
  target.server = server.name;
  if (!server.unix_path.empty()) {
    if (auto address = net::UnixAddress(server.unix_path); address.ok()) target.address = *address;
  } else if (!server.ip.empty()) {
    if (auto address = net::Resolve(server.ip, server.port, false); address.ok()) {
      target.address = *address;
    }
  }
  target.transport = pool.server_transport;
  target.codec = &proxy::CodecOf(*pool.settings);
  target.retry_timeout_ms = pool.settings->retry_timeout_ms;
  target.may_eject = pool.settings->auto_eject;
  target.check = checks_.at(target.pool);
  const int64_t quarter =
      pool.settings->timeout_ms > 0 ? pool.settings->timeout_ms / 4 : kConfirmMs;
  target.confirm_timeout_ms =
      std::max<int64_t>(1, target.check ? std::min(quarter, target.check->timeout_ms) : quarter);
  return target;
}

void Control::SetUpMonitors(const config::Pool& config, Pool* pool) {
  for (const pool::Server& server : pool->servers) {
    pool->monitors[server.name] = std::make_unique<health::Monitor>(
        &loop_, &board_, TargetOf(*pool, server), [this, name = config.name] { Publish(name); });
  }
}

void Control::Publish(const std::string& name) {
  Pool& pool = pools_.at(name);
  std::vector<pool::Server> servers = pool.servers;
  for (pool::Server& server : servers) {
    server.live = !board_.IsOut(name, server.name);
    parts_.registry->SetServerState(name, server.name, metrics::ServerStateMetric::kHealthy,
                                    server.live ? 1 : 0);
  }
  const auto snapshot =
      std::make_shared<const pool::Snapshot>(pool.settings, std::move(servers), ++pool.version);
  using State = metrics::PoolStateMetric;
  parts_.registry->SetPoolState(name, State::kMembershipChecksum, snapshot->membership_checksum());
  parts_.registry->SetPoolState(name, State::kRingChecksum, snapshot->ring().checksum());
  parts_.registry->SetPoolState(name, State::kMembershipVersion,
                                static_cast<int64_t>(snapshot->version()));
  parts_.registry->SetPoolState(name, State::kLiveServers, snapshot->live_servers());
  parts_.registry->SetPoolState(name, State::kServers,
                                static_cast<int64_t>(snapshot->servers().size()));
  parts_.registry->SetPoolState(name, State::kListenCertificate,
                                pool.listen_transport->certificate_expiry_us());
  parts_.registry->SetPoolState(name, State::kServerCertificate,
                                pool.server_transport->certificate_expiry_us());
  {
    base::MutexLock lock(&mu_);
    current_[name] = snapshot;
    for (const pool::Server& server : pool.servers) {
      if (server.unix_path.empty() && !IsNumeric(server.host)) hosts_[server.host] = server.ip;
    }
  }
  for (const Home& home : pool.homes) {
    const auto homes = static_cast<int>(pool.homes.size());
    proxy::PoolAssignment assignment;
    assignment.snapshot = snapshot;
    assignment.connections = home.connections;
    assignment.exclusive = (pool.settings->exclusive_connections + homes - 1) / homes;
    assignment.clients = home.door.clients;
    assignment.listen_transport = pool.listen_transport;
    assignment.server_transport = pool.server_transport;
    home.door.worker->Post([worker = home.door.worker, assignment] { worker->Adopt(assignment); });
  }
}

void Control::OnEjected(const std::string& pool, const std::string& server) {
  const auto it = pools_.find(pool);
  if (it == pools_.end()) return;
  CASHEW_LOG_WARN("server ejected pool={} server={} retry_ms={}", pool, server,
                  it->second.settings->retry_timeout_ms);
  Publish(pool);
  const auto monitor = it->second.monitors.find(server);
  if (monitor != it->second.monitors.end()) monitor->second->OnEjected();
}

// ---- names -----------------------------------------------------------------

void Control::StartResolver() {
  {
    base::MutexLock lock(&mu_);
    if (hosts_.empty()) return;
  }
  resolver_ = std::thread([this] { ResolverLoop(); });
}

// Looks names up on a thread of its own, since the C library blocks.
void Control::ResolverLoop() {
  auto next = std::chrono::steady_clock::now() + kResolveRetry;
  while (!stop_resolver_) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (std::chrono::steady_clock::now() < next) continue;
    std::map<std::string, std::string> hosts;
    {
      base::MutexLock lock(&mu_);
      hosts = hosts_;
    }
    bool missing = false;
    for (const auto& [host, known] : hosts) {
      const std::string ip = ResolveHost(host);
      missing = missing || (ip.empty() && known.empty());
      if (!ip.empty() && ip != known) loop_.Post([this, host, ip] { OnResolved(host, ip); });
    }
    next = std::chrono::steady_clock::now() + (missing ? kResolveRetry : kResolveEvery);
  }
}

void Control::OnResolved(const std::string& host, const std::string& ip) {
  for (auto& [name, pool] : pools_) {
    bool changed = false;
    for (pool::Server& server : pool.servers) {
      if (server.host != host || server.ip == ip) continue;
      CASHEW_LOG_NOTICE("server address changed pool={} server={} from={} to={}", name, server.name,
                        server.ip.empty() ? "unknown" : server.ip, ip);
      server.ip = ip;
      pool.monitors.at(server.name)->SetTarget(TargetOf(pool, server));
      changed = true;
    }
    if (changed) Publish(name);
  }
}

// ---- life ------------------------------------------------------------------

void Control::Run() {
  if (auto status = loop_.AddLevel(signals_->fd(), signals_.get()); !status.ok()) {
    CASHEW_LOG_ERROR("signals are not handled: {}", std::string(status.message()));
  }
  StartResolver();
  loop_.Run();
}

void Control::Stop() {
  loop_.Post([this] { StartDrain(); });
}

void Control::OnSignal(int signal) {
  switch (signal) {
    case SIGHUP: {
      const absl::Status status = base::ReopenLog();
      if (status.ok()) {
        CASHEW_LOG_NOTICE("log reopened signal=SIGHUP");
      } else {
        CASHEW_LOG_ERROR("log not reopened signal=SIGHUP error=\"{}\"",
                         std::string(status.message()));
      }
      return;
    }
    case SIGTTIN:
    case SIGTTOU:
      base::SetLogLevel(base::LogLevel() + (signal == SIGTTIN ? 1 : -1));
      CASHEW_LOG_NOTICE("log level changed signal=SIG{} to={}", sigabbrev_np(signal),
                        base::LogLevel());
      return;
    case SIGUSR1:
    case SIGUSR2:
      CASHEW_LOG_NOTICE("signal received, nothing to do signal=SIG{}", sigabbrev_np(signal));
      return;
    default:
      CASHEW_LOG_NOTICE("signal received, draining signal=SIG{}", sigabbrev_np(signal));
      StartDrain();
  }
}

void Control::StartDrain() {
  if (drain_began_ns_ != 0) return;
  drain_began_ns_ = loop_.clock().NowNs();
  {
    base::MutexLock lock(&mu_);
    draining_ = true;
  }
  drain_.SetAfterMs(parts_.drain_grace_ms);
}

void Control::CheckDrained() {
  const int64_t waited_ms = (loop_.clock().NowNs() - drain_began_ns_) / base::kNsPerMs;
  if (accepting_) {
    accepting_ = false;
    // The workers follow when the last accepted client is in their mailboxes.
    parts_.acceptor->Post([acceptor = parts_.acceptor, workers = parts_.workers] {
      acceptor->CloseAll();
      for (proxy::Worker* worker : workers) worker->Post([worker] { worker->Drain(false); });
    });
    for (const auto& [name, pool] : pools_) {
      if (!pool.unix_path.empty()) unlink(pool.unix_path.c_str());
    }
    drain_.SetAfterMs(kDrainCheckMs);
    return;
  }
  int64_t clients = 0;
  bool begun = true;
  for (const proxy::Worker* worker : parts_.workers) {
    clients += worker->open_clients();
    begun = begun && worker->drain_begun();
  }
  if (begun && clients == 0) return loop_.Stop();
  const int64_t late_ms = waited_ms - parts_.drain_grace_ms - parts_.drain_timeout_ms;
  if (late_ms >= kForceMs) {
    CASHEW_LOG_WARN("drain timed out clients={}", clients);
    return loop_.Stop();
  }
  if (late_ms >= 0 && !forced_) {
    forced_ = true;
    for (proxy::Worker* worker : parts_.workers) {
      worker->Post([worker] { worker->Drain(/*force=*/true); });
    }
  }
  drain_.SetAfterMs(kDrainCheckMs);
}

std::vector<std::string> Control::NotReadyReasons() const {
  base::MutexLock lock(&mu_);
  std::vector<std::string> reasons;
  if (draining_) reasons.push_back("draining");
  return reasons;
}

std::vector<std::shared_ptr<const pool::Snapshot>> Control::Snapshots() const {
  base::MutexLock lock(&mu_);
  std::vector<std::shared_ptr<const pool::Snapshot>> all;
  for (const auto& [name, snapshot] : current_) all.push_back(snapshot);
  return all;
}

}  // namespace cashew::app

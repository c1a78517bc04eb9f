#include "pkg/app/app.h"

#include <algorithm>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/admin/pages.h"
#include "pkg/app/machine.h"
#include "pkg/app/places.h"
#include "pkg/app/reports.h"
#include "pkg/app/status_report.h"
#include "pkg/app/translate.h"
#include "pkg/base/build_info.h"
#include "pkg/base/log.h"
#include "pkg/metrics/process_stats.h"
#include "pkg/metrics/prometheus_text.h"
#include "pkg/metrics/stats_json.h"

namespace cashew::app {
namespace {

int64_t BudgetBytes(const config::Global& global) {
  return global.max_buffer_memory > 0 ? global.max_buffer_memory : MemoryBytes() / 2;
}

std::string HostName() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

// For calls under way when the ports are given up.
constexpr int kRpcShutdownMs = 1000;

std::string GrpcAddress(const config::Global& global) {
  return global.grpc_configured ? global.grpc : DefaultGrpcAddress();
}

}  // namespace

int WorkerCount(const config::Global& global) {
  return global.workers > 0 ? global.workers : CpuCount();
}

// Writers in the registry: the workers, the acceptor, the control thread.
App::App(Options options)
    : options_(std::move(options)),
      worker_count_(WorkerCount(options_.config.global)),
      started_us_(base::RealClock().WallUs()),
      registry_(worker_count_ + 2),
      budget_(BudgetBytes(options_.config.global)),
      board_(base::RealClock(), &registry_, worker_count_, worker_count_ + 1) {}

absl::StatusOr<std::unique_ptr<App>> App::Start(Options options) {
  std::unique_ptr<App> app(new App(std::move(options)));
  if (auto status = app->Init(); !status.ok()) return status;
  return app;
}

absl::Status App::Init() {
  const config::Global& global = options_.config.global;
  RaiseDescriptorLimit();
  registry_.SetProcessState(metrics::ProcessStateMetric::kReloadedAt, started_us_);
  services_.registry = &registry_;
  services_.budget = &budget_;
  services_.failures = &board_;
  services_.stats = [this](const std::string& pool) {
    const int64_t uptime_s = (base::RealClock().WallUs() - started_us_) / 1'000'000;
    return PoolStats(registry_.Collect(), pool, uptime_s);
  };

  services_.carry = [this](proxy::CarriedClient client) { control_->Carry(std::move(client)); };

  const std::string stats_at = fmt::format("{}:{}", options_.stats_addr, options_.stats_port);
  auto stats = admin::StatsServer::Listen(
      {.address = stats_at, .adopted_fd = options_.inheritance.Take("stats " + stats_at)},
      [this] { return StatsJson(); });
  if (!stats.ok()) return stats.status();
  stats_ = std::move(*stats);

  std::vector<proxy::Worker*> workers;
  for (int i = 0; i < worker_count_; ++i) {
    workers_.push_back(std::make_unique<proxy::Worker>(i, services_));
    workers.push_back(workers_.back().get());
    budget_.AddSource([worker = workers.back()] { return worker->buffer_bytes(); });
  }
  acceptor_ =
      std::make_unique<proxy::Acceptor>(worker_count_, services_, global.max_client_connections);
  if (auto status = OpenStore(); !status.ok()) return status;
  Control::Parts parts;
  parts.workers = workers;
  parts.acceptor = acceptor_.get();
  parts.registry = &registry_;
  parts.board = &board_;
  parts.store = Store();
  parts.open_store = [this](const std::string& dir) { return OpenStoreOrWarn(dir); };
  parts.config_file = options_.config_file;
  parts.inheritance = &options_.inheritance;
  parts.program = options_.program;
  parts.arguments = options_.arguments;
  parts.add_listeners = [this](std::vector<Frame>* frames) { AddListeners(frames); };
  parts.leave_ports = [this] { LeavePorts(); };
  parts.fill_status = [this](rpc::ProxyStatus* status) { FillStatus(status); };
  parts.stats_json = [this] { return StatsJson(); };
  control_ = std::make_unique<Control>(std::move(parts));
  // First what tells about the proxy, last what clients come to: whoever finds a pool's port
  // open finds the rest.
  if (auto status = StartAdmin(); !status.ok()) return status;
  if (auto status = StartRpc(); !status.ok()) return status;
  stats_->Start();
  for (auto& worker : workers_) worker->Start();
  acceptor_->Start();
  if (auto status = control_->AddPools(options_.config); !status.ok()) return status;
  for (const auto& unused : options_.inheritance.listeners) close(unused.fd);
  options_.inheritance = {};
  if (options_.predecessor != nullptr) Succeed();
  return absl::OkStatus();
}

void App::AddListeners(std::vector<Frame>* frames) const {
  const auto add = [frames](const std::string& name, int fd) {
    frames->push_back({"listener", name, "", "", fd});
  };
  add(fmt::format("stats {}:{}", options_.stats_addr, options_.stats_port), stats_->listen_fd());
  if (http_ != nullptr) add("http " + options_.config.global.admin, http_->listen_fd());
  if (rpc_ != nullptr) add("grpc " + GrpcAddress(options_.config.global), rpc_->listen_fd());
}

void App::LeavePorts() {
  stats_.reset();
  http_.reset();
  if (rpc_ == nullptr) return;
  control_->set_on_change(nullptr);
  rpc_->LeaveSocketToSuccessor();
  rpc_->Shutdown(kRpcShutdownMs);  // updaters and watchers come back to the successor
  rpc_.reset();
}

void App::Succeed() {
  const absl::Status status =
      options_.predecessor->Send({"ready", "", std::string(base::kVersion), "", -1});
  if (!status.ok()) CASHEW_LOG_WARN("the process before is gone, its clients are lost");
  successor_ = std::thread([channel = options_.predecessor, acceptor = acceptor_.get()] {
    int64_t clients = 0;
    for (;;) {
      absl::StatusOr<Frame> frame = channel->Receive(-1);
      if (!frame.ok() || frame->kind == "end") break;
      if (frame->kind != "client" || frame->fd < 0) continue;
      ++clients;
      proxy::CarriedClient client{frame->name, frame->fd, std::move(frame->text),
                                  std::move(frame->bytes)};
      acceptor->Post(
          [acceptor, client = std::move(client)]() mutable { acceptor->Place(std::move(client)); });
    }
    CASHEW_LOG_NOTICE("clients taken over from the process before clients={}", clients);
  });
}

// A default address that cannot be had is worth a warning; a configured one must
// be had.
absl::Status App::StartAdmin() {
  const config::Global& global = options_.config.global;
  if (global.admin == "off") return absl::OkStatus();
  admin::AdminSources sources;
  sources.metrics = [this] { return Prometheus(); };
  sources.pools_json = [this] { return PoolsJson(control_->Pools(), registry_.Collect()); };
  sources.config_text = [this] { return DescribeConfig(control_->Configuration()); };
  sources.status_json = [this] { return Status(); };
  sources.show_all_to_everyone = global.admin_public;
  sources.not_ready_reasons = [this] { return control_->NotReadyReasons(); };
  sources.version = base::kVersion;
  auto server = admin::HttpServer::Start(
      {.address = global.admin, .adopted_fd = options_.inheritance.Take("http " + global.admin)},
      admin::AdminRoutes(std::move(sources)));
  if (server.ok()) {
    http_ = std::move(*server);
    CASHEW_LOG_NOTICE("serving http address={}", global.admin);
    return absl::OkStatus();
  }
  if (global.admin_configured) return server.status();
  CASHEW_LOG_WARN("no metrics over http: {}; set global: {{admin: HOST:PORT}} or admin: off",
                  std::string(server.status().message()));
  return absl::OkStatus();
}

// Only a pool whose list comes through gRPC has something to keep, unless a directory is
// named on purpose. A default one that cannot be had is worth a warning.
absl::Status App::OpenStore() {
  const std::string& dir = options_.config.global.state_dir;
  if (!dir.empty()) return OpenStoreIn(dir);
  if (TakesLists(options_.config)) (void)OpenStoreOrWarn("");
  return absl::OkStatus();
}

state::Store* App::OpenStoreOrWarn(const std::string& dir) {
  if (absl::Status status = OpenStoreIn(dir.empty() ? DefaultStateDir() : dir); !status.ok()) {
    CASHEW_LOG_WARN("server lists are not kept over a restart: {}; set global: {{state_dir: DIR}}",
                    std::string(status.message()));
  }
  return Store();
}

absl::Status App::OpenStoreIn(const std::string& dir) {
  auto store = state::Store::Open(dir);
  if (!store.ok()) return store.status();
  base::MutexLock lock(&store_mu_);
  store_ = std::move(*store);
  state_dir_ = dir;
  return absl::OkStatus();
}

state::Store* App::Store() const {
  base::MutexLock lock(&store_mu_);
  return store_.get();
}

absl::Status App::StartRpc() {
  const config::Global& global = options_.config.global;
  if (global.grpc == "off") return absl::OkStatus();
  rpc::Server::Options options;
  options.address = GrpcAddress(global);
  options.adopted_fd = options_.inheritance.Take("grpc " + options.address);
  if (global.grpc_tls) {
    options.tls =
        rpc::TlsOptions{global.grpc_tls->cert, global.grpc_tls->key, global.grpc_tls->client_ca,
                        global.grpc_tls->allowed_sans, global.grpc_tls->admin_sans};
  }
  auto server = rpc::Server::Start(options, control_.get());
  if (server.ok()) {
    rpc_ = std::move(*server);
    CASHEW_LOG_NOTICE("serving grpc address={}", options.address);
    control_->set_on_change([this] { UpdateServing(); });
    UpdateServing();
    return absl::OkStatus();
  }
  if (global.grpc_configured) return server.status();
  CASHEW_LOG_WARN("no grpc: {}; set global: {{grpc: unix:PATH}} or grpc: off",
                  std::string(server.status().message()));
  return absl::OkStatus();
}

// gRPC's health service says of each pool whether it has servers, and of the whole what
// /readyz says.
void App::UpdateServing() {
  if (rpc_ == nullptr) return;
  rpc_->SetServing("", control_->NotReadyReasons().empty());
  std::set<std::string> gone = std::exchange(told_of_, {});
  for (const auto& pool : control_->Pools()) {
    rpc_->SetServing(pool->name, pool->version > 0);
    gone.erase(pool->name);
    told_of_.insert(pool->name);
  }
  for (const std::string& pool : gone) rpc_->SetServing(pool, false);
}

void App::FillStatus(rpc::ProxyStatus* status) const {
  status->started_us = started_us_;
  status->buffer_limit_bytes = BudgetBytes(options_.config.global);
  base::MutexLock lock(&store_mu_);
  status->state_dir = state_dir_;
}

App::~App() { StopAll(); }

void App::Run() {
  control_->Run();
  StopAll();
}

// Whoever calls into others stops first.
void App::StopAll() {
  if (options_.predecessor != nullptr) options_.predecessor->Shutdown();
  if (successor_.joinable()) successor_.join();
  http_.reset();
  rpc_.reset();
  stats_.reset();
  if (acceptor_ != nullptr) acceptor_->Stop();
  for (auto& worker : workers_) worker->Stop();
  control_.reset();
  acceptor_.reset();
  base::MutexLock lock(&store_mu_);
  store_.reset();
}

std::string App::StatsJson() const {
  const int64_t now_us = base::RealClock().WallUs();
  metrics::StatsHeader header;
  header.source = HostName();
  header.version = base::kVersion;
  header.uptime_s = (now_us - started_us_) / 1'000'000;
  header.timestamp_s = now_us / 1'000'000;
  return metrics::StatsJson(registry_.Collect(), header);
}

std::string App::Status() const {
  const int64_t now_us = base::RealClock().WallUs();
  return app::StatusJson({HostName(), base::kVersion, now_us / 1000,
                          (now_us - started_us_) / 1'000'000, control_->NotReadyReasons()},
                         control_->Pools(), registry_.Collect());
}

std::string App::Prometheus() {
  if (state::Store* store = Store(); store != nullptr) {
    registry_.SetProcessState(metrics::ProcessStateMetric::kMembershipSavedAt,
                              store->report().saved_us);
  }
  return metrics::PrometheusText(registry_.Collect(), metrics::ReadProcessStats(), base::kVersion);
}

}  // namespace cashew::app

#include "pkg/app/app.h"

#include <algorithm>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/admin/pages.h"
#include "pkg/app/machine.h"
#include "pkg/app/reports.h"
#include "pkg/app/status_report.h"
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

  auto stats = admin::StatsServer::Listen(
      {.address = fmt::format("{}:{}", options_.stats_addr, options_.stats_port)},
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
  control_ =
      std::make_unique<Control>(Control::Parts{workers, acceptor_.get(), &registry_, &board_,
                                               global.drain_timeout_ms, global.drain_grace_ms});
  for (const config::Pool& pool : options_.config.pools) {
    if (auto status = control_->AddPool(pool); !status.ok()) return status;
  }
  if (auto status = StartAdmin(); !status.ok()) return status;
  stats_->Start();
  for (auto& worker : workers_) worker->Start();
  acceptor_->Start();
  return absl::OkStatus();
}

// A default address that cannot be had is worth a warning; a configured one must
// be had.
absl::Status App::StartAdmin() {
  const config::Global& global = options_.config.global;
  if (global.admin == "off") return absl::OkStatus();
  admin::AdminSources sources;
  sources.metrics = [this] { return Prometheus(); };
  sources.pools_json = [this] { return PoolsJson(control_->Snapshots(), registry_.Collect()); };
  sources.config_text = [this] { return DescribeConfig(options_.config); };
  sources.status_json = [this] { return Status(); };
  sources.show_all_to_everyone = global.admin_public;
  sources.not_ready_reasons = [this] { return control_->NotReadyReasons(); };
  sources.version = base::kVersion;
  auto server =
      admin::HttpServer::Start({.address = global.admin}, admin::AdminRoutes(std::move(sources)));
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

App::~App() { StopAll(); }

void App::Run() {
  control_->Run();
  StopAll();
}

// Whoever calls into others stops first.
void App::StopAll() {
  http_.reset();
  stats_.reset();
  if (acceptor_ != nullptr) acceptor_->Stop();
  for (auto& worker : workers_) worker->Stop();
  control_.reset();
  acceptor_.reset();
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
                         control_->Snapshots(), registry_.Collect());
}

std::string App::Prometheus() const {
  return metrics::PrometheusText(registry_.Collect(), metrics::ReadProcessStats(), base::kVersion);
}

}  // namespace cashew::app

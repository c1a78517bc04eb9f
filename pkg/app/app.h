#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

#include "pkg/admin/http_server.h"
#include "pkg/admin/stats_server.h"
#include "pkg/app/control.h"
#include "pkg/base/mutex.h"
#include "pkg/config/config.h"
#include "pkg/metrics/registry.h"
#include "pkg/proxy/acceptor.h"
#include "pkg/proxy/memory_budget.h"
#include "pkg/proxy/worker.h"
#include "pkg/rpc/server.h"
#include "pkg/state/store.h"

namespace cashew::app {

// A whole proxy: built from a configuration, run, drained.
//
//   auto app = App::Start({.config = config});
//   if (!app.ok()) return Fail(app.status());
//   (*app)->Run();
//
// Start() makes threads: a daemon has forked before. The handled signals must be
// blocked (BlockHandledSignals).
class App {
 public:
  struct Options {
    config::Config config;
    std::string config_file;  // absolute: what a reload reads
    std::string program;      // absolute: what an upgrade starts
    std::vector<std::string> arguments;
    // The process that this one follows, if any: its end of the conversation, and what it left.
    std::shared_ptr<HandoverChannel> predecessor;
    Inheritance inheritance;
    std::string stats_addr = "0.0.0.0";
    int stats_port = 22222;
  };

  // Binds everything and starts. The error names what could not be had.
  static absl::StatusOr<std::unique_ptr<App>> Start(Options options);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // Until a signal ended the drain; then everything is stopped.
  void Run();

 private:
  explicit App(Options options);
  absl::Status Init();
  absl::Status OpenStore();
  // In `dir`, or in the default one when that is empty; null, with a warning, when it cannot be
  // had.
  state::Store* OpenStoreOrWarn(const std::string& dir);
  absl::Status OpenStoreIn(const std::string& dir);
  state::Store* Store() const;
  absl::Status StartAdmin();
  absl::Status StartRpc();
  void UpdateServing();
  // Sockets that are not the pools', by the names in Inheritance.
  void AddListeners(std::vector<Frame>* frames) const;
  void LeavePorts();
  // Says that this process serves, and takes the predecessor's clients.
  void Succeed();
  void FillStatus(rpc::ProxyStatus* status) const;
  std::string StatsJson() const;
  std::string Prometheus();
  std::string Status() const;
  void StopAll();

  Options options_;
  const int worker_count_;
  const int64_t started_us_;
  metrics::Registry registry_;
  proxy::MemoryBudget budget_;
  health::Board board_;
  proxy::Services services_;
  mutable base::Mutex store_mu_;
  std::string state_dir_ CASHEW_GUARDED_BY(store_mu_);                // empty: nothing is kept
  std::unique_ptr<state::Store> store_ CASHEW_GUARDED_BY(store_mu_);  // opened once
  std::set<std::string> told_of_;  // pools that the health service knows to be there
  std::vector<std::unique_ptr<proxy::Worker>> workers_;
  std::unique_ptr<Control> control_;
  std::unique_ptr<rpc::Server> rpc_;
  std::unique_ptr<proxy::Acceptor> acceptor_;
  std::unique_ptr<admin::StatsServer> stats_;
  std::unique_ptr<admin::HttpServer> http_;
  std::thread successor_;  // receives the predecessor's clients
};

// Workers that a configuration asks for (auto: the CPUs this process may use).
int WorkerCount(const config::Global& global);

}  // namespace cashew::app

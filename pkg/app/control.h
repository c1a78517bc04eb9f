#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"

#include "pkg/base/mutex.h"
#include "pkg/config/config.h"
#include "pkg/health/board.h"
#include "pkg/health/monitor.h"
#include "pkg/net/event_loop.h"
#include "pkg/proxy/acceptor.h"
#include "pkg/proxy/worker.h"

namespace cashew::app {

// The control plane of a running proxy, on the main thread: signals, health
// verdicts, name look-ups; builds each pool's snapshots and posts them to the
// pool's home workers.
class Control {
 public:
  struct Parts {
    std::vector<proxy::Worker*> workers;
    proxy::Acceptor* acceptor = nullptr;
    metrics::Registry* registry = nullptr;
    health::Board* board = nullptr;
    int64_t drain_timeout_ms = 30'000;
    int64_t drain_grace_ms = 0;
  };

  explicit Control(Parts parts);
  ~Control();

  // Before Run(). Binds the pool's listener and installs its first snapshot. The
  // error names pool and address.
  absl::Status AddPool(const config::Pool& pool);

  // Until a signal or Stop() ended the drain. SIGTERM and SIGINT drain; SIGHUP,
  // SIGTTIN, SIGTTOU, SIGUSR1 and SIGUSR2 do as nutcracker does. The signals must
  // be blocked in every thread.
  void Run();
  void Stop();  // any thread

  // Why this process should get no new clients. Any thread.
  std::vector<std::string> NotReadyReasons() const;
  // The snapshots in use, by pool. Any thread.
  std::vector<std::shared_ptr<const pool::Snapshot>> Snapshots() const;

 private:
  struct Home {
    proxy::Home door;
    int connections = 1;
  };
  struct Pool {
    std::shared_ptr<const pool::Settings> settings;
    std::vector<pool::Server> servers;
    uint64_t version = 0;
    std::vector<Home> homes;
    std::shared_ptr<const net::TransportFactory> listen_transport;
    std::shared_ptr<const net::TransportFactory> server_transport;
    std::map<std::string, std::unique_ptr<health::Monitor>> monitors;
    std::string unix_path;  // of the listener; removed at the end
  };
  class SignalHandler;

  std::vector<Home> ChooseHomes(int server_connections);
  // Builds the pool's next snapshot and posts it.
  void Publish(const std::string& name);
  void SetUpMonitors(const config::Pool& pool, Pool* state);
  health::Target TargetOf(const Pool& pool, const pool::Server& server) const;
  void OnEjected(const std::string& pool, const std::string& server);
  void OnSignal(int signal);
  void StartDrain();
  void CheckDrained();
  void StartResolver();
  void ResolverLoop();
  void OnResolved(const std::string& host, const std::string& ip);

  const Parts parts_;
  net::EventLoop loop_;
  health::Board& board_;
  std::map<std::string, Pool> pools_;
  std::map<std::string, std::optional<health::HealthCheck>> checks_;
  std::vector<int> load_;  // connections per worker that pools were given
  std::unique_ptr<SignalHandler> signals_;
  net::Timer drain_;
  int64_t drain_began_ns_ = 0;
  bool accepting_ = true;
  bool forced_ = false;  // clients are read no more

  std::thread resolver_;
  std::atomic<bool> stop_resolver_{false};
  mutable base::Mutex mu_;
  std::map<std::string, std::shared_ptr<const pool::Snapshot>> current_ CASHEW_GUARDED_BY(mu_);
  std::map<std::string, std::string> hosts_ CASHEW_GUARDED_BY(mu_);  // name → address
  bool draining_ CASHEW_GUARDED_BY(mu_) = false;
};

// The signals that Control handles; to be blocked before any thread starts.
void BlockHandledSignals();

}  // namespace cashew::app

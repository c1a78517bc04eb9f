#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"

#include "pkg/app/handover.h"
#include "pkg/app/listener.h"
#include "pkg/app/pool_control.h"
#include "pkg/app/signals.h"
#include "pkg/app/streams.h"
#include "pkg/app/upgrade.h"
#include "pkg/app/watchers.h"
#include "pkg/base/mutex.h"
#include "pkg/config/config.h"
#include "pkg/dns/resolver.h"
#include "pkg/health/board.h"
#include "pkg/net/event_loop.h"
#include "pkg/proxy/acceptor.h"
#include "pkg/proxy/worker.h"
#include "pkg/rpc/backend.h"
#include "pkg/state/store.h"

namespace cashew::app {

// The control plane of a running proxy, on the main thread: its pools, who updates them, what
// names resolve to, signals, reload and drain. Everything that reaches it from other threads
// (the gRPC services, health verdicts, the resolver) is a message in its loop's mailbox.
class Control final : public rpc::Backend {
 public:
  struct Parts {
    std::vector<proxy::Worker*> workers;
    proxy::Acceptor* acceptor = nullptr;
    metrics::Registry* registry = nullptr;
    health::Board* board = nullptr;
    state::Store* store = nullptr;  // null: nothing is kept so far
    // For the first pool with something to keep, when it comes by a reload: in the directory that
    // is configured. Null, with a warning in the log: there is none to be had.
    std::function<state::Store*(const std::string& state_dir)> open_store;
    std::string config_file;             // what a reload reads
    Inheritance* inheritance = nullptr;  // what another process left; outlives AddPools()
    std::string program;                 // what an upgrade starts, absolute
    std::vector<std::string> arguments;
    // Adds the sockets that are not the pools' to what a successor is given.
    std::function<void(std::vector<Frame>*)> add_listeners;
    // The successor serves: gives up the ports that are not the pools'.
    std::function<void()> leave_ports;
    std::function<void(rpc::ProxyStatus*)> fill_status;
    std::function<std::string()> stats_json;
  };

  explicit Control(Parts parts);
  ~Control() override;

  // Before Run(). Looks names up, binds every pool's listener, restores what was saved and
  // installs the first snapshots. The error names pool and address.
  absl::Status AddPools(const config::Config& config);

  // Until a signal or Stop() ended the drain. SIGTERM and SIGINT drain; SIGHUP reloads; SIGTTIN,
  // SIGTTOU and SIGUSR1 do as nutcracker does. The signals must be blocked in every thread.
  void Run();

  // Why this process should get no new clients. Any thread.
  std::vector<std::string> NotReadyReasons() const;
  // The configuration in use. Any thread.
  config::Config Configuration() const;
  // A client that HandOver() of a worker has set free: to the successor. Any thread.
  void Carry(proxy::CarriedClient client);
  // Called on the control thread when readiness, pools or their lists have changed.
  void set_on_change(std::function<void()> on_change) { on_change_ = std::move(on_change); }

  // rpc::Backend
  std::vector<std::shared_ptr<const pool::PoolView>> Pools() const override;
  std::shared_ptr<const pool::PoolView> Pool(const std::string& name) const override;
  void SetServers(rpc::SetServers update, rpc::Done<pool::Applied> done) override;
  void OnMalformed(const std::string& pool, const absl::Status& why) override;
  uint64_t OpenStream(std::function<void(absl::Status)> end) override;
  void Update(uint64_t stream, rpc::StreamUpdate update, rpc::Done<pool::Applied> done) override;
  void CloseStream(uint64_t stream) override;
  uint64_t Watch(const std::string& pool,
                 std::function<void(std::shared_ptr<const pool::PoolView>)> changed) override;
  void Unwatch(uint64_t watch) override;
  rpc::ProxyStatus Status() const override;
  std::string StatsJson() const override;
  absl::StatusOr<rpc::Location> Locate(const std::string& pool,
                                       const std::string& key) const override;
  void SetOverride(const std::string& pool, const std::string& server, pool::Override how,
                   rpc::Done<uint64_t> done) override;
  void ClearOverride(const std::string& pool, const std::string& server,
                     rpc::Done<uint64_t> done) override;
  void GetHotKeys(const std::string& pool, size_t limit, rpc::Done<pool::HotKeys> done) override;
  void GetSlowLog(const std::string& pool, bool reset,
                  rpc::Done<std::vector<pool::SlowRequest>> done) override;
  void Reload(rpc::Done<rpc::Reloaded> done) override;
  void Upgrade(rpc::Done<rpc::Upgraded> done) override;
  void Stop() override;

 private:
  struct Entry {
    std::unique_ptr<PoolControl> control;
    std::shared_ptr<Listener> listener;
  };
  // A pool to come, with all that may fail already had.
  struct Prepared {
    config::Pool config;
    PoolTransports transports;
    std::shared_ptr<Listener> listener;
    int door_fd = -1;
  };
  struct Published {
    std::shared_ptr<const pool::PoolView> view;
    std::shared_ptr<const pool::Snapshot> snapshot;
  };

  // Pools
  PoolControl::Services PoolServices();
  std::vector<HomeWorker> ChooseHomes(int server_connections);
  void ReleaseHomes(const std::vector<HomeWorker>& homes);
  absl::StatusOr<Prepared> Prepare(const config::Pool& config);
  absl::Status Listen(Prepared* prepared);
  absl::StatusOr<std::shared_ptr<Listener>> InheritedOr(const config::Pool& config);
  void InheritVerdicts();
  void Create(const Prepared& prepared);
  void OpenDoor(const Prepared& prepared);
  void Change(Prepared prepared);
  void Remove(const std::string& name);
  void TakeDown(const std::string& name);
  proxy::Door DoorOf(const PoolControl& pool, int fd) const;
  PoolControl* Find(const std::string& pool);
  absl::StatusOr<PoolControl*> FindUpdatable(const std::string& pool);
  void OnPublished(const PoolControl& pool);
  void OnRefused(const std::string& pool, const absl::Status& status);
  void ShowUpdaters();
  void Save(const PoolControl& pool);
  void WhenDecided(std::function<void(absl::Status)> change);
  static absl::Status ServedByAnother();
  absl::Status MaySetServers(const rpc::SetServers& update);

  void SetSlowLogSize();
  void OpenStore();

  // Reload
  absl::StatusOr<rpc::Reloaded> ReloadNow();
  absl::StatusOr<rpc::Reloaded> Apply(config::Config config);
  void ReopenLogAndReload();
  void CheckFile();

  // Names
  std::string AddressOf(const std::string& host) const;
  void WatchHost(const std::string& host, bool wanted);
  void WaitForNames();
  void OnAnswer(const std::string& host, const dns::Answer& answer);

  // Upgrade
  app::Upgrade::Plan PlanUpgrade() const;
  void OnSuccessor(const absl::StatusOr<rpc::Upgraded>& successor,
                   const rpc::Done<rpc::Upgraded>& done);
  void BeginLeaving();

  // Life
  void OnSignal(int signal);
  void StartDrain();
  void CheckDrained();

  const Parts parts_;
  net::EventLoop loop_;
  health::Board& board_;
  std::map<std::string, Entry> pools_;
  std::vector<int> load_;  // connections per worker that pools were given
  Streams streams_;
  Watchers watchers_;
  std::atomic<uint64_t> next_stream_{1};
  std::function<void()> on_change_;
  std::unique_ptr<Signals> signals_;
  net::Timer drain_;
  net::Timer file_watch_;
  std::string file_seen_;     // identity of the file when it was last looked at
  std::string file_read_;     // … when it was last read
  std::string config_bytes_;  // as last read and accepted
  int64_t drain_began_ns_ = 0;
  bool accepting_ = true;
  bool forced_ = false;  // clients are read no more
  std::unique_ptr<app::Upgrade> upgrade_;
  bool succeeded_ = false;                                    // another process serves now
  std::vector<std::function<void(absl::Status)>> undecided_;  // see WhenDecided()
  state::Store* store_;

  std::map<std::string, std::string> addresses_;  // host name → numeric address
  std::map<std::string, int> host_uses_;

  mutable base::Mutex mu_;
  config::Config config_;  // written with mu_ held; the control thread reads it without
  std::map<std::string, Published> published_ CASHEW_GUARDED_BY(mu_);
  int64_t configured_us_ CASHEW_GUARDED_BY(mu_) = 0;
  std::string reload_error_ CASHEW_GUARDED_BY(mu_);
  bool draining_ CASHEW_GUARDED_BY(mu_) = false;
  app::Upgrade* carrier_ CASHEW_GUARDED_BY(mu_) = nullptr;

  // The last member: it calls back from a thread of its own.
  std::unique_ptr<dns::Resolver> resolver_;
};

}  // namespace cashew::app

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "pkg/config/config.h"
#include "pkg/health/board.h"
#include "pkg/health/monitor.h"
#include "pkg/net/event_loop.h"
#include "pkg/pool/membership.h"
#include "pkg/pool/roster.h"
#include "pkg/pool/snapshot.h"
#include "pkg/proxy/acceptor.h"
#include "pkg/state/store.h"

namespace cashew::app {

// One worker's part in a pool.
struct HomeWorker {
  proxy::Home door;
  int connections = 1;  // its share of server_connections
};

struct PoolTransports {
  std::shared_ptr<const net::TransportFactory> listen;
  std::shared_ptr<const net::TransportFactory> servers;
};

// Where a list came from.
struct Origin {
  std::string source;  // "config", "state", "SetServers", "stream"
  std::string source_version;
  std::string updater;
};

// One pool on the control thread: its server list, who watches over each server, and the
// snapshots that its home workers are given. Everything here runs on the control thread.
class PoolControl {
 public:
  struct Services {
    net::EventLoop* loop = nullptr;
    metrics::Registry* registry = nullptr;
    health::Board* board = nullptr;
    // The numeric address of a host name as last heard; "" when none is known.
    std::function<std::string(const std::string& host)> address_of;
    // Whether this pool has a server of that host name, said when it changes.
    std::function<void(const std::string& host, bool wanted)> watch_host;
    // A new snapshot is on its way to the workers.
    std::function<void(const PoolControl&)> published;
    // What must survive a restart has changed.
    std::function<void(const PoolControl&)> record_changed;
  };

  // Publishes nothing yet. A static pool has its configured list.
  PoolControl(const Services& services, const config::Pool& config, PoolTransports transports,
              std::vector<HomeWorker> homes);
  ~PoolControl();
  PoolControl(const PoolControl&) = delete;
  PoolControl& operator=(const PoolControl&) = delete;

  // Another configuration under the same name. The list of a `membership: grpc` pool stays.
  // Homes that are no longer among `homes` must be told by the caller.
  void Configure(const config::Pool& config, PoolTransports transports,
                 std::vector<HomeWorker> homes);
  // What was saved by an earlier process, before the first Publish().
  void Restore(const state::PoolRecord& record);

  // INVALID_ARGUMENT: empty, and the pool takes no empty list.
  absl::Status Check(const std::vector<pool::ServerSpec>& servers) const {
    return roster_.Check(servers);
  }
  using Done = std::function<void(absl::StatusOr<pool::Applied>)>;
  // Servers that another process had found out of order, before the first Publish().
  void Inherit(const std::vector<std::string>& ejected);

  // The list, whole. `done` is called when every home worker runs it; at once when nothing
  // changes, or with INVALID_ARGUMENT for an empty list.
  void Replace(std::vector<pool::ServerSpec> servers, const Origin& origin, const Done& done);
  // What Replace() would answer.
  absl::StatusOr<pool::Applied> TryReplace(const std::vector<pool::ServerSpec>& servers,
                                           bool hold) const;
  // `adopted` is told the version when every home worker runs it.
  using Adopted = std::function<void(uint64_t version)>;
  absl::Status SetOverride(const std::string& server, const pool::Override& how, Adopted adopted);
  absl::Status ClearOverride(const std::string& server, Adopted adopted);

  // Builds the next snapshot and posts it to the home workers.
  void Publish(std::function<void()> adopted = nullptr);

  void OnEjected(const std::string& server);
  void OnSuspected(const std::string& server);
  // A host name has another address than before.
  void OnAddress(const std::string& host);

  // Who owns it now, for the view; empty: nobody.
  void SetUpdater(const std::string& updater);

  const std::string& name() const { return config_.name; }
  const config::Pool& config() const { return config_; }
  bool updatable() const { return config_.membership == config::Membership::kGrpc; }
  bool has_list() const { return roster_.has_list(); }
  uint64_t version() const { return roster_.version(); }
  const std::vector<HomeWorker>& homes() const { return homes_; }
  std::shared_ptr<const pool::Snapshot> snapshot() const { return snapshot_; }
  std::shared_ptr<const pool::PoolView> View() const;
  state::PoolRecord Record() const;
  std::vector<std::string> Ejected() const;
  size_t server_count() const { return roster_.entries().size(); }

 private:
  struct Watched {
    std::string address;                       // what the monitor probes
    std::unique_ptr<health::Monitor> monitor;  // null: to be made anew
  };

  void ListChanged(std::function<void()> adopted);
  void OverrideChanged(Adopted adopted);
  void WatchHosts();
  // The roster's servers with addresses and verdicts; those that came back, or moved, are
  // believed to work.
  std::vector<pool::Server> Servers();
  // Whose verdicts stay, and who begins anew.
  void WatchServers(const std::vector<pool::Server>& servers);
  health::Target TargetOf(const pool::Server& server) const;
  void ArmExpiry();
  void OnExpiry();
  void Post(const std::shared_ptr<const pool::Snapshot>& snapshot, std::function<void()> adopted);

  const Services services_;
  config::Pool config_;
  std::shared_ptr<const pool::Settings> settings_;
  PoolTransports transports_;
  std::vector<HomeWorker> homes_;
  pool::Roster roster_;
  Origin origin_;
  std::string updater_;
  int64_t updated_us_ = 0;
  std::map<std::string, Watched> watched_;  // servers that take requests, unless they fail
  std::set<std::string> hosts_;
  std::shared_ptr<const pool::Snapshot> snapshot_;
  net::Timer expiry_;
};

}  // namespace cashew::app

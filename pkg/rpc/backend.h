#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "pkg/pool/membership.h"
#include "pkg/pool/traffic.h"

namespace cashew::rpc {

// What the services ask of the proxy; the control thread implements it. Every method may be
// called on any thread and returns at once. A `done` is called exactly once, on another
// thread, unless the proxy stops first; then it is destroyed uncalled, or called with
// UNAVAILABLE. Statuses carry the code and the words that the caller of the service gets.
template <typename T>
using Done = std::function<void(absl::StatusOr<T>)>;

struct SetServers {
  std::string pool;
  std::vector<pool::ServerSpec> servers;  // checked: names differ, no unix paths
  uint64_t expected_version = 0;
  bool dry_run = false;
  bool take_over = false;
};

struct StreamUpdate {
  std::string pool;
  std::vector<pool::ServerSpec> servers;
  std::string updater;
  std::string source_version;
};

struct Location {
  std::string hashed;
  uint32_t hash = 0;
  uint32_t position = 0;
  std::string server;  // empty: none is live
  std::string address;
  std::string if_ejected;
  std::string owner;
};

struct ProxyStatus {
  int64_t started_us = 0;
  std::vector<std::string> not_ready_reasons;
  int workers = 0;
  std::string config_file;
  int64_t configured_us = 0;
  std::string last_reload_error;
  int64_t client_connections = 0;
  int64_t buffer_bytes = 0;
  int64_t buffer_limit_bytes = 0;
  std::string state_dir;
};

struct Reloaded {
  bool changed = false;
  std::vector<std::string> added, removed, modified, warnings;
};

struct Upgraded {
  int64_t pid = 0;
  std::string version;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::vector<std::shared_ptr<const pool::PoolView>> Pools() const = 0;
  // Null: no pool of that name.
  virtual std::shared_ptr<const pool::PoolView> Pool(const std::string& name) const = 0;

  virtual void SetServers(SetServers update, Done<pool::Applied> done) = 0;

  // A list that is refused before it comes to be a SetServers() or an Update(): for whoever counts
  // the refusals.
  virtual void OnMalformed(const std::string& pool, const absl::Status& why) = 0;

  // A stream of updates begins. `end` is called at most once, when another stream takes its
  // place; after it (or CloseStream) the id means nothing.
  virtual uint64_t OpenStream(std::function<void(absl::Status)> end) = 0;
  virtual void Update(uint64_t stream, StreamUpdate update, Done<pool::Applied> done) = 0;
  virtual void CloseStream(uint64_t stream) = 0;

  // `changed` is called with the pool as it is, soon, and at every change of what PoolView
  // shows; with null when the pool is gone, and then never again. Calls come one at a time;
  // one that had begun may still be under way when Unwatch() returns.
  virtual uint64_t Watch(const std::string& pool,
                         std::function<void(std::shared_ptr<const pool::PoolView>)> changed) = 0;
  virtual void Unwatch(uint64_t watch) = 0;

  virtual ProxyStatus Status() const = 0;
  virtual std::string StatsJson() const = 0;
  virtual absl::StatusOr<Location> Locate(const std::string& pool,
                                          const std::string& key) const = 0;
  // `how` is added to what is said of the server already: what it leaves unset stays.
  virtual void SetOverride(const std::string& pool, const std::string& server, pool::Override how,
                           Done<uint64_t> done) = 0;
  virtual void ClearOverride(const std::string& pool, const std::string& server,
                             Done<uint64_t> done) = 0;
  // At most `limit` keys, the surest first.
  virtual void GetHotKeys(const std::string& pool, size_t limit, Done<pool::HotKeys> done) = 0;
  // Of all pools when `pool` is empty; newest first.
  virtual void GetSlowLog(const std::string& pool, bool reset,
                          Done<std::vector<pool::SlowRequest>> done) = 0;
  virtual void Reload(Done<Reloaded> done) = 0;
  virtual void Upgrade(Done<Upgraded> done) = 0;
  virtual void Stop() = 0;
};

}  // namespace cashew::rpc

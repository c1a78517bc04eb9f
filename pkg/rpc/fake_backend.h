// A backend for the tests of this folder: pools in a map, answers on a thread of its own, and
// every call that has to be balanced is counted. Not linked into any program.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "pkg/rpc/backend.h"

namespace cashew::rpc {

inline pool::PoolView MakeView(const std::string& name, int servers = 0, uint64_t version = 1) {
  pool::PoolView view;
  view.name = name;
  view.updatable = true;
  view.hash = "fnv1a_64";
  view.distribution = "ketama";
  view.version = version;
  view.membership_checksum = 0x10000000u + static_cast<uint32_t>(version);
  for (int i = 0; i < servers; ++i) {
    pool::ServerView server;
    server.spec.name = fmt::format("cache-{}", i);
    server.spec.host = "127.0.0.1";
    server.spec.port = 11211;
    view.servers.push_back(server);
  }
  return view;
}

class FakeBackend final : public Backend {
 public:
  FakeBackend() : thread_([this] { Run(); }) {}
  ~FakeBackend() override {
    {
      std::lock_guard lock(mu_);
      stop_ = true;
      wake_.notify_all();
    }
    thread_.join();
  }

  // ---- what a test does -------------------------------------------------------

  // The pool is like this from now on; watchers are told.
  void Publish(pool::PoolView view) {
    auto shared = std::make_shared<const pool::PoolView>(std::move(view));
    std::lock_guard lock(mu_);
    pools_[shared->name] = shared;
    Notify(shared->name, shared);
  }

  void RemovePool(const std::string& name) {
    std::lock_guard lock(mu_);
    pools_.erase(name);
    Notify(name, nullptr);
  }

  // While a pool is held, its answers wait for Release.
  void Hold(const std::string& pool) {
    std::lock_guard lock(mu_);
    held_[pool];
  }
  // Gives up to `count` answers of the pool, the oldest first or the newest.
  void Release(const std::string& pool, size_t count = SIZE_MAX, bool newest_first = false) {
    std::lock_guard lock(mu_);
    auto& held = held_[pool];
    while (!held.empty() && count-- > 0) {
      tasks_.push_back(std::move(newest_first ? held.back() : held.front()));
      newest_first ? held.pop_back() : held.pop_front();
    }
    wake_.notify_all();
  }
  // As a proxy that stops: answers are destroyed uncalled.
  void Drop(const std::string& pool) {
    std::deque<std::function<void()>> dropped;
    std::lock_guard lock(mu_);
    dropped.swap(held_[pool]);
  }
  size_t HeldCount(const std::string& pool) {
    std::lock_guard lock(mu_);
    return held_[pool].size();
  }

  // Waits up to ten seconds for the condition, which is looked at with the lock held.
  bool WaitFor(const std::function<bool()>& condition) {
    std::unique_lock lock(mu_);
    return changed_.wait_for(lock, std::chrono::seconds(10), condition);
  }

  // With the lock held (WaitFor), or when nothing else runs.
  int opened = 0;
  std::map<uint64_t, int> closed;  // stream -> CloseStream calls
  std::vector<StreamUpdate> updates;
  std::vector<rpc::SetServers> sets;
  std::vector<std::string> malformed;  // pools
  int applied = 0;                     // lists that became a pool's
  int watching = 0, watched = 0;
  bool stopped = false;
  pool::Override last_override;
  bool slow_log_reset = false;

  // ---- Backend ------------------------------------------------------------------

  std::vector<std::shared_ptr<const pool::PoolView>> Pools() const override {
    std::lock_guard lock(mu_);
    std::vector<std::shared_ptr<const pool::PoolView>> views;
    for (const auto& [name, view] : pools_) views.push_back(view);
    return views;
  }

  std::shared_ptr<const pool::PoolView> Pool(const std::string& name) const override {
    std::lock_guard lock(mu_);
    const auto found = pools_.find(name);
    return found == pools_.end() ? nullptr : found->second;
  }

  void OnMalformed(const std::string& pool, const absl::Status&) override {
    std::lock_guard lock(mu_);
    malformed.push_back(pool);
  }

  void SetServers(rpc::SetServers update, Done<pool::Applied> done) override {
    std::lock_guard lock(mu_);
    sets.push_back(update);
    const absl::Status allowed = CheckSet(update);
    Later(update.pool, [this, update, allowed, done = std::move(done)] {
      done(allowed.ok() ? Apply(update.pool, update.servers) : allowed);
    });
  }

  uint64_t OpenStream(std::function<void(absl::Status)> end) override {
    std::lock_guard lock(mu_);
    const uint64_t id = static_cast<uint64_t>(++opened);
    streams_[id].end = std::move(end);
    changed_.notify_all();
    return id;
  }

  void Update(uint64_t stream, StreamUpdate update, Done<pool::Applied> done) override {
    std::lock_guard lock(mu_);
    updates.push_back(update);
    const absl::Status allowed = CheckOwner(stream, update);
    Later(update.pool, [this, update, allowed, done = std::move(done)] {
      done(allowed.ok() ? Apply(update.pool, update.servers) : allowed);
    });
  }

  void CloseStream(uint64_t stream) override {
    std::function<void(absl::Status)> dropped;
    std::lock_guard lock(mu_);
    ++closed[stream];
    dropped = std::move(streams_[stream].end);
    streams_.erase(stream);
    changed_.notify_all();
  }

  uint64_t Watch(const std::string& pool,
                 std::function<void(std::shared_ptr<const pool::PoolView>)> changed) override {
    std::lock_guard lock(mu_);
    const uint64_t id = static_cast<uint64_t>(++watched);
    ++watching;
    watches_[id] = {pool, std::make_shared<decltype(changed)>(std::move(changed))};
    const auto found = pools_.find(pool);
    Call(id, found == pools_.end() ? nullptr : found->second);
    changed_.notify_all();
    return id;
  }

  void Unwatch(uint64_t watch) override {
    std::lock_guard lock(mu_);
    watching -= static_cast<int>(watches_.erase(watch));
    changed_.notify_all();
  }

  ProxyStatus Status() const override {
    ProxyStatus status;
    status.started_us = 1'700'000'000'500'000;
    status.not_ready_reasons = {"pool \"alpha\" has no list"};
    status.workers = 4;
    status.config_file = "conf/\xff.yml";
    status.client_connections = 7;
    return status;
  }
  std::string StatsJson() const override { return "{\"service\":\"nutcracker\"}"; }

  absl::StatusOr<Location> Locate(const std::string& pool, const std::string& key) const override {
    if (Pool(pool) == nullptr) return absl::NotFoundError("no such pool");
    Location location;
    location.hashed = key;
    location.hash = 42;
    location.server = "cache-0";
    return location;
  }

  void SetOverride(const std::string& pool, const std::string& server, pool::Override how,
                   Done<uint64_t> done) override {
    std::lock_guard lock(mu_);
    last_override = how;
    Later(pool, [done = std::move(done)] { done(uint64_t{9}); });
  }
  void ClearOverride(const std::string& pool, const std::string& server,
                     Done<uint64_t> done) override {
    std::lock_guard lock(mu_);
    Later(pool, [done = std::move(done)] { done(uint64_t{10}); });
  }
  void GetHotKeys(const std::string& pool, size_t limit, Done<pool::HotKeys> done) override {
    std::lock_guard lock(mu_);
    Later(pool, [limit, done = std::move(done)] {
      pool::HotKeys hot{100, 10'000'000'000, 1000, {}};
      for (size_t i = 0; i < limit; ++i) hot.keys.push_back({"k\xff", 2, i, 250 - i, 260});
      done(hot);
    });
  }
  void GetSlowLog(const std::string& pool, bool reset,
                  Done<std::vector<pool::SlowRequest>> done) override {
    std::lock_guard lock(mu_);
    slow_log_reset = reset;
    Later(pool, [pool, done = std::move(done)] {
      std::vector<pool::SlowRequest> slow(3);
      slow[0].pool = pool;
      slow[0].total_ns = 5'000'000;
      done(slow);
    });
  }
  void Reload(Done<Reloaded> done) override {
    std::lock_guard lock(mu_);
    Later("reload", [done = std::move(done)] {
      done(absl::FailedPreconditionError("line 3: pool \"alpha\" has no listen"));
    });
  }
  void Upgrade(Done<Upgraded> done) override {
    std::lock_guard lock(mu_);
    Later("upgrade", [done = std::move(done)] { done(Upgraded{123, "0.2.0"}); });
  }
  void Stop() override {
    std::lock_guard lock(mu_);
    stopped = true;
    changed_.notify_all();
  }

 private:
  struct Stream {
    std::function<void(absl::Status)> end;
    std::string updater;
  };
  struct Watcher {
    std::string pool;
    std::shared_ptr<std::function<void(std::shared_ptr<const pool::PoolView>)>> changed;
  };

  absl::Status CheckSet(const rpc::SetServers& update) {
    const auto found = pools_.find(update.pool);
    if (found == pools_.end()) return absl::NotFoundError("no such pool");
    if (update.expected_version == 0) return absl::OkStatus();
    if (update.expected_version == found->second->version) return absl::OkStatus();
    return absl::AbortedError(fmt::format("the pool is at version {}", found->second->version));
  }

  // A stream of the same updater takes over, one of another does not.
  absl::Status CheckOwner(uint64_t id, const StreamUpdate& update) {
    if (!pools_.contains(update.pool)) return absl::NotFoundError("no such pool");
    streams_[id].updater = update.updater;
    uint64_t& owner = owners_[update.pool];
    if (owner != id && streams_.contains(owner)) {
      if (streams_[owner].updater != update.updater) {
        return absl::AlreadyExistsError(
            fmt::format("the pool belongs to {}", streams_[owner].updater));
      }
      tasks_.push_back([end = streams_[owner].end] {
        if (end) end(absl::AbortedError("another stream of this updater took over"));
      });
      wake_.notify_all();
    }
    owner = id;
    return absl::OkStatus();
  }

  absl::StatusOr<pool::Applied> Apply(const std::string& name,
                                      const std::vector<pool::ServerSpec>& servers) {
    std::lock_guard lock(mu_);
    const auto found = pools_.find(name);
    if (found == pools_.end()) return absl::NotFoundError("no such pool");
    pool::PoolView next = *found->second;
    ++next.version;
    ++applied;
    next.membership_checksum = 0x10000000u + static_cast<uint32_t>(next.version);
    next.servers.clear();
    for (const pool::ServerSpec& spec : servers) {
      pool::ServerView view;
      view.spec = spec;
      next.servers.push_back(view);
    }
    found->second = std::make_shared<const pool::PoolView>(next);
    Notify(name, found->second);
    pool::Applied result;
    result.version = next.version;
    result.added = {"cache-0"};
    result.ring_checksum = 7;
    result.membership_checksum = next.membership_checksum;
    return result;
  }

  void Later(const std::string& pool, std::function<void()> task) {
    const auto held = held_.find(pool);
    (held == held_.end() ? tasks_ : held->second).push_back(std::move(task));
    wake_.notify_all();
    changed_.notify_all();
  }

  void Notify(const std::string& name, const std::shared_ptr<const pool::PoolView>& view) {
    for (const auto& [id, watch] : watches_) {
      if (watch.pool == name) Call(id, view);
    }
  }

  void Call(uint64_t id, std::shared_ptr<const pool::PoolView> view) {
    tasks_.push_back([this, id, view] {
      std::shared_ptr<std::function<void(std::shared_ptr<const pool::PoolView>)>> changed;
      {
        std::lock_guard lock(mu_);
        if (const auto found = watches_.find(id); found != watches_.end()) {
          changed = found->second.changed;
        }
      }
      if (changed) (*changed)(view);
    });
    wake_.notify_all();
  }

  void Run() {
    std::unique_lock lock(mu_);
    for (;;) {
      wake_.wait(lock, [&] { return stop_ || !tasks_.empty(); });
      if (stop_) return;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      task = nullptr;
      lock.lock();
      changed_.notify_all();
    }
  }

  mutable std::mutex mu_;
  std::condition_variable wake_, changed_;
  bool stop_ = false;
  std::map<std::string, std::shared_ptr<const pool::PoolView>> pools_;
  std::map<uint64_t, Stream> streams_;
  std::map<std::string, uint64_t> owners_;
  std::map<uint64_t, Watcher> watches_;
  std::map<std::string, std::deque<std::function<void()>>> held_;
  std::deque<std::function<void()>> tasks_;
  std::thread thread_;
};

}  // namespace cashew::rpc

// Between what the sources say and what is sent: puts changes that come in a burst together
// (a roll of a StatefulSet is four events a pod) and decides what an empty result means.
//
//   quiet   a change is mapped when nothing followed it for 100 ms, or the first of a burst is
//           1 s old; a pool's first list at once
//   empty   is passed on only when the source really lists nothing and the pool allows it;
//           otherwise the last good list stays, with a warning
//
// Offer() may be called on any thread; mapping and the sinks run on one of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "pkg/base/clock.h"
#include "pkg/k8s/mapper.h"
#include "pkg/k8s/metrics.h"
#include "pkg/k8s/sender.h"
#include "pkg/k8s/waitable_mutex.h"

namespace cashew::k8s {

// When a burst of changes is over. Times are a Clock's nanoseconds.
class Debouncer {
 public:
  Debouncer(int64_t quiet_ns, int64_t ceiling_ns) : quiet_ns_(quiet_ns), ceiling_ns_(ceiling_ns) {}

  void Touch(int64_t now_ns) {
    if (!pending_) first_ns_ = now_ns;
    pending_ = true;
    last_ns_ = now_ns;
  }
  void Clear() { pending_ = false; }
  bool pending() const { return pending_; }
  // REQUIRES: pending().
  int64_t DueNs() const { return std::min(last_ns_ + quiet_ns_, first_ns_ + ceiling_ns_); }

 private:
  const int64_t quiet_ns_;
  const int64_t ceiling_ns_;
  bool pending_ = false;
  int64_t first_ns_ = 0;
  int64_t last_ns_ = 0;
};

struct FeederOptions {
  int64_t quiet_ms = 100;
  int64_t ceiling_ms = 1'000;
};

class Feeder {
 public:
  struct PoolOptions {
    std::string pool;
    bool allow_empty = false;
  };
  struct Sinks {
    // A list to send; unchanged ones come as well.
    std::function<void(const std::string& pool, ServerList list)> list;
    // A result that is not passed on, and why.
    std::function<void(const std::string& pool, const std::string& why)> kept;
  };
  // Makes the servers out of what a source knew when it was offered; called at most once.
  using Map = std::function<MapResult()>;

  // `clock` and `metrics` outlive this.
  Feeder(FeederOptions options, const std::vector<PoolOptions>& pools, const base::Clock& clock,
         Metrics& metrics, Sinks sinks);
  // Stops.
  ~Feeder();

  Feeder(const Feeder&) = delete;
  Feeder& operator=(const Feeder&) = delete;

  void Start();
  // What is pending is dropped. No sink is called after it returned.
  void Stop();

  // A complete new state of the pool's source. REQUIRES: `pool` is one of the constructor's.
  void Offer(const std::string& pool, std::string source_version, Map map);

 private:
  struct Pool {
    bool allow_empty;
    PoolMetrics metrics;
    Debouncer debouncer;
    bool mapped_once = false;
    Map map;
    std::string source_version;
    std::vector<std::string> warned;  // the feeding thread's: what was last warned of
  };

  void Run();
  Pool* NextDue(std::string* name, Map* map, std::string* version);
  void Feed(const std::string& name, Pool& pool, MapResult result, std::string version);
  void Keep(const std::string& name, Pool& pool, const std::string& why);
  void Warn(const std::string& name, Pool& pool, std::vector<std::string> warnings);

  const FeederOptions options_;
  const base::Clock& clock_;
  const Sinks sinks_;
  std::thread thread_;

  WaitableMutex mutex_;
  bool stopped_ CASHEW_GUARDED_BY(mutex_.mutex()) = false;
  std::map<std::string, Pool> pools_;  // the map itself never changes
};

}  // namespace cashew::k8s

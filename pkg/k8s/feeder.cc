#include "pkg/k8s/feeder.h"

#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

size_t CountState(const std::vector<MappedServer>& servers, ServerState state) {
  return static_cast<size_t>(
      std::count_if(servers.begin(), servers.end(),
                    [&](const MappedServer& server) { return server.state == state; }));
}

}  // namespace

Feeder::Feeder(FeederOptions options, const std::vector<PoolOptions>& pools,
               const base::Clock& clock, Metrics& metrics, Sinks sinks)
    : options_(options), clock_(clock), sinks_(std::move(sinks)) {
  for (const PoolOptions& pool : pools) {
    pools_.emplace(pool.pool, Pool{.allow_empty = pool.allow_empty,
                                   .metrics = metrics.ForPool(pool.pool),
                                   .debouncer = {options.quiet_ms * base::kNsPerMs,
                                                 options.ceiling_ms * base::kNsPerMs},
                                   .mapped_once = false,
                                   .map = {},
                                   .source_version = {},
                                   .warned = {}});
  }
}

Feeder::~Feeder() { Stop(); }

void Feeder::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Feeder::Stop() {
  {
    base::MutexLock lock(&mutex_.mutex());
    stopped_ = true;
  }
  mutex_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void Feeder::Offer(const std::string& name, std::string source_version, Map map) {
  base::MutexLock lock(&mutex_.mutex());
  Pool& pool = pools_.at(name);
  pool.map = std::move(map);
  pool.source_version = std::move(source_version);
  pool.debouncer.Touch(clock_.NowNs());
  mutex_.NotifyAll();
}

void Feeder::Run() {
  for (;;) {
    std::string name;
    std::string version;
    Map map;
    Pool* pool = NextDue(&name, &map, &version);
    if (pool == nullptr) return;
    Feed(name, *pool, map(), std::move(version));
  }
}

// Waits for a pool whose burst is over; nullptr when stopped.
Feeder::Pool* Feeder::NextDue(std::string* name, Map* map, std::string* version) {
  base::MutexLock lock(&mutex_.mutex());
  while (!stopped_) {
    const int64_t now_ns = clock_.NowNs();
    int64_t next_ns = -1;
    for (auto& [pool_name, pool] : pools_) {
      if (!pool.debouncer.pending()) continue;
      const int64_t due_ns = pool.mapped_once ? pool.debouncer.DueNs() : now_ns;
      if (due_ns <= now_ns) {
        pool.debouncer.Clear();
        pool.mapped_once = true;
        *name = pool_name;
        *map = std::exchange(pool.map, {});
        *version = std::exchange(pool.source_version, {});
        return &pool;
      }
      if (next_ns < 0 || due_ns < next_ns) next_ns = due_ns;
    }
    if (next_ns < 0) {
      mutex_.Wait();
    } else {
      mutex_.WaitMs((next_ns - now_ns) / base::kNsPerMs + 1);
    }
  }
  return nullptr;
}

void Feeder::Feed(const std::string& name, Pool& pool, MapResult result, std::string version) {
  pool.metrics.warnings.Set(static_cast<double>(result.warnings.size()));
  Warn(name, pool, std::move(result.warnings));
  const std::vector<MappedServer>& servers = result.servers;
  pool.metrics.ready.Set(static_cast<double>(CountState(servers, ServerState::kReady)));
  pool.metrics.draining.Set(static_cast<double>(CountState(servers, ServerState::kDraining)));
  pool.metrics.down.Set(static_cast<double>(CountState(servers, ServerState::kDown)));
  if (servers.empty() && result.endpoints > 0) {
    return Keep(name, pool, fmt::format("none of {} endpoints can be used", result.endpoints));
  }
  if (servers.empty() && !pool.allow_empty) {
    return Keep(name, pool, "there are no endpoints, and --allow-empty is not given");
  }
  sinks_.list(name, {.servers = std::move(result.servers), .source_version = std::move(version)});
}

void Feeder::Keep(const std::string& name, Pool& pool, const std::string& why) {
  pool.metrics.kept_empty.Increment();
  CASHEW_LOG_WARN("empty list not sent, the last good one stays pool={} reason=\"{}\"", name, why);
  sinks_.kept(name, why);
}

void Feeder::Warn(const std::string& name, Pool& pool, std::vector<std::string> warnings) {
  if (warnings == pool.warned) return;
  for (const std::string& warning : warnings) CASHEW_LOG_WARN("pool={} {}", name, warning);
  pool.warned = std::move(warnings);
}

}  // namespace cashew::k8s

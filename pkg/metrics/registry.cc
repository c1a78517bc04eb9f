#include "pkg/metrics/registry.h"

#include <algorithm>
#include <utility>

#include "pkg/metrics/rows.h"

namespace cashew::metrics {
namespace {

template <typename Cells>
std::shared_ptr<Cells> FindOrMake(std::vector<std::shared_ptr<Cells>>& per_writer, size_t writers,
                                  int writer) {
  per_writer.resize(writers);
  std::shared_ptr<Cells>& cells = per_writer.at(static_cast<size_t>(writer));
  if (!cells) cells = std::make_shared<Cells>();
  return cells;
}

template <typename Id>
void AddTo(Values<Id>* total, const Cells<Id>& cells) {
  for (size_t i = 0; i < total->array.size(); ++i) {
    const int64_t value = cells[static_cast<Id>(i)].Get();
    int64_t& sum = total->array[i];
    sum = RowsOf(Id{})[i].kind == MetricKind::kTimestamp ? std::max(sum, value) : sum + value;
  }
}

void AddTo(Values<ErrorKind>* total, const Cells<ErrorKind>& cells) {
  for (size_t i = 0; i < total->array.size(); ++i) {
    total->array[i] += cells[static_cast<ErrorKind>(i)].Get();
  }
}

void AddTo(PoolTotals* total, const PoolCells& cells) {
  AddTo(&total->values, cells);
  AddTo(&total->errors, cells.errors);
  total->queue_duration.Add(cells.queue_duration);
  for (size_t i = 0; i < total->classes.size(); ++i) {
    AddTo(&total->classes[i].values, cells.classes[i]);
    total->classes[i].duration.Add(cells.classes[i].duration);
  }
}

void AddTo(ServerTotals* total, const ServerCells& cells) {
  AddTo(&total->values, cells);
  total->response_duration.Add(cells.response_duration);
}

// Those of all writers.
template <typename Total, typename SomeCells>
void AddAll(Total* total, const std::vector<std::shared_ptr<SomeCells>>& per_writer) {
  for (const auto& cells : per_writer) {
    if (cells) AddTo(total, *cells);
  }
}

template <typename Cells>
bool HeldByAWriter(const std::vector<std::shared_ptr<Cells>>& per_writer) {
  return std::any_of(per_writer.begin(), per_writer.end(),
                     [](const auto& cells) { return cells.use_count() > 1; });
}

int64_t Ejects(const std::vector<std::shared_ptr<ServerCells>>& per_writer) {
  int64_t sum = 0;
  for (std::shared_ptr<ServerCells> cells : per_writer) {
    // use_count() orders nothing; dropping this copy before the read does: it
    // follows the last holder's own drop, and with it all that one wrote.
    const ServerCells* raw = cells.get();
    cells.reset();
    if (raw != nullptr) sum += (*raw)[ServerMetric::kEjects].Get();
  }
  return sum;
}

}  // namespace

Registry::Registry(int writers) : writers_(static_cast<size_t>(writers)) {}

std::shared_ptr<ProcessCells> Registry::Process(int writer) {
  base::MutexLock lock(&mu_);
  return FindOrMake(process_, writers_, writer);
}

std::shared_ptr<WorkerCells> Registry::Worker(int writer) {
  base::MutexLock lock(&mu_);
  return FindOrMake(workers_, writers_, writer);
}

std::shared_ptr<PoolCells> Registry::Pool(const std::string& pool, int writer) {
  base::MutexLock lock(&mu_);
  return FindOrMake(pools_[pool].cells, writers_, writer);
}

std::shared_ptr<ServerCells> Registry::Server(const std::string& pool, const std::string& server,
                                              int writer) {
  base::MutexLock lock(&mu_);
  return FindOrMake(FindOrAddServer(pools_[pool], server).cells, writers_, writer);
}

Registry::ServerEntry& Registry::FindOrAddServer(PoolEntry& pool, const std::string& server) {
  auto [it, added] = pool.servers.try_emplace(server);
  if (added) it->second.state[ServerStateMetric::kHealthy] = 1;
  return it->second;
}

void Registry::SetServers(const std::string& pool, std::vector<std::string> names_in_index_order) {
  base::MutexLock lock(&mu_);
  PoolEntry& entry = pools_[pool];
  entry.declared = true;
  for (auto& [name, server] : entry.servers) server.declared = false;
  entry.order.clear();
  for (std::string& name : names_in_index_order) {
    ServerEntry& server = FindOrAddServer(entry, name);
    const bool seen = std::exchange(server.declared, true);
    if (!seen) entry.order.push_back(std::move(name));  // a name twice would be a series twice
  }
  Prune();
}

void Registry::RemovePool(const std::string& pool) {
  base::MutexLock lock(&mu_);
  auto it = pools_.find(pool);
  if (it == pools_.end()) return;
  it->second.declared = false;
  it->second.order.clear();
  for (auto& [name, server] : it->second.servers) server.declared = false;
  Prune();
}

void Registry::Prune() {
  for (auto it = pools_.begin(); it != pools_.end();) {
    PoolEntry& pool = it->second;
    PruneServers(pool);
    const bool keep = pool.declared || !pool.servers.empty() || HeldByAWriter(pool.cells);
    it = keep ? std::next(it) : pools_.erase(it);
  }
}

void Registry::PruneServers(PoolEntry& pool) {
  for (auto it = pool.servers.begin(); it != pool.servers.end();) {
    const ServerEntry& server = it->second;
    if (server.declared || HeldByAWriter(server.cells)) {
      ++it;
      continue;
    }
    pool.forgotten_ejects += Ejects(server.cells);
    it = pool.servers.erase(it);
  }
}

void Registry::SetProcessState(ProcessStateMetric id, int64_t value) {
  base::MutexLock lock(&mu_);
  state_[id] = value;
}

void Registry::AddProcessState(ProcessStateMetric id, int64_t value) {
  base::MutexLock lock(&mu_);
  state_[id] += value;
}

void Registry::AddPoolState(const std::string& pool, PoolStateMetric id, int64_t value) {
  base::MutexLock lock(&mu_);
  auto it = pools_.find(pool);
  if (it != pools_.end() && it->second.declared) it->second.state[id] += value;
}

void Registry::SetPoolState(const std::string& pool, PoolStateMetric id, int64_t value) {
  base::MutexLock lock(&mu_);
  auto it = pools_.find(pool);
  if (it != pools_.end() && it->second.declared) it->second.state[id] = value;
}

void Registry::SetServerState(const std::string& pool, const std::string& server,
                              ServerStateMetric id, int64_t value) {
  base::MutexLock lock(&mu_);
  auto in_pool = pools_.find(pool);
  if (in_pool == pools_.end()) return;
  auto it = in_pool->second.servers.find(server);
  if (it != in_pool->second.servers.end() && it->second.declared) it->second.state[id] = value;
}

Totals Registry::Collect() const {
  base::MutexLock lock(&mu_);
  Totals totals;
  AddAll(&totals.process, process_);
  totals.state = state_;
  for (const auto& cells : workers_) {
    if (!cells) continue;
    WorkerTotals& worker = totals.workers.emplace_back();
    AddTo(&worker.values, *cells);
    worker.loop_lag.Add(cells->loop_lag);
  }
  for (const auto& [name, pool] : pools_) {
    if (pool.declared) totals.pools.push_back(CollectPool(name, pool));
  }
  return totals;
}

PoolTotals Registry::CollectPool(const std::string& name, const PoolEntry& pool) {
  PoolTotals totals{name, {}, pool.state, {}};
  AddAll(&totals, pool.cells);
  totals.servers.reserve(pool.order.size());
  for (const std::string& server : pool.order) {
    const ServerEntry& entry = pool.servers.at(server);
    totals.servers.push_back({server, {}, entry.state});
    AddAll(&totals.servers.back(), entry.cells);
  }
  int64_t ejects = pool.forgotten_ejects;
  for (const auto& [server, entry] : pool.servers) ejects += Ejects(entry.cells);
  totals.values[PoolMetric::kServerEjects] = ejects;
  return totals;
}

}  // namespace cashew::metrics

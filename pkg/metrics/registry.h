#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "pkg/base/mutex.h"
#include "pkg/metrics/cells.h"
#include "pkg/metrics/totals.h"

namespace cashew::metrics {

// Knows every cell of the process and adds them up for a scrape.
//
// The control thread says which pools and servers exist (SetServers, RemovePool);
// each writer fetches its own cells when it adopts a snapshot, keeps the pointer
// and from then on writes without this class. A scrape reads the cells where they
// lie and stops nobody.
//
//   Registry registry(workers + 1);             // the last writer: control thread
//   registry.SetServers("alpha", {"a", "b"});
//   auto cells = registry.Server("alpha", "a", worker_index);
//   (*cells)[ServerMetric::kRequests].Add(1);
//   std::string json = StatsJson(registry.Collect(), header);
//
// Cells live as long as someone holds them. A server that left and comes back
// while its cells are still held goes on counting where it was; otherwise it
// starts from zero. Thread-safe.
class Registry {
 public:
  // Writers are numbered from 0 to `writers` - 1; each owns one set of cells.
  explicit Registry(int writers);

  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // The writer's cells, made on first use. Cells of a pool or server that is not
  // declared work but are not exported: a worker may be late and still run the
  // previous snapshot. REQUIRES: 0 <= writer < writers.
  std::shared_ptr<ProcessCells> Process(int writer);
  // Of writers that are workers; those that never asked are not exported.
  std::shared_ptr<WorkerCells> Worker(int writer);
  std::shared_ptr<PoolCells> Pool(const std::string& pool, int writer);
  std::shared_ptr<ServerCells> Server(const std::string& pool, const std::string& server,
                                      int writer);

  // Declares a pool and all its servers, in index order. Servers that are no
  // longer named leave the exports; their ejections stay in the pool's sum.
  void SetServers(const std::string& pool, std::vector<std::string> names_in_index_order);
  void RemovePool(const std::string& pool);

  // What the control thread knows about the process: a counter is added to, the rest set.
  void SetProcessState(ProcessStateMetric id, int64_t value);
  void AddProcessState(ProcessStateMetric id, int64_t value);

  // What the control thread knows about a declared pool or server; ignored for
  // others. A server is healthy until said otherwise.
  void SetPoolState(const std::string& pool, PoolStateMetric id, int64_t value);
  void AddPoolState(const std::string& pool, PoolStateMetric id, int64_t value);
  void SetServerState(const std::string& pool, const std::string& server, ServerStateMetric id,
                      int64_t value);

  // The declared pools and servers, all writers added up. Values of one moment
  // are not a cut through time: each is recent, together they may disagree by what
  // happened while they were read. Costs one read per cell.
  Totals Collect() const;

 private:
  // One element per writer; null until the writer asked for it.
  template <typename Cells>
  using PerWriter = std::vector<std::shared_ptr<Cells>>;

  struct ServerEntry {
    PerWriter<ServerCells> cells;
    Values<ServerStateMetric> state;
    bool declared = false;
  };
  struct PoolEntry {
    PerWriter<PoolCells> cells;
    Values<PoolStateMetric> state;
    bool declared = false;
    std::vector<std::string> order;  // the declared servers
    std::unordered_map<std::string, ServerEntry> servers;
    int64_t forgotten_ejects = 0;  // of servers whose cells are gone
  };
  // nutcracker: pools and servers sort by length, then by bytes.
  struct ShorterFirst {
    bool operator()(const std::string& a, const std::string& b) const {
      return a.size() != b.size() ? a.size() < b.size() : a < b;
    }
  };

  ServerEntry& FindOrAddServer(PoolEntry& pool, const std::string& server) CASHEW_REQUIRES(mu_);
  // Drops what is neither declared nor held by a writer.
  void Prune() CASHEW_REQUIRES(mu_);
  static void PruneServers(PoolEntry& pool);
  static PoolTotals CollectPool(const std::string& name, const PoolEntry& pool);

  const size_t writers_;
  mutable base::Mutex mu_;
  PerWriter<ProcessCells> process_ CASHEW_GUARDED_BY(mu_);
  PerWriter<WorkerCells> workers_ CASHEW_GUARDED_BY(mu_);
  Values<ProcessStateMetric> state_ CASHEW_GUARDED_BY(mu_);
  std::map<std::string, PoolEntry, ShorterFirst> pools_ CASHEW_GUARDED_BY(mu_);
};

}  // namespace cashew::metrics

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "pkg/metrics/registry.h"
#include "pkg/net/buffer.h"
#include "pkg/net/event_loop.h"
#include "pkg/net/transport.h"
#include "pkg/pool/snapshot.h"
#include "pkg/proxy/memory_budget.h"
#include "pkg/proxy/request.h"
#include "pkg/proxy/slow_log.h"
#include "pkg/proxy/trace.h"

namespace cashew::proxy {

class LocalPool;

// A client's connection between two processes: at a request boundary, with what it had sent
// of the next request.
struct CarriedClient {
  std::string pool;
  int fd = -1;
  std::string state;   // protocol::RequestParser::SaveState
  std::string unread;  // read from the socket and not parsed
};

// What all workers are given. Outlives them.
struct Services {
  const base::Clock* clock = &base::RealClock();
  pool::FailureSink* failures = nullptr;
  metrics::Registry* registry = nullptr;
  MemoryBudget* budget = nullptr;
  // What a client is told of a pool that asks for statistics. Any thread.
  std::function<protocol::Stats(const std::string& pool)> stats;
  // Takes a client that HandOver() has set free. Any thread.
  std::function<void(CarriedClient client)> carry;
};

// How many clients each worker serves of a pool; the acceptor chooses by it. Shared
// by the acceptor (adds) and the workers (subtract).
struct ClientCount {
  std::atomic<int64_t> value{0};
};

// What a worker must know to serve a pool.
struct PoolAssignment {
  std::shared_ptr<const pool::Snapshot> snapshot;
  int connections = 1;  // this worker's share of server_connections
  std::shared_ptr<ClientCount> clients;
  std::shared_ptr<const net::TransportFactory> listen_transport;
  std::shared_ptr<const net::TransportFactory> server_transport;
  int exclusive = 0;  // … of exclusive_connections
};

// One core: a loop, the sessions of the clients it was given, its own connections
// to their pools' servers, and the present snapshots. Shares nothing with other
// workers; all that reaches it comes through its loop's mailbox.
class Worker {
 public:
  // `index` is its writer in the registry.
  Worker(int index, const Services& services);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Any thread.
  void Start();
  void Stop();  // ends the loop, closes everything, joins
  void Post(std::function<void()> message) { loop_.Post(std::move(message)); }
  int64_t buffer_bytes() const {
    return arena_.bytes_in_use() + buffers_.mapped_bytes() +
           queued_bytes_.load(std::memory_order_relaxed);
  }
  int64_t open_clients() const { return open_clients_.load(std::memory_order_relaxed); }
  bool leave_begun() const { return leaving_.load(std::memory_order_acquire); }
  bool drain_begun() const { return draining_.load(std::memory_order_acquire); }

  // Worker thread only, from here on.

  // Installs a pool, or its next snapshot. Requests in flight finish where they are.
  void Adopt(const PoolAssignment& assignment);
  // Closes the pool's clients at their next request boundary, at the latest after
  // `drain_ms`; a pool of the same name may be installed meanwhile. `clients` is what it was
  // installed with: without that pool, nothing happens.
  void RemovePool(const std::string& name, const std::shared_ptr<ClientCount>& clients,
                  int64_t drain_ms);
  // Takes an accepted socket. False, and the socket is closed: the pool has gone.
  bool AddClient(const std::string& pool, int fd);
  // The same with one that another process served until now.
  bool AddCarried(const CarriedClient& client);
  // Gives every client to Services::carry when it comes to a request boundary. Those that
  // cannot be carried stay.
  void HandOver();
  // Closes clients that are at a request boundary: those that are idle now, at once.
  // With `force` no further request is read, so that all of them come to one.
  void Drain(bool force);

  net::EventLoop& loop() { return loop_; }
  net::BufferPool& buffers() { return buffers_; }
  const Services& services() const { return services_; }
  int index() const { return index_; }
  metrics::ProcessCells& cells() { return *cells_; }
  uint32_t Random() { return static_cast<uint32_t>(random_()); }

  // Where every socket is read into: parsed in place, only a cut tail is kept.
  char* read_buffer() { return read_buffer_.get(); }
  static constexpr size_t kReadBuffer = 64 * 1024;
  // Where every request is parsed into.
  protocol::Command& command() { return command_; }
  bool memory_scarce() const { return scarce_; }

  Request* NewRequest();
  // Frees it if nothing needs it any more.
  void MaybeFree(Request* request);
  std::unique_ptr<Split> NewSplit();
  void RecycleSplit(std::unique_ptr<Split> split);

  // What observers keep; see observer.h.
  Trace* NewTrace() { return traces_.New(); }
  void FreeTrace(Trace* trace) { net::ObjectPool<Trace>::Delete(trace); }
  SlowLog& slow_log() { return slow_log_; }
  // Of one pool, or of all when `pool` is empty.
  std::vector<pool::SlowRequest> ReadSlowLog(const std::string& pool, bool reset);
  // Nothing when it does not serve the pool, or the pool counts none.
  pool::HotKeys ReadHotKeys(const std::string& pool);

  void CountClient(int change) {
    open_clients_.store(open_clients() + change, std::memory_order_relaxed);
    (*worker_cells_)[metrics::WorkerMetric::kClients].Add(change);
  }
  void CountConnection(int change);
  // Bytes that clients' queued transactions keep.
  void CountQueued(int64_t change) {
    queued_bytes_.store(queued_bytes_.load(std::memory_order_relaxed) + change,
                        std::memory_order_relaxed);
  }

  // A failure whose verdict is that the server is out: its clients hear of it when
  // the new ring is here, so that their next request goes elsewhere.
  void HoldErrors(LocalPool* pool, std::vector<Fragment*> fragments, metrics::ErrorKind kind,
                  std::string text);

 private:
  struct Removed {
    std::unique_ptr<LocalPool> pool;
    int64_t until_ns;  // for clients that come to no boundary
    bool forced = false;
  };
  struct Held {
    LocalPool* pool;
    std::vector<Fragment*> fragments;
    metrics::ErrorKind kind;
    std::string text;
    int64_t until_ns;
  };

  void Run();
  void EndOfRound();
  void CountRound();
  void Tick();
  void TrimHeap();
  void ReleaseHeld(const LocalPool* pool);
  void TickRemoved(int64_t now_ns);
  void EvictLargestClient();

  const int index_;
  const Services services_;
  net::EventLoop loop_;
  net::SlabArena arena_;
  net::BufferPool buffers_;
  net::ObjectPool<Request> requests_;
  net::ObjectPool<Trace> traces_;
  std::vector<std::unique_ptr<Split>> spare_splits_;
  std::unique_ptr<char[]> read_buffer_;
  protocol::Command command_;
  std::shared_ptr<metrics::ProcessCells> cells_;
  std::shared_ptr<metrics::WorkerCells> worker_cells_;
  std::minstd_rand random_;
  std::map<std::string, std::unique_ptr<LocalPool>> pools_;
  std::vector<Removed> removed_;
  std::vector<Held> held_;
  net::Timer tick_;
  bool scarce_ = false;
  int64_t crowd_ = 0;  // the most clients since the heap was trimmed
  std::atomic<bool> draining_{false};
  std::atomic<bool> leaving_{false};
  std::atomic<int64_t> open_clients_{0};
  std::atomic<int64_t> queued_bytes_{0};
  SlowLog slow_log_;
  std::thread thread_;
};

}  // namespace cashew::proxy

#include "pkg/proxy/worker.h"

#include <algorithm>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"
#include "pkg/proxy/client_session.h"
#include "pkg/proxy/fragment.h"
#include "pkg/proxy/local_pool.h"
#include "pkg/proxy/observer.h"
#include "pkg/proxy/server_session.h"

namespace cashew::proxy {
namespace {

constexpr int64_t kTickMs = 250;
// Errors that wait for a new ring go out after this long in any case.
constexpr int64_t kHoldMs = 50;
// For replies that are still due when the time to drain a removed pool is over.
constexpr int64_t kForceMs = 2000;
constexpr int64_t kReplacedDrainMs = 30'000;
// Empty slabs given back per tick. None is kept: mapping one anew four times a second
// costs nothing that shows, and an idle worker holds no memory.
constexpr size_t kSlabsPerTick = 16;
// Recycled splits, and the largest that is worth keeping.
constexpr size_t kSpareSplits = 256;
constexpr size_t kSpareSplitKeys = 1024;
// As many clients are worth a look at the heap when they have gone.
constexpr int64_t kCrowd = 500;

}  // namespace

Worker::Worker(int index, const Services& services)
    : index_(index),
      services_(services),
      loop_(*services.clock),
      buffers_(&arena_),
      requests_(&arena_),
      traces_(&arena_),
      read_buffer_(new char[kReadBuffer]),
      cells_(services.registry->Process(index)),
      worker_cells_(services.registry->Worker(index)),
      random_(static_cast<uint32_t>(services.clock->NowNs()) + static_cast<uint32_t>(index)),
      tick_(&loop_, [this] { Tick(); }) {
  loop_.set_end_of_round([this] { EndOfRound(); });
}

Worker::~Worker() { Stop(); }

void Worker::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Worker::Stop() {
  loop_.Stop();
  if (thread_.joinable()) thread_.join();
}

void Worker::Run() {
  pthread_setname_np(pthread_self(), fmt::format("worker-{}", index_).c_str());
  tick_.SetAfterMs(kTickMs);
  loop_.Run();
  ReleaseHeld(nullptr);
  pools_.clear();
  removed_.clear();
  tick_.Cancel();
  loop_.RunOnce(0);  // deletes the sessions that closed just now
  spare_splits_.clear();
}

void Worker::Adopt(const PoolAssignment& assignment) {
  const std::string& name = assignment.snapshot->settings().name;
  const auto installed = pools_.find(name);
  if (installed != pools_.end() && !installed->second->CountsIn(assignment.clients)) {
    // Removed and installed again: the first message is still on its way.
    RemovePool(name, nullptr, kReplacedDrainMs);
  }
  std::unique_ptr<LocalPool>& pool = pools_[name];
  if (pool == nullptr) {
    pool = std::make_unique<LocalPool>(this, assignment);
  } else {
    pool->Adopt(assignment);
  }
  ReleaseHeld(pool.get());
}

void Worker::RemovePool(const std::string& name, const std::shared_ptr<ClientCount>& clients,
                        int64_t drain_ms) {
  const auto it = pools_.find(name);
  if (it == pools_.end() || (clients != nullptr && !it->second->CountsIn(clients))) return;
  ReleaseHeld(it->second.get());
  it->second->Drain(/*force=*/false);
  removed_.push_back({std::move(it->second), loop_.now_ns() + drain_ms * base::kNsPerMs});
  pools_.erase(it);
}

void Worker::TickRemoved(int64_t now_ns) {
  for (Removed& removed : removed_) {
    removed.pool->Tick(now_ns);
    if (now_ns < removed.until_ns) continue;
    if (!removed.forced) removed.pool->Drain(/*force=*/true);
    removed.forced = true;
  }
  std::erase_if(removed_, [&](const Removed& removed) {
    const bool done =
        !removed.pool->has_clients() || now_ns >= removed.until_ns + kForceMs * base::kNsPerMs;
    if (done) ReleaseHeld(removed.pool.get());
    return done;
  });
}

bool Worker::AddClient(const std::string& pool, int fd) {
  const auto it = pools_.find(pool);
  if (it == pools_.end()) {
    close(fd);
    return false;
  }
  it->second->AddClient(fd);
  if (leaving_) it->second->HandOver();
  if (draining_) it->second->Drain(/*force=*/false);
  return true;
}

bool Worker::AddCarried(const CarriedClient& client) {
  const auto it = pools_.find(client.pool);
  if (it == pools_.end()) {
    close(client.fd);
    return false;
  }
  it->second->AddCarried(client);
  return true;
}

void Worker::HandOver() {
  for (auto& [name, pool] : pools_) pool->HandOver();
  leaving_.store(true, std::memory_order_release);
}

void Worker::Drain(bool force) {
  for (auto& [name, pool] : pools_) pool->Drain(force);
  for (Removed& removed : removed_) removed.pool->Drain(force);
  draining_.store(true, std::memory_order_release);
}

void Worker::CountConnection(int change) {
  (*cells_)[metrics::ProcessMetric::kCurrConnections].Add(change);
  if (change > 0) (*cells_)[metrics::ProcessMetric::kTotalConnections].Add(change);
}

Request* Worker::NewRequest() { return requests_.New(); }

void Worker::MaybeFree(Request* request) {
  if (request->outstanding > 0 || request->client != nullptr) return;
  ClearRequest(buffers_, request);
  if (request->split != nullptr) RecycleSplit(std::move(request->split));
  net::ObjectPool<Request>::Delete(request);
}

std::unique_ptr<Split> Worker::NewSplit() {
  if (spare_splits_.empty()) return std::make_unique<Split>();
  std::unique_ptr<Split> split = std::move(spare_splits_.back());
  spare_splits_.pop_back();
  return split;
}

void Worker::RecycleSplit(std::unique_ptr<Split> split) {
  const size_t keys = std::max(split->part_of_key.capacity(), split->grouped_keys.capacity());
  if (spare_splits_.size() >= kSpareSplits || keys > kSpareSplitKeys ||
      split->encoded.capacity() > 64 * kSpareSplitKeys || split->parts.size() > kSpareSplitKeys) {
    return;
  }
  split->used = 0;
  split->part_of_key.clear();
  spare_splits_.push_back(std::move(split));
}

std::vector<pool::SlowRequest> Worker::ReadSlowLog(const std::string& pool, bool reset) {
  std::vector<pool::SlowRequest> read = slow_log_.Read(pool);
  if (reset) slow_log_.Clear(pool);
  return read;
}

pool::HotKeys Worker::ReadHotKeys(const std::string& pool) {
  const auto it = pools_.find(pool);
  Observer* observer = it == pools_.end() ? nullptr : it->second->observer();
  return observer != nullptr ? observer->ReadHotKeys() : pool::HotKeys();
}

void Worker::HoldErrors(LocalPool* pool, std::vector<Fragment*> fragments, metrics::ErrorKind kind,
                        std::string text) {
  if (fragments.empty()) return;
  held_.push_back({pool, std::move(fragments), kind, std::move(text),
                   loop_.now_ns() + kHoldMs * base::kNsPerMs});
  const int64_t until = held_.back().until_ns;
  if (tick_.at_ns() > until) tick_.SetAt(until);
}

// Those of one pool; of all pools, when it is null.
void Worker::ReleaseHeld(const LocalPool* pool) {
  std::vector<Held> release;
  for (Held& held : held_) {
    if (pool == nullptr || held.pool == pool) release.push_back(std::move(held));
  }
  std::erase_if(held_, [](const Held& held) { return held.fragments.empty(); });
  for (Held& held : release) {
    for (Fragment* fragment : held.fragments) {
      FailPart(*held.pool, fragment, held.kind, held.text);
      ReleasePart(*held.pool, fragment);
    }
  }
}

// The second clock reading of a round: what came since the first waited for this long.
void Worker::CountRound() {
  const int64_t busy_ns = services_.clock->NowNs() - loop_.now_ns();
  metrics::WorkerCells& cells = *worker_cells_;
  cells.loop_lag.Add(busy_ns);
  cells[metrics::WorkerMetric::kBusy].Add(busy_ns);
  cells[metrics::WorkerMetric::kRounds].Add(1);
}

void Worker::EndOfRound() {
  CountRound();
  (*cells_)[metrics::ProcessMetric::kLoopRounds].Add(1);
  (*cells_)[metrics::ProcessMetric::kBufferBytes].Set(buffer_bytes());
  if (services_.budget == nullptr) return;
  scarce_ = services_.budget->Scarce();
  if (scarce_ && services_.budget->Exhausted()) EvictLargestClient();
}

void Worker::EvictLargestClient() {
  int64_t bytes = 0;
  ClientSession* largest = nullptr;
  for (auto& [name, pool] : pools_) {
    if (ClientSession* client = pool->LargestClient(&bytes); client != nullptr) largest = client;
  }
  if (largest != nullptr) largest->Evict();
}

// Sessions live on the heap, which keeps what a crowd of them left behind until it
// is told: about 0.1 ms a MiB, once after a crowd has gone.
void Worker::TrimHeap() {
  crowd_ = std::max(crowd_, open_clients());
  if (crowd_ < kCrowd || open_clients() > crowd_ / 2) return;
  crowd_ = open_clients();
  loop_.ShrinkLists();
  malloc_trim(0);
}

void Worker::Tick() {
  const int64_t now = loop_.now_ns();
  for (auto& [name, pool] : pools_) pool->Tick(now);
  TickRemoved(now);
  const bool overdue = std::any_of(held_.begin(), held_.end(),
                                   [now](const Held& held) { return held.until_ns <= now; });
  if (overdue) ReleaseHeld(nullptr);
  arena_.GiveBack(kSlabsPerTick, 0);
  base::TellHeldBack();
  TrimHeap();
  tick_.SetAfterMs(kTickMs);
}

}  // namespace cashew::proxy

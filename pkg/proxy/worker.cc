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
#include "pkg/proxy/server_session.h"

namespace cashew::proxy {
namespace {

constexpr int64_t kTickMs = 250;
// Errors that wait for a new ring go out after this long in any case.
constexpr int64_t kHoldMs = 50;
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
  tick_.Cancel();
  loop_.RunOnce(0);  // deletes the sessions that closed just now
  spare_splits_.clear();
}

void Worker::Adopt(const PoolAssignment& assignment) {
  const std::string& name = assignment.snapshot->settings().name;
  std::unique_ptr<LocalPool>& pool = pools_[name];
  if (pool == nullptr) {
    pool = std::make_unique<LocalPool>(this, assignment);
  } else {
    pool->Adopt(assignment);
  }
  ReleaseHeld(&name);
}

void Worker::RemovePool(const std::string& name) {
  ReleaseHeld(&name);
  pools_.erase(name);
}

void Worker::AddClient(const std::string& pool, int fd) {
  const auto it = pools_.find(pool);
  if (it == pools_.end()) {
    close(fd);
    return;
  }
  it->second->AddClient(fd);
  if (draining_) it->second->Drain(/*force=*/false);
}

void Worker::Drain(bool force) {
  for (auto& [name, pool] : pools_) pool->Drain(force);
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

void Worker::HoldErrors(const std::string& pool, std::vector<Fragment*> fragments,
                        metrics::ErrorKind kind, std::string text) {
  if (fragments.empty()) return;
  held_.push_back({pool, std::move(fragments), kind, std::move(text),
                   loop_.now_ns() + kHoldMs * base::kNsPerMs});
  const int64_t until = held_.back().until_ns;
  if (tick_.at_ns() > until) tick_.SetAt(until);
}

// Those of one pool; of all pools, when it is null.
void Worker::ReleaseHeld(const std::string* pool) {
  std::vector<Held> release;
  for (Held& held : held_) {
    if (pool == nullptr || held.pool == *pool) release.push_back(std::move(held));
  }
  std::erase_if(held_, [](const Held& held) { return held.fragments.empty(); });
  for (Held& held : release) {
    LocalPool& local = *pools_.at(held.pool);
    for (Fragment* fragment : held.fragments) {
      FailPart(local, fragment, held.kind, held.text);
      ReleasePart(local, fragment);
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
  const bool overdue = std::any_of(held_.begin(), held_.end(),
                                   [now](const Held& held) { return held.until_ns <= now; });
  if (overdue) ReleaseHeld(nullptr);
  arena_.GiveBack(kSlabsPerTick, 0);
  TrimHeap();
  tick_.SetAfterMs(kTickMs);
}

}  // namespace cashew::proxy

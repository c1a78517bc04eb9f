#include "pkg/rpc/watch_hub.h"

#include <algorithm>
#include <pthread.h>

#include "fmt/format.h"

#include "pkg/base/log.h"
#include "pkg/rpc/convert.h"
#include "pkg/rpc/status.h"

namespace cashew::rpc {
namespace {

// Differences that one update remembers. A watcher that is further behind has its own made.
constexpr size_t kMaxDifferences = 8;

using Response = membership::v1::WatchPoolResponse;

grpc::Slice Encode(const Response& response) { return grpc::Slice(response.SerializeAsString()); }

grpc::Slice EncodePool(const pool::PoolView& view) {
  Response response;
  FillPool(view, Servers::kInclude, response.mutable_pool());
  return Encode(response);
}

grpc::Slice EncodeDifference(const pool::PoolView& before, const pool::PoolView& after) {
  Response response;
  const Difference difference = Compare(before, after);
  for (const std::string& name : difference.added) response.add_added(ToText(name));
  for (const std::string& name : difference.removed) response.add_removed(ToText(name));
  for (const std::string& name : difference.changed) response.add_changed(ToText(name));
  return Encode(response);
}

// What std::condition_variable_any needs of a lock.
class Lockable {
 public:
  explicit Lockable(base::Mutex* mu) : mu_(mu) {}
  void lock() { mu_->Lock(); }
  void unlock() { mu_->Unlock(); }

 private:
  base::Mutex* const mu_;
};

}  // namespace

// ---- PoolUpdate --------------------------------------------------------------

PoolUpdate::PoolUpdate(View view) : view_(std::move(view)), pool_(EncodePool(*view_)) {}

grpc::ByteBuffer PoolUpdate::Message(const View& before) const {
  if (before == nullptr) return grpc::ByteBuffer(&pool_, 1);
  const grpc::Slice parts[] = {pool_, DifferenceFrom(before)};
  return grpc::ByteBuffer(parts, 2);
}

grpc::Slice PoolUpdate::DifferenceFrom(const View& before) const {
  base::MutexLock lock(&mu_);
  for (const auto& [view, difference] : differences_) {
    if (view == before) return difference;
  }
  grpc::Slice made = EncodeDifference(*before, *view_);
  if (differences_.size() == kMaxDifferences) differences_.erase(differences_.begin());
  differences_.emplace_back(before, made);
  return made;
}

// ---- Watcher -----------------------------------------------------------------

Watcher::Watcher(std::string pool, WatchHub* hub, LongCalls* calls)
    : pool_(std::move(pool)), hub_(hub), calls_(calls) {}

Watcher* Watcher::Start(std::string pool, WatchHub* hub, LongCalls* calls) {
  auto watcher = std::make_shared<Watcher>(std::move(pool), hub, calls);
  watcher->self_ = watcher;
  if (absl::Status admitted = calls->Admit(watcher); !admitted.ok()) {
    watcher->End(admitted);
  } else {
    hub->Add(watcher);
  }
  return watcher.get();
}

void Watcher::Offer(const std::shared_ptr<const PoolUpdate>& update) {
  base::MutexLock lock(&mu_);
  if (update->view() == sent_) return;
  next_ = update;
  SendNext();
}

void Watcher::SendNext() {
  if (ended_ || writing_ || next_ == nullptr) return;
  message_ = next_->Message(sent_);
  sent_ = next_->view();
  next_.reset();
  writing_ = true;
  StartWrite(&message_);
}

void Watcher::OnWriteDone(bool ok) {
  {
    base::MutexLock lock(&mu_);
    writing_ = false;
    if (ok) SendNext();
  }
  if (!ok) End(absl::CancelledError("the watch broke"));
}

void Watcher::End(const absl::Status& status) {
  {
    base::MutexLock lock(&mu_);
    if (std::exchange(ended_, true)) return;
    next_.reset();
  }
  Finish(ToGrpc(status));
}

void Watcher::OnCancel() { End(absl::CancelledError("the watch was cancelled")); }

void Watcher::OnDone() {
  const std::shared_ptr<Watcher> self = std::exchange(self_, nullptr);
  hub_->Remove(self);
  calls_->Remove(this);
}

// ---- WatchHub ----------------------------------------------------------------

// A pool that someone watches.
struct WatchHub::Feed {
  explicit Feed(std::string name) : pool(std::move(name)) {}

  const std::string pool;
  // With the notes' lock:
  std::unordered_set<std::shared_ptr<Watcher>> watchers;
  View latest;  // null: the backend has not called yet
  bool gone = false;
  // The hub's thread only:
  std::optional<uint64_t> watch;
  std::shared_ptr<const PoolUpdate> update;
};

// What is left for the thread to do. Shared with the backend's callbacks, which may come late.
struct WatchHub::Notes {
  void Leave(const std::shared_ptr<Feed>& feed) CASHEW_REQUIRES(mu) {
    due.insert(feed);
    changed.notify_one();
  }

  base::Mutex mu;
  std::condition_variable_any changed;
  bool stop CASHEW_GUARDED_BY(mu) = false;
  std::unordered_map<std::string, std::shared_ptr<Feed>> feeds CASHEW_GUARDED_BY(mu);
  std::unordered_set<std::shared_ptr<Feed>> due CASHEW_GUARDED_BY(mu);
};

WatchHub::WatchHub(Backend* backend)
    : backend_(backend), notes_(std::make_shared<Notes>()), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "grpc-watch");
}

WatchHub::~WatchHub() { Stop(); }

void WatchHub::Add(const std::shared_ptr<Watcher>& watcher) {
  base::MutexLock lock(&notes_->mu);
  std::shared_ptr<Feed>& feed = notes_->feeds[watcher->pool()];
  if (feed == nullptr) feed = std::make_shared<Feed>(watcher->pool());
  feed->watchers.insert(watcher);
  notes_->Leave(feed);
}

void WatchHub::Remove(const std::shared_ptr<Watcher>& watcher) {
  base::MutexLock lock(&notes_->mu);
  const auto found = notes_->feeds.find(watcher->pool());
  if (found == notes_->feeds.end()) return;
  Feed& feed = *found->second;
  if (feed.watchers.erase(watcher) == 1 && feed.watchers.empty()) notes_->Leave(found->second);
}

void WatchHub::Stop() {
  {
    base::MutexLock lock(&notes_->mu);
    notes_->stop = true;
    notes_->changed.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void WatchHub::Run() {
  std::unordered_set<std::shared_ptr<Feed>> due;
  for (;;) {
    {
      base::MutexLock lock(&notes_->mu);
      Lockable lockable(&notes_->mu);
      while (notes_->due.empty() && !notes_->stop) notes_->changed.wait(lockable);
      if (notes_->stop) break;
      due = std::exchange(notes_->due, {});
    }
    for (const std::shared_ptr<Feed>& feed : due) Serve(feed);
    due.clear();
  }
  std::unordered_map<std::string, std::shared_ptr<Feed>> feeds;
  {
    base::MutexLock lock(&notes_->mu);
    feeds.swap(notes_->feeds);
  }
  for (const auto& [name, feed] : feeds) CloseWatch(feed.get());
}

void WatchHub::Serve(const std::shared_ptr<Feed>& feed) {
  std::vector<std::shared_ptr<Watcher>> watchers;
  View latest;
  bool gone = false;
  {
    base::MutexLock lock(&notes_->mu);
    watchers.assign(feed->watchers.begin(), feed->watchers.end());
    latest = feed->latest;
    gone = feed->gone;
    // A feed that is over makes room for a new one of the same name.
    const auto found = notes_->feeds.find(feed->pool);
    const bool over = gone || watchers.empty();
    if (over && found != notes_->feeds.end() && found->second == feed) notes_->feeds.erase(found);
  }
  if (gone) {
    const absl::Status status = absl::NotFoundError(
        fmt::format("pool \"{}\" has left the configuration", base::Escape(feed->pool, 80)));
    for (const auto& watcher : watchers) watcher->End(status);
  }
  if (gone || watchers.empty()) return CloseWatch(feed.get());
  if (!feed->watch) OpenWatch(feed);
  if (latest == nullptr) return;
  if (feed->update == nullptr || feed->update->view() != latest) {
    feed->update = std::make_shared<PoolUpdate>(latest);
  }
  for (const auto& watcher : watchers) watcher->Offer(feed->update);
}

void WatchHub::OpenWatch(const std::shared_ptr<Feed>& feed) {
  const auto changed = [notes = notes_, weak = std::weak_ptr<Feed>(feed)](View view) {
    const std::shared_ptr<Feed> of = weak.lock();
    if (of == nullptr) return;
    base::MutexLock lock(&notes->mu);
    of->gone = of->gone || view == nullptr;
    of->latest = std::move(view);
    notes->Leave(of);
  };
  feed->watch = backend_->Watch(feed->pool, changed);
}

void WatchHub::CloseWatch(Feed* feed) {
  if (feed->watch) backend_->Unwatch(*feed->watch);
  feed->watch.reset();
}

}  // namespace cashew::rpc

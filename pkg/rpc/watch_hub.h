// WatchPool for many: one watch of the backend per pool, one encoding per change, however many
// clients look.
#pragma once

#include <condition_variable>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"

#include "pkg/base/mutex.h"
#include "pkg/rpc/backend.h"
#include "pkg/rpc/long_calls.h"

namespace cashew::rpc {

using View = std::shared_ptr<const pool::PoolView>;

// A pool at one moment, encoded as WatchPoolResponse. A message is the encoded pool, which all
// watchers share, followed by the names that differ from what that watcher got last: two parts
// of one protocol buffer may simply be joined. Thread-safe.
class PoolUpdate {
 public:
  explicit PoolUpdate(View view);

  const View& view() const { return view_; }
  // `before` is what the receiver has; null for its first message.
  grpc::ByteBuffer Message(const View& before) const;

 private:
  grpc::Slice DifferenceFrom(const View& before) const;

  const View view_;
  const grpc::Slice pool_;
  mutable base::Mutex mu_;
  // Most watchers are in step, so few differences serve them all. Oldest first.
  mutable std::vector<std::pair<View, grpc::Slice>> differences_ CASHEW_GUARDED_BY(mu_);
};

class WatchHub;

// One WatchPool call. At most one message is on its way; what changes meanwhile is one change
// when the next can go. Belongs to gRPC until OnDone; the hub holds a reference.
class Watcher final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                      public LongCall,
                      public std::enable_shared_from_this<Watcher> {
 public:
  // All arguments outlive the call.
  static Watcher* Start(std::string pool, WatchHub* hub, LongCalls* calls);
  Watcher(std::string pool, WatchHub* hub, LongCalls* calls);

  // The pool is now like this.
  void Offer(const std::shared_ptr<const PoolUpdate>& update);
  void End(const absl::Status& status) override;

  const std::string& pool() const { return pool_; }

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void SendNext() CASHEW_REQUIRES(mu_);

  const std::string pool_;
  WatchHub* const hub_;
  LongCalls* const calls_;
  std::shared_ptr<Watcher> self_;  // until OnDone

  base::Mutex mu_;
  bool ended_ CASHEW_GUARDED_BY(mu_) = false;
  bool writing_ CASHEW_GUARDED_BY(mu_) = false;
  std::shared_ptr<const PoolUpdate> next_ CASHEW_GUARDED_BY(mu_);  // null: nothing new
  View sent_ CASHEW_GUARDED_BY(mu_);
  grpc::ByteBuffer message_;  // gRPC's while writing_
};

// Brings the backend's views to the watchers, on a thread of its own, so that the thread on
// which the backend reports a change only leaves a note. That thread alone calls Watch and
// Unwatch. Thread-safe.
class WatchHub {
 public:
  explicit WatchHub(Backend* backend);
  ~WatchHub();  // as Stop()

  void Add(const std::shared_ptr<Watcher>& watcher);
  void Remove(const std::shared_ptr<Watcher>& watcher);
  // Ends the thread and every watch of the backend. Watchers get nothing more.
  void Stop();

 private:
  struct Feed;
  struct Notes;

  void Run();
  void Serve(const std::shared_ptr<Feed>& feed);
  void OpenWatch(const std::shared_ptr<Feed>& feed);
  void CloseWatch(Feed* feed);

  Backend* const backend_;
  const std::shared_ptr<Notes> notes_;
  std::thread thread_;
};

}  // namespace cashew::rpc

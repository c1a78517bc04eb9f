#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "pkg/base/mutex.h"
#include "pkg/state/directory.h"
#include "pkg/state/record.h"

// The last good server list of each pool, in a directory: what a proxy starts with until its
// updater speaks to it again.
//
//   absl::StatusOr<std::unique_ptr<Store>> store = Store::Open("/var/lib/cashew");
//   absl::StatusOr<std::optional<PoolRecord>> last = (*store)->Load("cache");
//   (*store)->Save("cache", record);  // returns at once
//
// A file is written under another name, synced and renamed: whenever the process or the machine
// dies, the old or the new record is there, whole, and nothing is to be cleaned up by hand.
// A file that cannot be trusted is set aside and never used.

namespace cashew::state {

class Store {
 public:
  // For a metric and for people.
  struct Report {
    absl::Status status;    // of the last attempt to write; its message names the pool
    int64_t saved_us = 0;   // wall clock of the last write that succeeded; 0: none since Open
    int64_t pending = 0;    // pools whose latest record is not on disk yet
    uint64_t failures = 0;  // attempts that failed, since Open
  };

  // What Directory::Open refuses is refused. Removes what an interrupted write left. Starts a
  // thread: call after the process's last fork. The directory is opened and checked anew at
  // each write, so one that is replaced meanwhile is either sound or not used. `hook` is for
  // crash tests and is called on that thread.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& dir, StepHook hook = {});

  // Makes one attempt to write what is pending and logs what could not be written.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // The pool's last record, be it on disk already or not; nullopt: there is none. A file that
  // is torn, altered, of another pool or format, invalid, too large, not regular or not ours
  // becomes FILE.bad-1 (few are kept), is logged, and counts as none. An error is one of the
  // machine's (EIO, no descriptors); the file stays where it is. Reads the disk, and may wait
  // for a write: any thread, but meant for start-up.
  absl::StatusOr<std::optional<PoolRecord>> Load(const std::string& pool);

  // Never waits for the disk: replaces what is pending for this pool, and the writer's thread
  // does the rest. What fails is tried again after 100 ms, then ever later up to 30 s. A record
  // that cannot be encoded (see Encode) is dropped, logged and reported: the old one stays.
  // Any thread.
  void Save(const std::string& pool, PoolRecord record);

  // Forgets the pool; for the rest as Save.
  void Remove(const std::string& pool);

  // Returns when what was saved before the call is on disk, or could not be put there in an
  // attempt made after the call: then that attempt's error. Any thread but the writer's.
  absl::Status Flush();

  Report report() const;

 private:
  using Wish = std::shared_ptr<const PoolRecord>;  // null: no file

  struct Pending {
    Wish wish;
    uint64_t number = 0;  // tells a wish from a later one for the same pool
  };

  Store(std::string dir, StepHook hook);

  void Enqueue(const std::string& pool, Wish wish);
  // The writer's thread.
  void Run();
  bool WaitForWork();  // false: time to end
  absl::Status WritePending();
  absl::Status Fulfil(const std::string& pool, const Wish& wish);
  void EndPass(uint64_t pass, const absl::Status& status);

  const std::string dir_;
  const StepHook hook_;

  // Held over each read or write of the directory, so that Load never sets aside what was just
  // renamed into place. Taken before mu_.
  base::Mutex disk_mu_;

  mutable base::Mutex mu_;
  std::condition_variable_any changed_;
  std::map<std::string, Pending> pending_ CASHEW_GUARDED_BY(mu_);
  Report report_ CASHEW_GUARDED_BY(mu_);  // `pending` is filled in by report()
  uint64_t last_number_ CASHEW_GUARDED_BY(mu_) = 0;
  uint64_t passes_wanted_ CASHEW_GUARDED_BY(mu_) = 0;  // Flush waits until as many are done
  uint64_t passes_done_ CASHEW_GUARDED_BY(mu_) = 0;
  bool stopping_ CASHEW_GUARDED_BY(mu_) = false;
  int64_t retry_ms_ CASHEW_GUARDED_BY(mu_) = 0;  // 0: the last pass failed in nothing
  int64_t retry_at_ns_ CASHEW_GUARDED_BY(mu_) = 0;

  std::thread writer_;
};

}  // namespace cashew::state

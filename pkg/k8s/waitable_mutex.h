#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>

#include "pkg/base/mutex.h"

namespace cashew::k8s {

// A base::Mutex together with its condition, for the few threads here that wait for either a
// change or a time. Every method but NotifyAll() needs the mutex held.
class WaitableMutex {
 public:
  base::Mutex& mutex() { return mutex_; }

  void Wait() { changed_.wait(lockable_); }
  // Returns early when notified, and now and then for no reason: callers loop.
  void WaitMs(int64_t ms) { changed_.wait_for(lockable_, std::chrono::milliseconds(ms)); }
  void NotifyAll() { changed_.notify_all(); }

 private:
  // base::Mutex as std::condition_variable_any takes it.
  struct Lockable {
    base::Mutex& mutex;
    void lock() { mutex.Lock(); }
    void unlock() { mutex.Unlock(); }
  };

  base::Mutex mutex_;
  Lockable lockable_{mutex_};
  std::condition_variable_any changed_;
};

}  // namespace cashew::k8s

#pragma once

#include <mutex>

// Clang's thread-safety annotations; nothing for other compilers.
#if defined(__clang__)
#define CASHEW_TSA(x) __attribute__((x))
#else
#define CASHEW_TSA(x)
#endif
#define CASHEW_GUARDED_BY(m) CASHEW_TSA(guarded_by(m))
#define CASHEW_REQUIRES(m) CASHEW_TSA(requires_capability(m))

namespace cashew::base {

// std::mutex with annotations. Locks exist in the control plane only: the data
// path takes none. (Debian's absl::Mutex is built without TSan's annotations, so
// a race behind it would go unseen.)
class CASHEW_TSA(capability("mutex")) Mutex {
 public:
  void Lock() CASHEW_TSA(acquire_capability()) { mu_.lock(); }
  void Unlock() CASHEW_TSA(release_capability()) { mu_.unlock(); }

  // For std::condition_variable_any, which waits with it held.
  void lock() CASHEW_TSA(acquire_capability()) { Lock(); }
  void unlock() CASHEW_TSA(release_capability()) { Unlock(); }

 private:
  std::mutex mu_;
};

class CASHEW_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex* mu) CASHEW_TSA(acquire_capability(mu)) : mu_(mu) { mu_->Lock(); }
  ~MutexLock() CASHEW_TSA(release_capability()) { mu_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mu_;
};

}  // namespace cashew::base

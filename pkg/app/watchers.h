#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "pkg/base/mutex.h"
#include "pkg/pool/membership.h"

namespace cashew::app {

// Who wants to hear of a pool's changes. Add and Remove: any thread. Notify: one thread, on
// which the functions are called.
class Watchers {
 public:
  using Changed = std::function<void(std::shared_ptr<const pool::PoolView>)>;

  uint64_t Add(const std::string& pool, Changed changed);
  void Remove(uint64_t id);
  // The pool as it is for everyone who watches it; null: it is gone, and so are they.
  void Notify(const std::string& pool, const std::shared_ptr<const pool::PoolView>& view);
  // For one who has just come.
  void NotifyOne(uint64_t id, const std::shared_ptr<const pool::PoolView>& view);

 private:
  struct Watcher {
    std::string pool;
    std::shared_ptr<const Changed> changed;
  };

  base::Mutex mu_;
  uint64_t next_ CASHEW_GUARDED_BY(mu_) = 1;
  std::map<uint64_t, Watcher> watchers_ CASHEW_GUARDED_BY(mu_);
};

}  // namespace cashew::app

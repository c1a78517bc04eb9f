#include "pkg/app/watchers.h"

#include <utility>
#include <vector>

namespace cashew::app {

uint64_t Watchers::Add(const std::string& pool, Changed changed) {
  base::MutexLock lock(&mu_);
  watchers_[next_] = {pool, std::make_shared<const Changed>(std::move(changed))};
  return next_++;
}

void Watchers::Remove(uint64_t id) {
  Watcher gone;  // destroyed after the lock: it may hold the last of something
  base::MutexLock lock(&mu_);
  const auto it = watchers_.find(id);
  if (it == watchers_.end()) return;
  gone = std::move(it->second);
  watchers_.erase(it);
}

void Watchers::Notify(const std::string& pool, const std::shared_ptr<const pool::PoolView>& view) {
  std::vector<std::shared_ptr<const Changed>> told;
  {
    base::MutexLock lock(&mu_);
    for (auto it = watchers_.begin(); it != watchers_.end();) {
      const bool concerns = it->second.pool == pool;
      if (concerns) told.push_back(it->second.changed);
      it = concerns && view == nullptr ? watchers_.erase(it) : std::next(it);
    }
  }
  for (const auto& changed : told) (*changed)(view);
}

void Watchers::NotifyOne(uint64_t id, const std::shared_ptr<const pool::PoolView>& view) {
  std::shared_ptr<const Changed> changed;
  {
    base::MutexLock lock(&mu_);
    const auto it = watchers_.find(id);
    if (it == watchers_.end()) return;
    changed = it->second.changed;
    if (view == nullptr) watchers_.erase(it);
  }
  (*changed)(view);
}

}  // namespace cashew::app

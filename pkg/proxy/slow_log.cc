#include "pkg/proxy/slow_log.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace cashew::proxy {

namespace {

bool Concerns(const std::string& pool, const pool::SlowRequest& request) {
  return pool.empty() || request.pool == pool;
}

}  // namespace

void SlowLog::Add(pool::SlowRequest request) {
  if (ring_.size() < size_) return ring_.push_back(std::move(request));
  ring_[next_] = std::move(request);
  next_ = (next_ + 1) % size_;
}

std::vector<pool::SlowRequest> SlowLog::InOrder() const {
  std::vector<pool::SlowRequest> all = ring_;
  std::rotate(all.begin(), all.begin() + static_cast<ptrdiff_t>(next_), all.end());
  return all;
}

void SlowLog::Keep(std::vector<pool::SlowRequest> oldest_first) {
  if (oldest_first.size() > size_) {
    oldest_first.erase(oldest_first.begin(), oldest_first.end() - static_cast<ptrdiff_t>(size_));
  }
  ring_ = std::move(oldest_first);
  next_ = 0;
}

void SlowLog::SetSize(size_t size) {
  if (size == size_) return;
  size_ = std::max<size_t>(1, size);
  Keep(InOrder());
}

std::vector<pool::SlowRequest> SlowLog::Read(const std::string& pool) const {
  std::vector<pool::SlowRequest> read;
  const std::vector<pool::SlowRequest> all = InOrder();
  std::copy_if(all.rbegin(), all.rend(), std::back_inserter(read),
               [&](const pool::SlowRequest& request) { return Concerns(pool, request); });
  return read;
}

void SlowLog::Clear(const std::string& pool) {
  std::vector<pool::SlowRequest> left = InOrder();
  std::erase_if(left, [&](const pool::SlowRequest& request) { return Concerns(pool, request); });
  Keep(std::move(left));
}

}  // namespace cashew::proxy

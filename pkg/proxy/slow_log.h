#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "pkg/pool/traffic.h"

namespace cashew::proxy {

// The last requests of a worker that were slow, those of all pools together; some 300 bytes
// each. Not thread-safe.
class SlowLog {
 public:
  // Keeps the newest entries that still fit. At least 1.
  void SetSize(size_t size);
  size_t size() const { return size_; }

  void Add(pool::SlowRequest request);
  // Of one pool, or of all when `pool` is empty; newest first.
  std::vector<pool::SlowRequest> Read(const std::string& pool) const;
  void Clear(const std::string& pool);

 private:
  std::vector<pool::SlowRequest> InOrder() const;
  void Keep(std::vector<pool::SlowRequest> oldest_first);

  size_t size_ = pool::kDefaultSlowLogSize;
  std::vector<pool::SlowRequest> ring_;
  size_t next_ = 0;  // when it is full: the oldest, which is overwritten next
};

}  // namespace cashew::proxy

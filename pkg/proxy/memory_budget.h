#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace cashew::proxy {

// What a client is told that is turned away for lack of memory.
inline constexpr std::string_view kOutOfMemory = "out of memory, the proxy's buffers are full";

// The bytes that all workers' buffers may hold together. Each worker's figure is a
// plain atomic that only it writes; reading them all is a few loads, done once a
// round and once per accepted connection. Thread-safe once every source is added.
class MemoryBudget {
 public:
  explicit MemoryBudget(int64_t limit_bytes) : limit_(limit_bytes) {}

  // Before any worker runs.
  void AddSource(std::function<int64_t()> bytes) { sources_.push_back(std::move(bytes)); }

  int64_t Used() const {
    int64_t used = 0;
    for (const auto& source : sources_) used += source();
    return used;
  }
  int64_t limit() const { return limit_; }
  // New connections and new large requests are refused.
  bool Scarce() const { return Used() > limit_ / 10 * 8; }
  // The largest holder is closed.
  bool Exhausted() const { return Used() > limit_; }

 private:
  const int64_t limit_;
  std::vector<std::function<int64_t()>> sources_;
};

}  // namespace cashew::proxy

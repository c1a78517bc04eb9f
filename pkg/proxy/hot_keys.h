// The keys that come most often, in memory that does not grow.
//
//   HotKeys hot(now_ns);
//   hot.Add(key, now_ns);                    // of each sampled key
//   pool::HotKeys seen = hot.Read(now_ns);   // of the last 30 to 60 seconds
//
// Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k
// Elements in Data Streams", 2005): a key that is more than 1/256 of a window's samples is
// certainly among the counters, and no count is wrong by more than that. Not thread-safe: a
// worker's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "pkg/pool/traffic.h"

namespace cashew::proxy {

// 256 counters.
class TopKeys {
 public:
  static constexpr size_t kCounters = 256;
  // memcached's longest key. Of a longer one the first bytes are kept; its length and the hash
  // of all of it tell it from others.
  static constexpr size_t kKeyBytes = 250;

  void Add(std::string_view key);
  void Clear();
  uint64_t samples() const { return samples_; }
  std::vector<pool::HotKey> Keys() const;

 private:
  size_t Find(uint64_t hash, std::string_view key) const;
  size_t Smallest();
  bool Is(size_t at, uint64_t hash, std::string_view key) const;

  size_t used_ = 0;
  uint64_t samples_ = 0;
  // No counter is below it, and none before the cursor is at it: counts only grow, so looking
  // for the smallest goes on where it stopped.
  uint64_t floor_ = 0;
  size_t cursor_ = 0;
  std::array<uint64_t, kCounters> hashes_;
  std::array<uint64_t, kCounters> counts_;
  std::array<uint64_t, kCounters> errors_;  // how much of the count another key may have had
  std::array<uint32_t, kCounters> lengths_;
  std::array<std::array<char, kKeyBytes>, kCounters> keys_;
};

class HotKeys {
 public:
  static constexpr int64_t kHalfNs = 30'000'000'000;

  explicit HotKeys(int64_t now_ns) : began_ns_(now_ns), before_ns_(now_ns) {}

  void Add(std::string_view key, int64_t now_ns) {
    Turn(now_ns);
    halves_[now_].Add(key);
  }
  // `sample` is left to the caller.
  pool::HotKeys Read(int64_t now_ns);

 private:
  void Turn(int64_t now_ns);

  // One is filled while the other is what was before.
  std::array<TopKeys, 2> halves_;
  size_t now_ = 0;
  int64_t began_ns_;   // of halves_[now_]
  int64_t before_ns_;  // of the other one
};

}  // namespace cashew::proxy

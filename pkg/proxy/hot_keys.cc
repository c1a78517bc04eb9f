#include "pkg/proxy/hot_keys.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>

namespace cashew::proxy {

namespace {

std::string_view Kept(std::string_view key) { return key.substr(0, TopKeys::kKeyBytes); }

}  // namespace

bool TopKeys::Is(size_t at, uint64_t hash, std::string_view key) const {
  return hashes_[at] == hash && lengths_[at] == key.size() &&
         memcmp(keys_[at].data(), key.data(), Kept(key).size()) == 0;
}

size_t TopKeys::Find(uint64_t hash, std::string_view key) const {
  for (size_t i = 0; i < used_; ++i) {
    if (hashes_[i] == hash && Is(i, hash, key)) return i;
  }
  return used_;
}

// REQUIRES: all counters are in use.
size_t TopKeys::Smallest() {
  for (;;) {
    for (; cursor_ < kCounters; ++cursor_) {
      if (counts_[cursor_] == floor_) return cursor_;
    }
    cursor_ = 0;
    floor_ = *std::min_element(counts_.begin(), counts_.end());
  }
}

void TopKeys::Add(std::string_view key) {
  key = key.substr(0, std::numeric_limits<uint32_t>::max());
  const uint64_t hash = std::hash<std::string_view>()(key);
  ++samples_;
  size_t at = Find(hash, key);
  if (at < used_) {
    ++counts_[at];
    return;
  }
  uint64_t before = 0;
  if (used_ < kCounters) {
    ++used_;
  } else {
    at = Smallest();
    before = counts_[at];
  }
  hashes_[at] = hash;
  counts_[at] = before + 1;
  errors_[at] = before;
  lengths_[at] = static_cast<uint32_t>(key.size());
  memcpy(keys_[at].data(), key.data(), Kept(key).size());
}

void TopKeys::Clear() {
  used_ = cursor_ = 0;
  samples_ = floor_ = 0;
}

std::vector<pool::HotKey> TopKeys::Keys() const {
  std::vector<pool::HotKey> keys;
  keys.reserve(used_);
  for (size_t i = 0; i < used_; ++i) {
    pool::HotKey key;
    key.key.assign(keys_[i].data(), std::min<size_t>(lengths_[i], kKeyBytes));
    key.key_bytes = lengths_[i];
    key.hash = hashes_[i];
    key.at_least = counts_[i] - errors_[i];
    key.at_most = counts_[i];
    keys.push_back(std::move(key));
  }
  return keys;
}

void HotKeys::Turn(int64_t now_ns) {
  const int64_t age_ns = now_ns - began_ns_;
  if (age_ns < kHalfNs) return;
  now_ = 1 - now_;
  halves_[now_].Clear();
  before_ns_ = began_ns_;
  began_ns_ = now_ns;
  if (age_ns < 2 * kHalfNs) return;
  // Nothing came for a whole half: what was before is too old.
  halves_[1 - now_].Clear();
  before_ns_ = now_ns;
}

pool::HotKeys HotKeys::Read(int64_t now_ns) {
  Turn(now_ns);
  std::vector<pool::HotKeys> parts(2);
  for (size_t i = 0; i < 2; ++i) {
    parts[i].samples = halves_[i].samples();
    parts[i].keys = halves_[i].Keys();
  }
  pool::HotKeys seen = pool::MergeHotKeys(parts, 2 * TopKeys::kCounters);
  seen.window_ns = now_ns - before_ns_;
  return seen;
}

}  // namespace cashew::proxy

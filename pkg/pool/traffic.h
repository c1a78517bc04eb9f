// What a proxy noticed of a pool's requests, when it was told to look: keys that come often,
// requests that took long. Plain data; the data path (pkg/proxy) makes it, gRPC shows it.
//
// Keys are other people's data: they are kept only while a pool asks for it, and are shown
// through the administration service alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cashew::pool {

// Entries of the slow log: as many as each worker keeps, and as many as are shown.
inline constexpr int64_t kDefaultSlowLogSize = 128;
// Of a key, in the slow log and the access log.
inline constexpr size_t kShownKeyBytes = 64;

struct HotKey {
  std::string key;         // its first bytes, as many as are kept
  uint32_t key_bytes = 0;  // of the whole key
  uint64_t hash = 0;       // of the whole key
  uint64_t at_least = 0;   // samples that were this key for certain
  uint64_t at_most = 0;    // … with those of keys whose counter it took over
};

struct HotKeys {
  int64_t sample = 0;     // one key in so many is looked at; 0: off
  int64_t window_ns = 0;  // how far back it goes
  uint64_t samples = 0;   // within the window
  std::vector<HotKey> keys;
};

// What several workers saw of one pool, as one: the surest first, `limit` of them.
HotKeys MergeHotKeys(const std::vector<HotKeys>& parts, size_t limit);

// A request that reached the pool's threshold. `queued_ns`, `server_ns` and `held_ns` follow
// each other and add up to `total_ns`; of a request in parts they are those of its last one.
struct SlowRequest {
  int64_t at_us = 0;  // wall clock, when it ended
  std::string pool;
  std::string server;   // empty: none was asked
  std::string command;  // as the client wrote it; empty: no word
  std::string key;      // the first one, as ShownKey
  uint32_t keys = 0;
  uint32_t parts = 0;     // servers asked; a request of several keys may ask one twice
  int64_t queued_ns = 0;  // read from the client → written to the server
  int64_t server_ns = 0;  // … → answered, or given up
  int64_t held_ns = 0;    // … → handed to its client, behind earlier replies
  int64_t total_ns = 0;
  uint64_t request_bytes = 0;
  uint64_t reply_bytes = 0;
  std::string outcome;  // "ok", "client_left", or a kind of client_errors_total
};

// The newest `limit` of what several workers kept, newest first.
std::vector<SlowRequest> MergeSlow(std::vector<std::vector<SlowRequest>> parts, size_t limit);

// A key for people: printable ASCII as it is, `\` as `\\`, anything else, a quote included, as
// \xNN; `...(N more)` when `prefix` is not all of its `bytes`.
std::string ShownKey(std::string_view prefix, size_t bytes);

}  // namespace cashew::pool

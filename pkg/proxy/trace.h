#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "pkg/metrics/rows.h"
#include "pkg/pool/traffic.h"

namespace cashew::proxy {

// What is remembered of one request for the slow log and the access log. Only requests of
// pools that ask for one of them have it; it comes from the worker's slabs.
struct Trace {
  bool access = false;        // the access log shows it
  bool sent = false;          // its last part was written to a server
  uint8_t command_bytes = 0;  // of `command`
  uint8_t key_kept = 0;       // of `key`
  std::array<char, 24> command;
  std::array<char, pool::kShownKeyBytes> key;  // the first bytes of its first key
  uint32_t key_bytes = 0;                      // of the whole key
  uint32_t keys = 0;
  std::string_view error;      // a label of client_errors_total; empty: none of the proxy's own
  uint64_t request_bytes = 0;  // as its client sent it
  uint64_t reply_bytes = 0;    // given to its client
  // Of the part that left a server's queue last; until one has, of the one that was queued last.
  std::shared_ptr<const std::string> server;
  int64_t sent_ns = 0;             // when `sent`
  int64_t left_ns = 0;             // 0: none has left yet
  const void* snapshot = nullptr;  // the pool's when it was routed; to compare, not to look at
};

inline std::string_view LabelOf(metrics::ErrorKind kind) {
  return metrics::kErrorLabels[static_cast<size_t>(kind)].label;
}

}  // namespace cashew::proxy

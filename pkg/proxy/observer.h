#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "pkg/net/buffer.h"
#include "pkg/pool/snapshot.h"
#include "pkg/pool/traffic.h"
#include "pkg/protocol/codec.h"
#include "pkg/proxy/hot_keys.h"
#include "pkg/proxy/request.h"
#include "pkg/proxy/sampler.h"

namespace cashew::proxy {

class LocalPool;
class Worker;

// What one worker notices of a pool's requests: keys that come often, requests that take long,
// and the access log. A pool that asks for none of them has no observer, and its requests no
// trace: then each stage below costs one branch. Worker thread only.
class Observer {
 public:
  explicit Observer(LocalPool* pool);
  ~Observer();
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  static bool Wanted(const pool::Settings& settings) {
    return settings.hot_keys_sample > 0 || settings.slow_log_ms > 0 ||
           settings.access_log_sample > 0;
  }
  void Adopt(const pool::Settings& settings);

  // The bytes of the request that OnRequest is called with next; they stay until it returns.
  void set_message(std::string_view message) { message_ = message; }
  // A request was parsed, and goes on its way next.
  void OnRequest(Request* request, const protocol::Command& command);
  // It was answered, or its client left before. Its trace ends with this.
  void OnEnd(Request* request, bool client_left);

  pool::HotKeys ReadHotKeys();

 private:
  void StartHotKeys();
  void StopHotKeys();
  void CountKeys(const protocol::Command& command);
  void Begin(Request* request, const protocol::Command& command);
  void TraceUnderWay(const Request& request) const;
  pool::SlowRequest Describe(const Request& request, bool client_left) const;

  LocalPool* const pool_;
  Worker& worker_;
  Sampler hot_;
  Sampler access_;
  int64_t slow_ns_ = 0;  // 0: nothing is slow
  std::string_view message_;
  // In a chunk of the worker's, so that it counts like a buffer. Null: off.
  net::Chunk* hot_keys_memory_ = nullptr;
  HotKeys* hot_keys_ = nullptr;
};

// A part of a traced request left a server's queue: answered, or given up.
void TracePart(const Fragment& fragment, const std::shared_ptr<const std::string>& server,
               int64_t now_ns);

}  // namespace cashew::proxy

// The calls that last: update streams and watches. Counted, so that their number is bounded,
// and ended together when the server stops; gRPC would wait for each of them.
#pragma once

#include <cstddef>
#include <memory>
#include <unordered_map>

#include "absl/status/status.h"

#include "pkg/base/mutex.h"

namespace cashew::rpc {

class LongCall {
 public:
  virtual ~LongCall() = default;
  // Ends the call with this status unless it has ended. Any thread.
  virtual void End(const absl::Status& status) = 0;
};

// Thread-safe. A call is admitted when it starts and removed in its OnDone.
class LongCalls {
 public:
  explicit LongCalls(size_t limit) : limit_(limit) {}

  // RESOURCE_EXHAUSTED: there are as many as may be. UNAVAILABLE: EndAll was called.
  absl::Status Admit(const std::shared_ptr<LongCall>& call);
  void Remove(LongCall* call);

  // Ends all, and admits no more.
  void EndAll(const absl::Status& status);

 private:
  const size_t limit_;
  base::Mutex mu_;
  bool closed_ CASHEW_GUARDED_BY(mu_) = false;
  std::unordered_map<LongCall*, std::shared_ptr<LongCall>> calls_ CASHEW_GUARDED_BY(mu_);
};

}  // namespace cashew::rpc

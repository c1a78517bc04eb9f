#include "pkg/rpc/long_calls.h"

#include <utility>

#include "fmt/format.h"

namespace cashew::rpc {

absl::Status LongCalls::Admit(const std::shared_ptr<LongCall>& call) {
  base::MutexLock lock(&mu_);
  if (closed_) return absl::UnavailableError("the proxy is stopping");
  if (calls_.size() >= limit_) {
    return absl::ResourceExhaustedError(
        fmt::format("there are {} streams and watches already, as many as may be", calls_.size()));
  }
  calls_.emplace(call.get(), call);
  return absl::OkStatus();
}

void LongCalls::Remove(LongCall* call) {
  std::shared_ptr<LongCall> removed;  // let go without the lock
  base::MutexLock lock(&mu_);
  const auto found = calls_.find(call);
  if (found == calls_.end()) return;
  removed = std::move(found->second);
  calls_.erase(found);
}

void LongCalls::EndAll(const absl::Status& status) {
  std::unordered_map<LongCall*, std::shared_ptr<LongCall>> calls;
  {
    base::MutexLock lock(&mu_);
    closed_ = true;
    calls = calls_;
  }
  for (const auto& [key, call] : calls) call->End(status);
}

}  // namespace cashew::rpc

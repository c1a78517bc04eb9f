#include "pkg/net/crowd.h"

#include "pkg/base/clock.h"

namespace cashew::net {
namespace {

constexpr int64_t kWindowNs = 10 * base::kNsPerMs;
constexpr uint32_t kManySockets = 32;
// Below this rate a nap would seldom see anybody arrive.
constexpr int64_t kManyEventsPerMs = 30;

}  // namespace

void Crowd::EndRound(int64_t now_ns) {
  const int64_t elapsed_ns = now_ns - began_ns_;
  if (elapsed_ns < kWindowNs) return;
  busy_ = sockets_ >= kManySockets && events_ * base::kNsPerMs >= kManyEventsPerMs * elapsed_ns;
  began_ns_ = now_ns;
  events_ = 0;
  sockets_ = 0;
  ++window_;
}

}  // namespace cashew::net

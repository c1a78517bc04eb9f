#include "pkg/base/clock.h"

#include <time.h>

namespace cashew::base {
namespace {

int64_t Read(clockid_t id) {
  timespec ts;
  clock_gettime(id, &ts);
  return int64_t{ts.tv_sec} * kNsPerSec + ts.tv_nsec;
}

class SystemClock : public Clock {
 public:
  int64_t NowNs() const override { return Read(CLOCK_MONOTONIC); }
  int64_t WallUs() const override { return Read(CLOCK_REALTIME) / 1000; }
};

}  // namespace

const Clock& RealClock() {
  static const SystemClock* const clock = new SystemClock;
  return *clock;
}

}  // namespace cashew::base

#pragma once

#include <cstdint>
#include <functional>

#include "absl/time/time.h"

namespace cashew::ctl {

// Waits for the end of a proxy that is about to stop. Made before it is told to, so that
// its pid still means it: where the process can be seen from here the kernel tells of its end,
// elsewhere (another machine, another container) the address is asked until it is gone.
class ProcessWait {
 public:
  explicit ProcessWait(int64_t pid);
  ~ProcessWait();

  ProcessWait(const ProcessWait&) = delete;
  ProcessWait& operator=(const ProcessWait&) = delete;

  int64_t pid() const { return pid_; }

  // False: the time is over. `answering` gives the pid of whoever answers at the address, 0 for
  // nobody.
  bool UntilGone(absl::Time deadline, const std::function<int64_t()>& answering) const;

 private:
  const int64_t pid_;
  int pidfd_ = -1;  // -1: the process cannot be seen from here
};

}  // namespace cashew::ctl

#include "cmd/cashewctl/process_wait.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <poll.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/time/clock.h"
#include "fmt/format.h"

namespace cashew::ctl {
namespace {

constexpr absl::Duration kAskEvery = absl::Milliseconds(100);

// In another pid namespace the number may be a stranger's.
bool IsProxy(int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/comm", pid));
  std::string name;
  std::getline(file, name);
  return name == "cashew" || name == "nutcracker";
}

}  // namespace

ProcessWait::ProcessWait(int64_t pid) : pid_(pid) {
  if (pid <= 0 || pid > std::numeric_limits<pid_t>::max()) return;
  const auto fd = static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0U));
  if (fd >= 0 && IsProxy(pid)) {
    pidfd_ = fd;
  } else if (fd >= 0) {
    close(fd);
  }
}

ProcessWait::~ProcessWait() {
  if (pidfd_ >= 0) close(pidfd_);
}

bool ProcessWait::UntilGone(absl::Time deadline, const std::function<int64_t()>& answering) const {
  while (absl::Now() < deadline) {
    if (pidfd_ >= 0) {
      const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
      pollfd end = {pidfd_, POLLIN, 0};
      const auto wait = static_cast<int>(std::clamp<int64_t>(left, 0, 1'000'000));
      if (poll(&end, 1, wait) == 1) return true;
    } else {
      if (answering() != pid_) return true;
      absl::SleepFor(std::min(kAskEvery, deadline - absl::Now()));
    }
  }
  return false;
}

}  // namespace cashew::ctl

#include "pkg/app/systemd.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fmt/format.h"

namespace cashew::app {
namespace {

constexpr int kFirstActivationFd = 3;
constexpr int kMaxActivationFds = 1024;

}  // namespace

void NotifyServiceManager(const std::string& state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t length = strlen(path);
  if (length >= sizeof address.sun_path) return;
  memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';  // the abstract name space
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  // Nobody waits for it, and a manager that does not listen is no reason to stop.
  [[maybe_unused]] const ssize_t n = sendto(
      fd, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
  close(fd);
}

std::string MonotonicUsec() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return fmt::format("{}", int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000);
}

std::vector<int> TakeActivationSockets() {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  std::vector<int> fds;
  if (pid != nullptr && count != nullptr && atoi(pid) == getpid()) {
    const int n = std::clamp(atoi(count), 0, kMaxActivationFds);
    for (int fd = kFirstActivationFd; fd < kFirstActivationFd + n; ++fd) {
      fcntl(fd, F_SETFD, FD_CLOEXEC);
      fds.push_back(fd);
    }
  }
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(name);
  return fds;
}

}  // namespace cashew::app

#pragma once

#include <absl/status/statusor.h>
#include <string>
#include <utility>

namespace cashew::admin {

// Owns a file descriptor; -1 is none.
class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_;
};

// Where the ports of this module listen.
struct ListenOptions {
  // host:port, [v6]:port or :port. A name is resolved; port 0 takes a free one.
  std::string address = {};
  // A socket that listens already (upgrade, socket activation), used instead.
  int adopted_fd = -1;
};

// A non-blocking, close-on-exec TCP socket that listens. An error names the
// address and says why. An adopted descriptor belongs to the result, also on error.
absl::StatusOr<UniqueFd> Listen(const ListenOptions& options);

// Sets how much the kernel may hold for a client that does not read. Left to itself
// it takes megabytes for each, and filling them keeps those who do read waiting.
void BoundSendBuffer(int fd);

// The port a socket is bound to; 0 if it is not a TCP socket.
int BoundPort(int fd);

}  // namespace cashew::admin

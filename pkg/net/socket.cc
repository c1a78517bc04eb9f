#include "pkg/net/socket.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fmt/format.h"

namespace cashew::net {
namespace {

absl::Status Errno(std::string_view what, const SocketAddress& address) {
  return absl::UnavailableError(
      fmt::format("cannot {} {}: {}", what, address.ToString(), strerror(errno)));
}

// A socket file left behind by a process that is gone may be replaced; a live
// one, or a file of another kind, may not.
absl::Status ClearStaleSocket(const SocketAddress& address) {
  const char* path = reinterpret_cast<const sockaddr_un*>(&address.storage)->sun_path;
  struct stat st;
  if (lstat(path, &st) != 0) return absl::OkStatus();
  if (!S_ISSOCK(st.st_mode)) {
    return absl::AlreadyExistsError(
        fmt::format("cannot listen on {}: a file that is not a socket is there", path));
  }
  // Only a refusal says that nobody is there; a full queue, say, is a live listener's.
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const bool stale = fd >= 0 && connect(fd, address.get(), address.length) != 0 &&
                     (errno == ECONNREFUSED || errno == ENOENT);
  if (fd >= 0) close(fd);
  if (!stale) {
    return absl::AlreadyExistsError(
        fmt::format("cannot listen on {}: another process is listening there", path));
  }
  unlink(path);
  return absl::OkStatus();
}

}  // namespace

std::string SocketAddress::ToString() const {
  char text[INET6_ADDRSTRLEN] = "";
  switch (length == 0 ? AF_UNSPEC : family()) {
    case AF_INET: {
      const auto* in = reinterpret_cast<const sockaddr_in*>(&storage);
      inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
      return fmt::format("{}:{}", text, ntohs(in->sin_port));
    }
    case AF_INET6: {
      const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&storage);
      inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
      return fmt::format("[{}]:{}", text, ntohs(in6->sin6_port));
    }
    case AF_UNIX:
      return reinterpret_cast<const sockaddr_un*>(&storage)->sun_path;
    default:
      return "";
  }
}

bool SocketAddress::operator==(const SocketAddress& other) const {
  return length == other.length && memcmp(&storage, &other.storage, length) == 0;
}

absl::StatusOr<SocketAddress> Resolve(const std::string& host, uint16_t port, bool passive) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0);
  addrinfo* found = nullptr;
  const std::string service = fmt::format("{}", port);
  const int rc = getaddrinfo(host.c_str(), service.c_str(), &hints, &found);
  if (rc != 0) {
    return absl::NotFoundError(
        fmt::format("cannot resolve {}:{}: {}", host, port, gai_strerror(rc)));
  }
  SocketAddress address;
  memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.length = found->ai_addrlen;
  freeaddrinfo(found);
  return address;
}

absl::StatusOr<SocketAddress> UnixAddress(const std::string& path) {
  if (path.empty()) return absl::InvalidArgumentError("unix socket path is empty");
  SocketAddress address;
  auto* un = reinterpret_cast<sockaddr_un*>(&address.storage);
  if (path.size() >= sizeof un->sun_path) {
    return absl::InvalidArgumentError(
        fmt::format("unix socket path {} is longer than {} bytes", path, sizeof un->sun_path - 1));
  }
  un->sun_family = AF_UNIX;
  memcpy(un->sun_path, path.c_str(), path.size() + 1);
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return address;
}

absl::StatusOr<int> Listen(const SocketAddress& address, const ListenOptions& options) {
  const bool is_unix = address.family() == AF_UNIX;
  if (is_unix) {
    if (auto status = ClearStaleSocket(address); !status.ok()) return status;
  }
  const int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Errno("create a socket for", address);
  const int one = 1;
  if (!is_unix) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (options.reuse_port) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  absl::Status status;
  if (bind(fd, address.get(), address.length) != 0) {
    status = Errno("listen on", address);
  } else if (is_unix && options.unix_mode != 0 &&
             chmod(reinterpret_cast<const sockaddr_un*>(&address.storage)->sun_path,
                   options.unix_mode) != 0) {
    status = Errno("set the permissions of", address);
  } else if (listen(fd, options.backlog) != 0) {
    status = Errno("listen on", address);
  }
  if (status.ok()) return fd;
  close(fd);
  return status;
}

int StartConnect(const SocketAddress& address) {
  const int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (address.family() != AF_UNIX) SetNoDelay(fd);
  if (connect(fd, address.get(), address.length) == 0 || errno == EINPROGRESS) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int SocketError(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

void SetNoDelay(int fd) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

void SetKeepAlive(int fd) {
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

}  // namespace cashew::net

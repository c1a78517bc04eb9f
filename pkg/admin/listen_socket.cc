#include "pkg/admin/listen_socket.h"

#include <absl/status/status.h>
#include <arpa/inet.h>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>

namespace cashew::admin {
namespace {

constexpr int kBacklog = SOMAXCONN;  // a full backlog costs a client a second: its SYN is dropped

constexpr int kSendBuffer = 64 * 1024;  // the kernel doubles it

struct HostPort {
  std::string host;  // empty: all addresses
  std::string port;
};

absl::StatusOr<HostPort> ParseAddress(const std::string& address) {
  const auto invalid = [&](std::string_view what) {
    return absl::InvalidArgumentError(fmt::format("cannot listen on \"{}\": {}", address, what));
  };
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return invalid("not of the form host:port");
  HostPort parsed{address.substr(0, colon), address.substr(colon + 1)};
  if (parsed.host.size() >= 2 && parsed.host.front() == '[' && parsed.host.back() == ']') {
    parsed.host = parsed.host.substr(1, parsed.host.size() - 2);
  }
  int port = -1;
  const char* end = parsed.port.data() + parsed.port.size();
  const auto [stop, error] = std::from_chars(parsed.port.data(), end, port);
  if (error != std::errc() || stop != end || port < 0 || port > 65535) {
    return invalid("the port is not a number from 0 to 65535");
  }
  return parsed;
}

// errno's text, with what was attempted.
absl::Status CannotListen(const std::string& address, int error) {
  return absl::ErrnoToStatus(error, fmt::format("cannot listen on {}", address));
}

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<AddressList> Resolve(const std::string& address, const HostPort& target) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(target.host.empty() ? nullptr : target.host.c_str(),
                                target.port.c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(
        fmt::format("cannot listen on {}: {}", address, gai_strerror(error)));
  }
  return AddressList(found, &freeaddrinfo);
}

// The listening socket, or none with errno set.
UniqueFd TryListen(const addrinfo& where) {
  UniqueFd fd(socket(where.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return UniqueFd();
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd.get(), where.ai_addr, where.ai_addrlen) == 0 && listen(fd.get(), kBacklog) == 0) {
    return fd;
  }
  const int error = errno;
  fd.reset();
  errno = error;
  return fd;
}

absl::StatusOr<UniqueFd> Adopt(UniqueFd fd) {
  int listens = 0;
  socklen_t size = sizeof(listens);
  const int got = getsockopt(fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
  if (got != 0 || listens == 0) {
    return absl::InvalidArgumentError(
        fmt::format("file descriptor {} is not a listening socket", fd.get()));
  }
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  return fd;
}

}  // namespace

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

absl::StatusOr<UniqueFd> Listen(const ListenOptions& options) {
  if (options.adopted_fd >= 0) return Adopt(UniqueFd(options.adopted_fd));
  const absl::StatusOr<HostPort> target = ParseAddress(options.address);
  if (!target.ok()) return target.status();
  const absl::StatusOr<AddressList> addresses = Resolve(options.address, *target);
  if (!addresses.ok()) return addresses.status();
  for (const addrinfo* where = addresses->get(); where != nullptr; where = where->ai_next) {
    UniqueFd fd = TryListen(*where);
    if (fd.get() >= 0) return fd;
  }
  return CannotListen(options.address, errno);
}

void BoundSendBuffer(int fd) {
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof(kSendBuffer));
}

int BoundPort(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  if (bound.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  if (bound.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port);
  return 0;
}

}  // namespace cashew::admin

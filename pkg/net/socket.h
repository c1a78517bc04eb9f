#pragma once

#include <cstdint>
#include <string>
#include <sys/socket.h>
#include <vector>

#include "absl/status/statusor.h"

namespace cashew::net {

// A socket address, any family. Plain data.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;  // 0: unknown (a name that did not resolve)

  bool known() const { return length != 0; }
  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  // "10.0.0.1:11211", "[::1]:11211", "/run/x.sock"; "" when unknown.
  std::string ToString() const;
  bool operator==(const SocketAddress& other) const;
};

// Looks `host` up (blocking; first address only, as nutcracker takes it). For
// numeric addresses nothing leaves the machine. The error names host and port.
absl::StatusOr<SocketAddress> Resolve(const std::string& host, uint16_t port, bool passive);
absl::StatusOr<SocketAddress> UnixAddress(const std::string& path);

struct ListenOptions {
  int backlog = 512;
  bool reuse_port = false;
  uint32_t unix_mode = 0;  // permissions of a unix socket; 0: as the umask says
};

// A non-blocking listening socket. A path that exists is replaced when it is a
// socket that nobody answers on, and refused otherwise. The error names the address.
absl::StatusOr<int> Listen(const SocketAddress& address, const ListenOptions& options);

// A non-blocking socket whose connect has begun. On failure, -1 and errno.
int StartConnect(const SocketAddress& address);

// The pending error of a socket (SO_ERROR), 0 for none.
int SocketError(int fd);
void SetNoDelay(int fd);
void SetKeepAlive(int fd);

}  // namespace cashew::net

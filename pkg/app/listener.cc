#include "pkg/app/listener.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/net/socket.h"

namespace cashew::app {
namespace {

absl::StatusOr<net::SocketAddress> AddressOf(const config::Address& listen) {
  if (listen.is_unix()) return net::UnixAddress(listen.unix_path);
  // nutcracker hands "*" to the resolver, which makes loopback of it.
  return net::Resolve(listen.host == "*" ? "localhost" : listen.host, listen.port,
                      /*passive=*/true);
}

ino_t InodeOf(const std::string& path) {
  struct stat status;
  return !path.empty() && stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

}  // namespace

Listener::Listener(std::string key, int fd, std::string unix_path)
    : key_(std::move(key)),
      fd_(fd),
      unix_path_(std::move(unix_path)),
      inode_(InodeOf(unix_path_)) {}

Listener::~Listener() { close(fd_); }

std::string Listener::KeyOf(const config::Pool& pool) {
  const config::Address& listen = pool.listen;
  if (listen.is_unix()) return fmt::format("{} {:o}", listen.unix_path, listen.unix_mode);
  return fmt::format("{} {} {}", listen.host, listen.port, pool.reuseport);
}

absl::StatusOr<std::shared_ptr<Listener>> Listener::Open(const config::Pool& pool) {
  auto address = AddressOf(pool.listen);
  if (!address.ok()) return address.status();
  auto fd = net::Listen(*address, {pool.backlog, pool.reuseport, pool.listen.unix_mode});
  if (!fd.ok()) return fd.status();
  return std::shared_ptr<Listener>(new Listener(KeyOf(pool), *fd, pool.listen.unix_path));
}

absl::StatusOr<std::shared_ptr<Listener>> Listener::Adopt(const config::Pool& pool, int fd) {
  int listening = 0;
  socklen_t size = sizeof listening;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0) {
    close(fd);
    return absl::InvalidArgumentError(
        fmt::format("descriptor {} is no listening socket for {}", fd, pool.listen.text));
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return std::shared_ptr<Listener>(new Listener(KeyOf(pool), fd, pool.listen.unix_path));
}

absl::StatusOr<int> Listener::Duplicate(const config::Pool& pool) const {
  const int fd = fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) {
    return absl::InternalError(fmt::format("cannot duplicate the listening socket of {}: {}",
                                           pool.listen.text, strerror(errno)));
  }
  listen(fd, pool.backlog);  // as it is now; the socket is the same
  return fd;
}

bool Listener::IsFor(const config::Pool& pool, int fd) {
  const auto wanted = AddressOf(pool.listen);
  net::SocketAddress bound;
  bound.length = sizeof bound.storage;
  if (!wanted.ok() ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.length) != 0) {
    return false;
  }
  return bound.ToString() == wanted->ToString();
}

void Listener::RemovePath() {
  if (!unix_path_.empty() && InodeOf(unix_path_) == inode_) unlink(unix_path_.c_str());
}

}  // namespace cashew::app

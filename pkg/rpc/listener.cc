#include "pkg/rpc/listener.h"

#include <absl/status/status.h>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <string_view>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/clock.h"
#include "pkg/base/log.h"

namespace cashew::rpc {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr int kBacklog = 1024;

// Between two looks at whether to stop.
constexpr int kAcceptsPerRound = 64;

// How long to let other connections end when descriptors have run out.
constexpr int kShortOfDescriptorsMs = 100;

// Unacknowledged data older than this means that the other machine is gone. Pings (server.cc)
// find those to whom nothing is sent.
constexpr unsigned kUserTimeoutMs = 35'000;

// A descriptor that is closed unless it is released.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) = delete;
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

absl::Status CannotListen(const std::string& address, std::string_view why) {
  return absl::FailedPreconditionError(fmt::format("grpc: cannot listen on {}: {}", address, why));
}

absl::Status CannotListen(const std::string& address, int error) {
  return CannotListen(address, std::string_view(strerror(error)));
}

Fd NewSocket(int family) {
  return Fd(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

// ---- unix sockets -------------------------------------------------------------

// Two processes that start at once must not each take the other's new file for a stale one.
// Held while the file is looked at and replaced. Best effort: a directory that anyone may
// lock must not keep a proxy from starting.
Fd LockDirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  Fd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int tries = 0; fd.get() >= 0 && tries < 100; ++tries) {
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) break;
    poll(nullptr, 0, 10);
  }
  return fd;
}

// Makes room at the path.
absl::Status RemoveStale(const std::string& address, const sockaddr_un& where) {
  struct stat file {};
  if (lstat(where.sun_path, &file) != 0) {
    return errno == ENOENT ? absl::OkStatus() : CannotListen(address, errno);
  }
  if (!S_ISSOCK(file.st_mode)) {
    return CannotListen(address, "there is a file of that name and it is no socket");
  }
  const Fd probe = NewSocket(AF_UNIX);
  if (probe.get() < 0) return CannotListen(address, errno);
  const auto* target = reinterpret_cast<const sockaddr*>(&where);
  if (connect(probe.get(), target, sizeof(where)) == 0 ||
      errno == EAGAIN) {  // or its queue is full
    return absl::AlreadyExistsError(fmt::format("grpc: another process serves {}", address));
  }
  if (errno == ECONNREFUSED && unlink(where.sun_path) == 0) return absl::OkStatus();
  return errno == ENOENT ? absl::OkStatus() : CannotListen(address, errno);
}

absl::StatusOr<Fd> OpenUnix(const std::string& address) {
  const std::string path = address.substr(kUnix.size());
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  if (path.empty()) return CannotListen(address, "the path is missing");
  if (path.size() >= sizeof(where.sun_path)) {
    return CannotListen(address, fmt::format("a path of {} bytes; at most {}", path.size(),
                                             sizeof(where.sun_path) - 1));
  }
  memcpy(where.sun_path, path.data(), path.size());
  const Fd lock = LockDirectoryOf(path);
  if (absl::Status status = RemoveStale(address, where); !status.ok()) return status;
  Fd fd = NewSocket(AF_UNIX);
  // Nobody can connect before listen(), so there is no moment at which a wider mode matters.
  if (fd.get() < 0 || bind(fd.get(), reinterpret_cast<sockaddr*>(&where), sizeof(where)) != 0 ||
      chmod(path.c_str(), 0600) != 0 || listen(fd.get(), kBacklog) != 0) {
    return CannotListen(address, errno);
  }
  return fd;
}

// ---- TCP ------------------------------------------------------------------------

bool IsLoopback(const sockaddr& address) {
  if (address.sa_family == AF_UNIX) return true;
  if (address.sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) ||
         (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) && v6.sin6_addr.s6_addr[12] == 127);
}

absl::Status NeedsTls(const std::string& address) {
  return absl::FailedPreconditionError(fmt::format(
      "grpc: {} is reachable from other machines and needs grpc_tls with cert, key, client_ca "
      "and allowed_sans; or use 127.0.0.1 or unix:PATH",
      address));
}

struct Target {
  std::string host;  // empty: all addresses
  std::string port;
};

absl::StatusOr<Target> ParseTarget(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) {
    return CannotListen(address, "not of the form host:port or unix:PATH");
  }
  Target target{address.substr(0, colon), address.substr(colon + 1)};
  if (target.host.starts_with('[') && target.host.ends_with(']')) {
    target.host = target.host.substr(1, target.host.size() - 2);
  }
  int port = -1;
  const char* end = target.port.data() + target.port.size();
  const auto [stop, error] = std::from_chars(target.port.data(), end, port);
  if (error != std::errc() || stop != end || port < 0 || port > 65535) {
    return CannotListen(address, "the port is not a number from 0 to 65535");
  }
  return target;
}

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<AddressList> Resolve(const std::string& address) {
  const absl::StatusOr<Target> target = ParseTarget(address);
  if (!target.ok()) return target.status();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const char* host = target->host.empty() ? nullptr : target->host.c_str();
  const int error = getaddrinfo(host, target->port.c_str(), &hints, &found);
  if (error != 0) return CannotListen(address, gai_strerror(error));
  return AddressList(found, &freeaddrinfo);
}

absl::StatusOr<Fd> OpenTcp(const std::string& address, bool loopback_only) {
  const absl::StatusOr<AddressList> addresses = Resolve(address);
  if (!addresses.ok()) return addresses.status();
  for (const addrinfo* at = addresses->get(); at != nullptr; at = at->ai_next) {
    if (loopback_only && !IsLoopback(*at->ai_addr)) return NeedsTls(address);
  }
  int error = 0;
  for (const addrinfo* at = addresses->get(); at != nullptr; at = at->ai_next) {
    Fd fd = NewSocket(at->ai_family);
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd.get() >= 0 && bind(fd.get(), at->ai_addr, at->ai_addrlen) == 0 &&
        listen(fd.get(), kBacklog) == 0) {
      return fd;
    }
    if (error == 0) error = errno;
  }
  return CannotListen(address, error);
}

// ---- a socket from another process ------------------------------------------------

absl::StatusOr<Fd> Adopt(Fd fd, const Listener::Options& options) {
  int listens = 0;
  socklen_t size = sizeof(listens);
  if (getsockopt(fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0) {
    return CannotListen(options.address,
                        fmt::format("descriptor {} is no listening socket", fd.get()));
  }
  sockaddr_storage bound{};
  size = sizeof(bound);
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &size);
  if (options.loopback_only && !IsLoopback(reinterpret_cast<const sockaddr&>(bound))) {
    return NeedsTls(options.address);
  }
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  return fd;
}

absl::StatusOr<Fd> OpenSocket(const Listener::Options& options) {
  if (options.adopted_fd >= 0) return Adopt(Fd(options.adopted_fd), options);
  if (IsUnixAddress(options.address)) return OpenUnix(options.address);
  return OpenTcp(options.address, options.loopback_only);
}

ino_t InodeOf(int fd) {
  struct stat socket {};
  return fstat(fd, &socket) == 0 ? socket.st_ino : 0;
}

// For unix sockets these do nothing.
void TuneTcp(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs, sizeof(kUserTimeoutMs));
}

}  // namespace

bool IsUnixAddress(const std::string& address) { return address.starts_with(kUnix); }

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(const Options& options) {
  absl::StatusOr<Fd> fd = OpenSocket(options);
  if (!fd.ok()) return fd.status();
  return std::unique_ptr<Listener>(new Listener(fd->Release(), options));
}

Listener::Listener(int fd, const Options& options)
    : fd_(fd), options_(options), wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  RememberFile();
}

Listener::~Listener() {
  StopAccepting();
  RemoveFile();
  close(fd_);
  close(wake_fd_);
}

void Listener::RememberFile() {
  if (!IsUnixAddress(options_.address)) return;
  path_ = options_.address.substr(kUnix.size());
  struct stat file {};
  if (lstat(path_.c_str(), &file) != 0) return;
  file_device_ = file.st_dev;
  file_inode_ = file.st_ino;
}

void Listener::RemoveFile() {
  if (path_.empty() || keep_file_) return;
  struct stat file {};
  if (lstat(path_.c_str(), &file) != 0) return;
  if (file.st_dev == file_device_ && file.st_ino == file_inode_) unlink(path_.c_str());
}

int Listener::port() const {
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return 0;
  if (bound.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  if (bound.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port);
  return 0;
}

void Listener::StartAccepting(std::function<void(int fd)> take) {
  take_ = std::move(take);
  thread_ = std::thread([this] { Run(); });
  pthread_setname_np(thread_.native_handle(), "grpc-accept");
}

void Listener::StopAccepting() {
  if (!thread_.joinable()) return;
  eventfd_write(wake_fd_, 1);
  thread_.join();
  eventfd_t ignored;
  eventfd_read(wake_fd_, &ignored);
}

void Listener::Run() {
  pollfd fds[] = {{fd_, POLLIN, 0}, {wake_fd_, POLLIN, 0}};
  for (;;) {
    if (poll(fds, 2, -1) < 0) continue;  // EINTR
    if (fds[1].revents != 0) return;
    AcceptAll();
  }
}

void Listener::AcceptAll() {
  for (int i = 0; i < kAcceptsPerRound; ++i) {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      const bool short_of_descriptors = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
      if (!short_of_descriptors) return;  // EAGAIN, or one that is gone already
      pollfd wake{wake_fd_, POLLIN, 0};
      poll(&wake, 1, kShortOfDescriptorsMs);
      return;
    }
    if (!HasRoom()) {
      LogRefused();
      close(fd);
      continue;
    }
    connections_[fd] = InodeOf(fd);
    TuneTcp(fd);
    take_(fd);
  }
}

bool Listener::HasRoom() {
  if (connections_.size() < options_.max_connections) return true;
  std::erase_if(connections_,
                [](const auto& known) { return InodeOf(known.first) != known.second; });
  return connections_.size() < options_.max_connections;
}

void Listener::LogRefused() {
  const int64_t now_ns = base::RealClock().NowNs();
  if (now_ns < next_log_ns_) return;
  next_log_ns_ = now_ns + base::kNsPerSec;
  CASHEW_LOG_WARN("grpc connections refused address={} open={}", options_.address,
                  connections_.size());
}

}  // namespace cashew::rpc

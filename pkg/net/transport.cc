#include "pkg/net/transport.h"

#include <cerrno>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace cashew::net {
namespace {

IoResult FromErrno() {
  if (errno == EAGAIN || errno == EINTR) return {IoStatus::kAgain, errno == EINTR, 0, 0};
  return {IoStatus::kError, false, errno, 0};
}

size_t Total(const iovec* iov, int count) {
  size_t n = 0;
  for (int i = 0; i < count; ++i) n += iov[i].iov_len;
  return n;
}

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(int fd) : Transport(fd) {}
  ~PlainTransport() override { close(fd_); }

  IoResult Read(const iovec* iov, int count) override {
    const ssize_t n =
        count == 1 ? recv(fd_, iov[0].iov_base, iov[0].iov_len, 0) : readv(fd_, iov, count);
    if (n < 0) return FromErrno();
    if (n == 0) return {IoStatus::kEof, false, 0, 0};
    const auto got = static_cast<size_t>(n);
    return {IoStatus::kOk, got == Total(iov, count), 0, got};
  }

  IoResult Write(const iovec* iov, int count) override {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(iov);
    message.msg_iovlen = static_cast<size_t>(count);
    const ssize_t n = count == 1 ? send(fd_, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL)
                                 : sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (n < 0) return FromErrno();
    return {IoStatus::kOk, false, 0, static_cast<size_t>(n)};
  }

  void ShutdownWrite() override { shutdown(fd_, SHUT_WR); }
};

class PlainFactory final : public TransportFactory {
 public:
  std::unique_ptr<Transport> New(int fd) const override { return NewPlainTransport(fd); }
  bool encrypted() const override { return false; }
};

}  // namespace

int64_t Transport::UnsentBytes() const {
  int bytes = 0;
  return ioctl(fd_, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

std::unique_ptr<Transport> NewPlainTransport(int fd) {
  return std::make_unique<PlainTransport>(fd);
}

std::shared_ptr<const TransportFactory> PlainTransportFactory() {
  static const auto* const factory =
      new std::shared_ptr<const TransportFactory>(std::make_shared<PlainFactory>());
  return *factory;
}

}  // namespace cashew::net

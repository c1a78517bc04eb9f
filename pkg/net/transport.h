#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <sys/uio.h>

namespace cashew::net {

enum class IoStatus : uint8_t { kOk, kAgain, kEof, kError };

struct IoResult {
  IoStatus status = IoStatus::kOk;
  // Read: more may be waiting, ask again. (A plain socket that filled less than
  // it was given is empty; TLS may hold decrypted bytes back.)
  bool more = false;
  int error = 0;     // errno, with kError
  size_t bytes = 0;  // with kOk
};

// A connection's bytes, plain or TLS. Non-blocking, one thread. Owns the
// descriptor and closes it when destroyed.
class Transport {
 public:
  virtual ~Transport() = default;

  // What must happen before data: kOk when done, kAgain to be called again when
  // the descriptor is ready, kError when it cannot be had.
  virtual IoResult Handshake() { return {}; }
  virtual IoResult Read(const iovec* iov, int count) = 0;
  virtual IoResult Write(const iovec* iov, int count) = 0;
  // Says to the peer that nothing more will come (FIN; close_notify first in TLS).
  virtual void ShutdownWrite() = 0;

  int fd() const { return fd_; }
  // Bytes written that the peer has not acknowledged yet; 0 when unknown.
  int64_t UnsentBytes() const;

 protected:
  explicit Transport(int fd) : fd_(fd) {}
  const int fd_;
};

// Over a connected (or connecting) non-blocking socket, which it takes.
std::unique_ptr<Transport> NewPlainTransport(int fd);

// Makes transports for accepted or for connecting sockets: plain, or TLS with
// its keys. Shared by threads; immutable.
class TransportFactory {
 public:
  virtual ~TransportFactory() = default;
  virtual std::unique_ptr<Transport> New(int fd) const = 0;
  virtual bool encrypted() const = 0;
  // When the certificate that is shown to peers expires, in microseconds since the
  // epoch; 0 when there is none.
  virtual int64_t certificate_expiry_us() const { return 0; }
};

std::shared_ptr<const TransportFactory> PlainTransportFactory();

}  // namespace cashew::net

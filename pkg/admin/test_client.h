#pragma once

#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>

#include "pkg/admin/listen_socket.h"

namespace cashew::admin {

// A raw TCP client for tests: shows what is on the wire, how the connection ended
// and how long that took.
class TestClient {
 public:
  explicit TestClient(int port, int receive_buffer = 0)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) {
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }

  bool connected() const { return connected_; }

  // All of it, or until the server stops taking it.
  bool Write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  // Whatever fits without waiting.
  void WriteSome(std::string_view bytes) {
    send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  // All until the server ends the connection, which must happen within `seconds`.
  std::string ReadToEnd(int seconds = 10) {
    std::string text;
    char bytes[64 * 1024];
    for (;;) {
      pollfd polled{fd_.get(), POLLIN, 0};
      if (poll(&polled, 1, seconds * 1000) != 1) {
        ADD_FAILURE() << "the server kept the connection open";
        return text;
      }
      const ssize_t n = recv(fd_.get(), bytes, sizeof(bytes), 0);
      was_reset_ = n < 0 && errno == ECONNRESET;
      if (n <= 0) return text;
      text.append(bytes, static_cast<size_t>(n));
    }
  }

  // Whether the server ended the last ReadToEnd() by a reset instead of a FIN.
  bool was_reset() const { return was_reset_; }
  void CloseWriting() { shutdown(fd_.get(), SHUT_WR); }

 private:
  UniqueFd fd_;
  bool connected_ = false;
  bool was_reset_ = false;
};

class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace cashew::admin

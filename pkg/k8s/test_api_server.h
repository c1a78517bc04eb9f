#pragma once

#include <arpa/inet.h>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <fmt/format.h>
#include <functional>
#include <gtest/gtest.h>
#include <mutex>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace cashew::k8s {

// An API server that follows a script, for tests: the n-th request gets the n-th answer, on
// real loopback connections. Requests beyond the script are held without an answer.
class TestApiServer {
 public:
  // The connection of one request.
  class Connection {
   public:
    Connection(int fd, int stop_fd) : fd_(fd), stop_fd_(stop_fd) {}

    void Send(std::string_view bytes) {
      while (!bytes.empty()) {
        const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) return;
        bytes.remove_prefix(static_cast<size_t>(n));
      }
    }
    // A whole answer.
    void Answer(int code, const std::string& body, const std::string& headers = "") {
      Send(
          fmt::format("HTTP/1.1 {} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
                      "Content-Length: {}\r\n{}\r\n{}",
                      code, body.size(), headers, body));
    }
    void BeginChunked() {
      Send("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    }
    void Chunk(const std::string& bytes) {
      Send(fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes));
    }
    void EndChunked() { Send("0\r\n\r\n"); }
    // Until the client goes away or the server stops.
    void Hold() {
      std::array<pollfd, 2> polled{{{fd_, POLLRDHUP, 0}, {stop_fd_, POLLIN, 0}}};
      poll(polled.data(), polled.size(), 20'000);
    }

   private:
    const int fd_;
    const int stop_fd_;
  };

  using Answer = std::function<void(Connection&)>;

  explicit TestApiServer(std::vector<Answer> script) : script_(std::move(script)) {
    EXPECT_EQ(pipe(stop_), 0);
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    socklen_t size = sizeof(address);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }

  ~TestApiServer() {
    EXPECT_EQ(write(stop_[1], "x", 1), 1);
    thread_.join();
    for (const int fd : {listener_, stop_[0], stop_[1]}) close(fd);
  }

  std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }

  // The heads of the requests so far; waits until there are `count`.
  std::vector<std::string> WaitForRequests(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20),
                                  [&] { return requests_.size() >= count; }))
        << requests_.size() << " requests came, not " << count;
    return requests_;
  }

 private:
  void Run() {
    for (;;) {
      std::array<pollfd, 2> polled{{{listener_, POLLIN, 0}, {stop_[0], POLLIN, 0}}};
      poll(polled.data(), polled.size(), -1);
      if (polled[1].revents != 0) return;
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      Serve(fd);
      close(fd);
    }
  }

  void Serve(int fd) {
    std::string head;
    char byte = 0;
    while (head.find("\r\n\r\n") == std::string::npos && recv(fd, &byte, 1, 0) == 1) head += byte;
    if (head.empty()) return;
    size_t index = 0;
    {
      std::lock_guard lock(mutex_);
      index = requests_.size();
      requests_.push_back(head);
    }
    changed_.notify_all();
    Connection connection(fd, stop_[0]);
    if (index < script_.size()) {
      script_[index](connection);
    } else {
      connection.Hold();
    }
  }

  const std::vector<Answer> script_;
  int stop_[2] = {-1, -1};
  int listener_ = -1;
  int port_ = 0;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> requests_;
};

}  // namespace cashew::k8s

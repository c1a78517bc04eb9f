// The socket on which the gRPC server is reached, and the thread that accepts on it. gRPC
// itself would share TCP ports and unlink unix paths; here the socket can be handed to another
// process.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>
#include <thread>
#include <unordered_map>

#include "absl/status/statusor.h"

namespace cashew::rpc {

// "unix:PATH" and not host:port.
bool IsUnixAddress(const std::string& address);

class Listener {
 public:
  struct Options {
    std::string address;        // host:port, [v6]:port or unix:PATH
    int adopted_fd = -1;        // listens already, used instead; the result's, also on error
    bool loopback_only = true;  // for TCP: refuse what other machines reach
    size_t max_connections = 2048;
  };

  // A unix socket is created with mode 0600; it cannot be connected to before it has that. A
  // socket file that nobody serves is replaced; one that is served is an error, and so is a
  // file of another kind. Of a host name with several addresses the first that can be bound
  // is taken; with loopback_only each has to be loopback.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(const Options& options);

  // As StopAccepting(), then closes the socket; its file is removed if it is still the one that
  // was opened here and KeepFile() was not called.
  ~Listener();

  // Connections go to `take`, which owns the descriptor (non-blocking, close-on-exec), on the
  // listener's thread. Beyond max_connections a new one is closed at once.
  void StartAccepting(std::function<void(int fd)> take);
  // When this returns nothing more is accepted; the socket stays open, and connections wait in
  // it for whoever accepts next.
  void StopAccepting();
  // The socket's file belongs to another process from now on.
  void KeepFile() { keep_file_ = true; }

  int fd() const { return fd_; }
  int port() const;  // 0 for a unix socket

 private:
  Listener(int fd, const Options& options);

  void RememberFile();
  void RemoveFile();
  void Run();
  void AcceptAll();
  bool HasRoom();
  void LogRefused();

  const int fd_;
  const Options options_;
  int wake_fd_ = -1;  // an eventfd: stop
  std::function<void(int fd)> take_;
  std::thread thread_;
  std::atomic<bool> keep_file_{false};
  std::string path_;  // of the unix socket; empty: TCP
  dev_t file_device_ = 0;
  ino_t file_inode_ = 0;
  // Descriptor -> inode of the socket it was. gRPC closes connections and does not say so; a
  // descriptor that is another inode now is one that was closed.
  std::unordered_map<int, ino_t> connections_;
  int64_t next_log_ns_ = 0;
};

}  // namespace cashew::rpc

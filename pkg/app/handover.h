#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cashew::app {

// What an old process and its successor say to each other, over a socket pair that the old
// one made for the new: one frame at a time, descriptors beside it (SCM_RIGHTS). In order:
//
//   old → new  "listener" (name; its socket)…, "state" (pool; record), "ejected" (pool;
//              servers, one a line), "begin" (version)
//   new → old  "ready" (version; pid)        the new process accepts and serves
//   old → new  "client" (pool; protocol state and unread bytes; its socket)…, "end"
//
// Either side that dies or says something else ends the hand-over; before "ready" the old
// process then goes on as if nothing had happened.
struct Frame {
  std::string kind;
  std::string name;
  std::string text;
  std::string bytes;
  int fd = -1;  // the receiver's to close
};

// Blocking, one thread for each direction. Closes the socket when destroyed.
class HandoverChannel {
 public:
  explicit HandoverChannel(int fd) : fd_(fd) {}
  ~HandoverChannel();
  HandoverChannel(const HandoverChannel&) = delete;
  HandoverChannel& operator=(const HandoverChannel&) = delete;

  // Sends a frame; its descriptor stays the caller's.
  absl::Status Send(const Frame& frame);
  // The next frame. UNAVAILABLE: the other side is gone. DEADLINE_EXCEEDED: nothing came for
  // `timeout_ms` (-1: waits for ever). INVALID_ARGUMENT: that is no frame.
  absl::StatusOr<Frame> Receive(int timeout_ms);
  // Makes a Receive() under way on another thread return.
  void Shutdown();

 private:
  absl::Status ReadAll(char* to, size_t size, int* fd);

  const int fd_;
};

// What a successor was given, before it starts.
struct Inheritance {
  struct Listening {
    std::string name;  // "pool KEY" (Listener::KeyOf), "stats", "http" or "grpc"
    int fd = -1;
  };
  struct Record {
    std::string pool;
    std::string bytes;  // state::Encode
  };
  struct Ejected {
    std::string pool;
    std::vector<std::string> servers;
  };
  std::vector<Listening> listeners;
  std::vector<int> activated;  // sockets that the service manager opened; closed by nobody
  std::vector<Record> records;
  std::vector<Ejected> ejected;

  // The socket of that name, the caller's from now on; -1: none.
  int Take(const std::string& name);
};

// The other end of kHandoverEnv, if this process was started as a successor; null otherwise.
// The variable is taken away. Call once, before threads start.
std::shared_ptr<HandoverChannel> TakePredecessor();

// Receives up to "begin".
absl::StatusOr<Inheritance> ReceiveInheritance(HandoverChannel* channel);

// The environment variable that names the successor's end of the socket pair.
inline constexpr char kHandoverEnv[] = "CASHEW_HANDOVER_FD";

}  // namespace cashew::app

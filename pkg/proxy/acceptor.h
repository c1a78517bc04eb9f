#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "pkg/net/event_loop.h"
#include "pkg/net/socket.h"
#include "pkg/proxy/worker.h"

namespace cashew::proxy {

// A pool's home workers, with how many of its clients each serves.
struct Home {
  Worker* worker = nullptr;
  std::shared_ptr<ClientCount> clients;
};

// One pool's front door.
struct Door {
  std::string pool;
  int fd = -1;  // listening, non-blocking; the acceptor closes it
  bool no_delay = true;
  int64_t client_connections = 0;  // most at a time; 0: no limit
  std::vector<Home> homes;
  std::string refusal;  // said to a client turned away for lack of memory
};

// Accepts clients of all pools, in a thread of its own, and hands each to the home
// worker of its pool that serves the fewest. (Kernel hashing over SO_REUSEPORT
// leaves workers of 28 and 36 clients; fewest-first leaves 32 and 32.)
class Acceptor {
 public:
  // `writer` is its index in the registry.
  Acceptor(int writer, const Services& services, int64_t max_clients);
  ~Acceptor();

  // Before Start(), or through Post().
  absl::Status AddDoor(Door door);
  void RemoveDoor(const std::string& pool);
  // No client is accepted any more. Those whose connection is established already are taken
  // first, unless another process accepts from the same sockets (`leave_queued`).
  void CloseAll(bool leave_queued);
  // Finds a worker for a client that another process served until now.
  void Place(CarriedClient client);

  void Start();
  void Stop();
  void Post(std::function<void()> message) { loop_.Post(std::move(message)); }

 private:
  class Listener;
  friend class Listener;

  bool AtLimit(const Door& door) const;

  const Services services_;
  const int64_t max_clients_;
  net::EventLoop loop_;
  std::shared_ptr<metrics::ProcessCells> cells_;
  const int writer_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::thread thread_;
};

}  // namespace cashew::proxy

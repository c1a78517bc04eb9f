#pragma once

#include <absl/status/statusor.h>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "pkg/admin/listen_socket.h"

namespace cashew::admin {

// nutcracker's stats port: whoever connects is sent one text and the connection
// ends. Nothing needs to be asked; what a client sends is thrown away, so this is
// not HTTP. nutcracker: nc_stats.c, stats_send_rsp(), which serves one client at
// a time and waits for it; here a client that does not read holds up nobody.
//
// A client gets the text as fast as it reads, with 5 s for any progress and 30 s
// for all of it: generous, because who stalls costs nobody anything. Then FIN, and a second to
// close its side, during which what it sent is drained, because closing over unread bytes would be
// a reset that can destroy the text on its way. At most 256 clients; the oldest makes room.
//
// Listen() binds, Start() makes the thread: a daemon forks between the two. The
// thread inherits the caller's signal mask.
class StatsServer {
 public:
  using Render = std::function<std::string()>;  // called on the server's thread

  static absl::StatusOr<std::unique_ptr<StatsServer>> Listen(const ListenOptions& listen,
                                                             Render render);
  // Stops.
  ~StatsServer();

  StatsServer(const StatsServer&) = delete;
  StatsServer& operator=(const StatsServer&) = delete;

  // Once.
  void Start();
  // Accepts no more, gives open connections a quarter of a second, closes them and
  // ends the thread. May be called again, and without Start().
  void Stop();

  int port() const { return port_; }
  // The listening socket, to hand to a successor process. Stays ours.
  int listen_fd() const { return listener_.get(); }

 private:
  struct Client;

  StatsServer(UniqueFd listener, UniqueFd wake, Render render);

  void Run();
  bool WaitForEvents();  // false when Stop() was called
  void AcceptAll();
  void Admit(UniqueFd fd, std::shared_ptr<const std::string> text);
  void Serve(Client& client);
  void Send(Client& client);
  void Drain(Client& client);
  void CloseExpired();
  int64_t NextDeadlineNs() const;

  const UniqueFd listener_;
  const UniqueFd wake_;  // eventfd, written by Stop()
  const Render render_;
  const int port_;
  std::thread thread_;

  // The server's thread only.
  std::list<Client> clients_;  // oldest first
  int64_t accept_again_ns_ = 0;
  bool stopping_ = false;
};

}  // namespace cashew::admin

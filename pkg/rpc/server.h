// The gRPC port: MembershipService, AdminService, grpc.health.v1.Health and reflection.
//
//   absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(options, backend);
//   (*server)->SetServing("", true);
//   ...
//   (*server)->Shutdown(1000);
//
// Nothing of gRPC runs before Start, so a process may fork until then.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

#include "pkg/base/clock.h"
#include "pkg/rpc/access.h"
#include "pkg/rpc/admin_service.h"
#include "pkg/rpc/backend.h"
#include "pkg/rpc/listener.h"
#include "pkg/rpc/membership_service.h"

namespace cashew::rpc {

class Server {
 public:
  struct Options {
    // host:port, [v6]:port or unix:PATH. Without `tls` only loopback and unix sockets are
    // served, with every call allowed: the socket file's mode (0600) says who gets in. A unix
    // socket takes no `tls`.
    std::string address;
    // A socket that listens already (upgrade, socket activation), used instead of a new one at
    // `address`; the server's from the call on, also when it fails. -1: none.
    int adopted_fd = -1;
    std::optional<TlsOptions> tls;

    // Connections beyond this many are closed at once.
    size_t max_connections = 2048;
    // A connection that was silent for the first time is pinged, and closed when the second
    // passes without an answer: a client whose machine is gone is found in 35 s.
    int keepalive_ms = 20'000;
    int keepalive_timeout_ms = 15'000;
    // Clients may ping this often, calls or none; who pings faster is sent away
    // (too_many_pings). Sidecars and meshes do so every 10 s.
    int min_client_ping_ms = 5'000;

    const base::Clock* clock = &base::RealClock();
  };

  // Listens and serves. Health says NOT_SERVING until SetServing. The error says what to do
  // about it. `backend` outlives the server. Signals are blocked in the threads that start here.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options, Backend* backend);

  ~Server();  // as Shutdown(0)

  // What the health service says of a pool, or of the proxy as a whole for "". A pool that was
  // never named is unknown to it. Any thread, but not at the same time as Shutdown; does
  // nothing after it.
  void SetServing(const std::string& pool, bool serving);

  // No connection is accepted after this; those that are open go on, and the socket stays open
  // for a successor. The listening socket itself, to be sent to one:
  void StopAccepting() { listener_->StopAccepting(); }
  int listen_fd() const { return listener_->fd(); }
  // Accepts again: the successor did not come up.
  void ResumeAccepting();
  // The successor serves: Shutdown leaves the unix socket's file alone.
  void LeaveSocketToSuccessor() { listener_->KeepFile(); }

  // The port that is listened on, of use after port 0; 0 for a unix socket.
  int port() const { return listener_->port(); }

  // Accepts no more, ends streams and watches with UNAVAILABLE, lets other calls finish for up
  // to `deadline_ms`, then cancels them. Afterwards the backend is not called any more, and the
  // socket is closed. A second call does nothing. Not from within a callback of the backend.
  void Shutdown(int deadline_ms);

 private:
  Server(std::unique_ptr<Listener> listener, const Options& options, Backend* backend);

  absl::Status Build(const Options& options, std::shared_ptr<grpc::ServerCredentials> credentials);

  std::unique_ptr<Listener> listener_;
  MembershipService membership_;
  AdminService admin_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace cashew::rpc

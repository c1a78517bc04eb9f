#pragma once

#include <absl/status/statusor.h>
#include <concepts>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "pkg/admin/listen_socket.h"

namespace cashew::admin {

struct HttpResponse {
  int status = 200;
  std::string content_type;
  std::string body;
};

// What answers a path. Callbacks run on the server's thread, one at a time, for GET and
// HEAD alike; while one runs no other client is served, so they return soon.
struct HttpRoute {
  HttpRoute() = default;
  template <std::invocable Answer>
  HttpRoute(Answer a, bool local = false)  // NOLINT(google-explicit-constructor): a route is one
      : answer(std::move(a)), local_only(local) {}

  std::function<HttpResponse()> answer;
  // Only for clients on this machine, who also call it by an address or localhost: a page
  // in someone's browser cannot read it by giving its own name this machine's address.
  bool local_only = false;
};
using HttpRoutes = std::map<std::string, HttpRoute>;

// A small read-only HTTP/1.1 server for pages about this process: GET and HEAD of
// fixed paths, nothing else. Larger bodies are compressed for those who accept gzip.
// Every answer forbids scripts but this server's own, framing and caching. One thread of its own
// (libmicrohttpd, epoll), which inherits the caller's signal mask.
//
//   auto server = HttpServer::Start({.address = "127.0.0.1:9151"}, AdminRoutes(sources));
//   if (!server.ok()) return server.status();   // cannot listen on 127.0.0.1:9151: …
//
// Clients cannot hurt it. Request bodies are not read; a request line with headers
// has 32 KiB; a connection that is silent for 5 s is closed; there are at most 256
// connections, and above 192 the oldest makes room, so /livez is answered at once
// whoever else stalls.
class HttpServer {
 public:
  // Listens and starts the thread.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const ListenOptions& listen,
                                                           HttpRoutes routes);
  // Closes all connections and ends the thread; waits for a callback that runs.
  ~HttpServer();

  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;
  // The listening socket, to hand to a successor process. Stays ours.
  int listen_fd() const;

 private:
  struct Impl;  // keeps libmicrohttpd's header out of here
  explicit HttpServer(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace cashew::admin

#include "pkg/admin/http_server.h"

#include <absl/status/status.h>
#include <cstdint>
#include <fmt/format.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <optional>
#include <string_view>
#include <sys/socket.h>
#include <utility>

#include "pkg/admin/gzip.h"

namespace cashew::admin {
namespace {

constexpr unsigned kConnectionLimit = 256;
constexpr size_t kCrowded = 192;  // from here on the oldest connection makes room
constexpr unsigned kConnectionTimeoutSeconds = 5;
constexpr size_t kConnectionMemory = 32 * 1024;  // request line, headers, reply headers

constexpr char kPlainText[] = "text/plain; charset=utf-8";

// Keeps room for newcomers: when the server is crowded, whoever has been connected
// longest is cut off. On libmicrohttpd's thread only.
class OpenConnections {
 public:
  uintptr_t Add(int fd) {
    if (open_.size() >= kCrowded) {
      shutdown(open_.begin()->second, SHUT_RDWR);  // libmicrohttpd sees it end, and closes it
      open_.erase(open_.begin());
    }
    open_.emplace(++last_id_, fd);
    return last_id_;
  }
  void Remove(uintptr_t id) { open_.erase(id); }

 private:
  uintptr_t last_id_ = 0;
  std::map<uintptr_t, int> open_;  // by age
};

void OnConnection(void* cls, MHD_Connection* connection, void** id,
                  MHD_ConnectionNotificationCode event) {
  auto* open = static_cast<OpenConnections*>(cls);
  if (event == MHD_CONNECTION_NOTIFY_CLOSED) {
    open->Remove(reinterpret_cast<uintptr_t>(*id));
    return;
  }
  const MHD_ConnectionInfo* info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  if (info == nullptr) return;
  BoundSendBuffer(info->connect_fd);
  *id = reinterpret_cast<void*>(open->Add(info->connect_fd));
}

constexpr size_t kWorthCompressing = 1024;

// Sent with every answer. Scripts, styles and data come from here or not at all.
constexpr std::pair<const char*, const char*> kHeaders[] = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
     "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-store"},
    {"Vary", "Accept-Encoding"},
};

std::string_view Header(MHD_Connection* connection, const char* name) {
  const char* value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
  return value != nullptr ? std::string_view(value) : std::string_view();
}

bool IsLoopback(const sockaddr* peer) {
  if (peer->sa_family == AF_INET) {
    return (ntohl(reinterpret_cast<const sockaddr_in*>(peer)->sin_addr.s_addr) >> 24) == 127;
  }
  if (peer->sa_family != AF_INET6) return false;
  const in6_addr& ip = reinterpret_cast<const sockaddr_in6*>(peer)->sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&ip) || (IN6_IS_ADDR_V4MAPPED(&ip) && ip.s6_addr[12] == 127);
}

// An address or localhost, with or without a port; no other name.
bool IsOwnName(std::string_view host) {
  if (host.starts_with('[')) return host.find(']') != std::string_view::npos;
  host = host.substr(0, host.rfind(':'));
  return host == "localhost" || host.find_first_not_of("0123456789.") == std::string_view::npos;
}

bool IsLocal(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  return info != nullptr && info->client_addr != nullptr && IsLoopback(info->client_addr) &&
         IsOwnName(Header(connection, MHD_HTTP_HEADER_HOST));
}

HttpResponse NotFound(const HttpRoutes& routes) {
  HttpResponse response{404, kPlainText, "Not found. There are:\n"};
  for (const auto& [path, route] : routes) response.body += path + "\n";
  return response;
}

HttpResponse Answer(const HttpRoutes& routes, MHD_Connection* connection, std::string_view method,
                    const std::string& path) {
  if (method != "GET" && method != "HEAD") {
    return {405, kPlainText, "Only GET and HEAD.\n"};
  }
  const auto route = routes.find(path);
  if (route == routes.end()) return NotFound(routes);
  if (route->second.local_only && !IsLocal(connection)) {
    return {403, kPlainText,
            "Only from this machine (by address or as localhost). `admin_public: true` in the "
            "section `global` shows it to everyone who reaches this port.\n"};
  }
  try {
    return route->second.answer();
  } catch (const std::exception& e) {
    return {500, kPlainText, fmt::format("Failed: {}\n", e.what())};
  }
}

// Compresses the body if that is worth it and wanted.
bool Compress(MHD_Connection* connection, HttpResponse* response) {
  if (response->body.size() < kWorthCompressing) return false;
  if (!AcceptsGzip(Header(connection, MHD_HTTP_HEADER_ACCEPT_ENCODING))) return false;
  std::optional<std::string> zipped = Gzip(response->body);
  if (!zipped) return false;
  response->body = *std::move(zipped);
  return true;
}

MHD_Result Send(MHD_Connection* connection, HttpResponse response) {
  const bool compressed = Compress(connection, &response);
  auto body = std::make_unique<std::string>(std::move(response.body));
  MHD_Response* reply = MHD_create_response_from_buffer_with_free_callback_cls(
      body->size(), body->data(), [](void* owned) { delete static_cast<std::string*>(owned); },
      body.get());
  if (reply == nullptr) return MHD_NO;
  body.release();  // the reply's now
  MHD_add_response_header(reply, MHD_HTTP_HEADER_CONTENT_TYPE, response.content_type.c_str());
  if (compressed) MHD_add_response_header(reply, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
  for (const auto& [name, value] : kHeaders) MHD_add_response_header(reply, name, value);
  if (response.status == 405) MHD_add_response_header(reply, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  const MHD_Result queued =
      MHD_queue_response(connection, static_cast<unsigned>(response.status), reply);
  MHD_destroy_response(reply);
  return queued;
}

bool HasBody(MHD_Connection* connection) {
  const auto has = [connection](const char* header) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, header) != nullptr;
  };
  return has(MHD_HTTP_HEADER_CONTENT_LENGTH) || has(MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

// Called when the headers are in, and again when the body is in. An answer to the
// first call closes the connection without reading the body: right if there is
// one, a waste otherwise.
MHD_Result OnRequest(void* cls, MHD_Connection* connection, const char* url, const char* method,
                     const char* /*version*/, const char* /*upload*/, size_t* /*upload_size*/,
                     void** per_request) {
  const bool first_call = std::exchange(*per_request, connection) == nullptr;
  if (first_call && !HasBody(connection)) return MHD_YES;
  return Send(connection, Answer(*static_cast<const HttpRoutes*>(cls), connection, method, url));
}

}  // namespace

struct HttpServer::Impl {
  HttpRoutes routes;
  OpenConnections open;
  int listen_fd = -1;  // the daemon's
  int port = 0;
  MHD_Daemon* daemon = nullptr;

  ~Impl() {
    if (daemon != nullptr) MHD_stop_daemon(daemon);
  }
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const ListenOptions& listen,
                                                              HttpRoutes routes) {
  absl::StatusOr<UniqueFd> fd = Listen(listen);
  if (!fd.ok()) return fd.status();
  auto impl = std::make_unique<Impl>();
  impl->routes = std::move(routes);
  impl->port = BoundPort(fd->get());
  impl->listen_fd = fd->release();
  impl->daemon =
      MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC, 0, nullptr, nullptr, &OnRequest,
                       &impl->routes, MHD_OPTION_LISTEN_SOCKET, impl->listen_fd,  //
                       MHD_OPTION_CONNECTION_LIMIT, kConnectionLimit,             //
                       MHD_OPTION_CONNECTION_TIMEOUT, kConnectionTimeoutSeconds,  //
                       MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionMemory,     //
                       MHD_OPTION_NOTIFY_CONNECTION, &OnConnection, &impl->open, MHD_OPTION_END);
  if (impl->daemon == nullptr) {
    return absl::InternalError(fmt::format("cannot start the HTTP server on {}", listen.address));
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

int HttpServer::port() const { return impl_->port; }
int HttpServer::listen_fd() const { return impl_->listen_fd; }

}  // namespace cashew::admin

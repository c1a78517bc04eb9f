#include "pkg/app/translate.h"

#include <arpa/inet.h>

#include "pkg/net/socket.h"
#include "pkg/net/tls/tls_transport.h"

namespace cashew::app {

pool::Settings SettingsOf(const config::Pool& pool) {
  pool::Settings s;
  s.name = pool.name;
  s.strict = pool.compat == config::Compat::kStrict;
  s.redis = pool.redis;
  s.hash = pool.hash;
  s.hash_tag = pool.hash_tag;
  s.distribution = pool.distribution;
  s.timeout_ms = pool.timeout_ms;
  s.auto_eject = pool.auto_eject_hosts;
  s.eject_mode = pool.eject_mode == config::EjectMode::kKeepRing ? pool::EjectMode::kKeepRing
                                                                 : pool::EjectMode::kRehash;
  s.failure_limit = pool.server_failure_limit;
  s.retry_timeout_ms = pool.server_retry_timeout_ms;
  s.miss_on_error = pool.get_errors == config::GetErrors::kMiss;
  s.preconnect = pool.preconnect;
  s.tcp_keepalive = pool.tcpkeepalive;
  s.allow_flush = pool.allow_flush;
  s.redis_auth = pool.redis_auth;
  s.redis_user = pool.redis_user;
  s.redis_db = pool.redis_db;
  s.cluster_commands = pool.cluster_commands;
  s.dangerous_commands = pool.dangerous_commands;
  s.exclusive_connections = pool.exclusive_connections;
  s.server_connections = pool.server_connections;
  s.client_connections = pool.client_connections;
  s.client_max_inflight = pool.client_max_inflight;
  s.client_max_buffer = pool.client_max_buffer;
  s.client_write_timeout_ms = pool.client_write_timeout_ms;
  return s;
}

bool IsNumeric(const std::string& host) {
  in6_addr unused;
  return inet_pton(AF_INET, host.c_str(), &unused) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &unused) == 1;
}

std::string ResolveHost(const std::string& host) {
  const auto address = net::Resolve(host, 1, false);
  if (!address.ok()) return "";
  char text[INET6_ADDRSTRLEN] = "";
  if (address->family() == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address->get())->sin6_addr, text,
              sizeof text);
  } else {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address->get())->sin_addr, text,
              sizeof text);
  }
  return text;
}

std::vector<pool::Server> ServersOf(const config::Pool& pool, bool resolve) {
  std::vector<pool::Server> servers;
  for (const config::Server& given : pool.servers) {
    pool::Server server;
    server.name = given.name;
    server.host = given.address.host;
    server.port = given.address.port;
    server.unix_path = given.address.unix_path;
    server.weight = given.weight;
    if (IsNumeric(server.host)) {
      server.ip = server.host;
    } else if (server.unix_path.empty() && resolve) {
      server.ip = ResolveHost(server.host);
    }
    servers.push_back(std::move(server));
  }
  return servers;
}

absl::StatusOr<std::shared_ptr<const net::TransportFactory>> ListenTransport(
    const config::Pool& pool) {
  if (!pool.tls_listen) return net::PlainTransportFactory();
  return net::NewTlsServerFactory(
      {pool.tls_listen->cert, pool.tls_listen->key, pool.tls_listen->client_ca});
}

absl::StatusOr<std::shared_ptr<const net::TransportFactory>> ServerTransport(
    const config::Pool& pool) {
  if (!pool.tls_servers) return net::PlainTransportFactory();
  return net::NewTlsClientFactory({pool.tls_servers->ca, pool.tls_servers->cert,
                                   pool.tls_servers->key, pool.tls_servers->server_name});
}

}  // namespace cashew::app

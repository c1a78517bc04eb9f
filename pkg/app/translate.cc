#include "pkg/app/translate.h"

#include <algorithm>
#include <arpa/inet.h>

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
  // Redis has no one reply that says "not there" to every command.
  s.miss_on_error = !pool.redis && pool.get_errors == config::GetErrors::kMiss;
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
  s.hot_keys_sample = pool.hot_keys_sample;
  s.slow_log_ms = pool.slow_log_ms;
  s.access_log_sample = pool.access_log_sample;
  return s;
}

bool IsNumeric(const std::string& host) {
  in6_addr unused;
  return inet_pton(AF_INET, host.c_str(), &unused) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &unused) == 1;
}

bool TakesLists(const config::Config& config) {
  return std::any_of(config.pools.begin(), config.pools.end(), [](const config::Pool& pool) {
    return pool.membership == config::Membership::kGrpc;
  });
}

std::vector<pool::ServerSpec> SpecsOf(const config::Pool& pool) {
  std::vector<pool::ServerSpec> specs;
  for (const config::Server& given : pool.servers) {
    pool::ServerSpec spec;
    spec.name = given.name;
    spec.host = given.address.host;
    spec.port = given.address.port;
    spec.unix_path = given.address.unix_path;
    spec.weight = given.weight;
    specs.push_back(std::move(spec));
  }
  return specs;
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

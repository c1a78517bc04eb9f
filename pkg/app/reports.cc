#include "pkg/app/reports.h"

#include <unistd.h>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "pkg/base/build_info.h"
#include "pkg/hash/hash.h"
#include "pkg/ring/ring.h"

namespace cashew::app {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  // Names are whatever bytes the file held.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json DescribeServers(const config::Pool& pool) {
  Json servers = Json::array();
  for (const config::Server& server : pool.servers) {
    servers.push_back(
        {{"name", server.name}, {"address", server.address.text}, {"weight", server.weight}});
  }
  return servers;
}

Json DescribePool(const config::Pool& pool) {
  Json json;
  json["listen"] = pool.listen.text;
  json["hash"] = std::string(hash::KindName(pool.hash));
  json["hash_tag"] = pool.hash_tag ? std::string(pool.hash_tag->data(), 2) : "";
  json["distribution"] = std::string(ring::DistributionName(pool.distribution));
  json["timeout"] = pool.timeout_ms;
  json["backlog"] = pool.backlog;
  json["client_connections"] = pool.client_connections;
  json["redis"] = pool.redis;
  json["redis_auth"] = pool.redis_auth.empty() ? "" : "(hidden)";
  json["redis_db"] = pool.redis_db;
  json["redis_user"] = pool.redis_user;
  json["cluster_commands"] = pool.cluster_commands;
  json["dangerous_commands"] = pool.dangerous_commands;
  json["exclusive_connections"] = pool.exclusive_connections;
  json["preconnect"] = pool.preconnect;
  json["tcpkeepalive"] = pool.tcpkeepalive;
  json["reuseport"] = pool.reuseport;
  json["auto_eject_hosts"] = pool.auto_eject_hosts;
  json["server_connections"] = pool.server_connections;
  json["server_retry_timeout"] = pool.server_retry_timeout_ms;
  json["server_failure_limit"] = pool.server_failure_limit;
  json["compat"] = pool.compat == config::Compat::kStrict ? "strict" : "improved";
  json["eject_mode"] = pool.eject_mode == config::EjectMode::kKeepRing ? "keep_ring" : "rehash";
  json["get_errors"] = pool.get_errors == config::GetErrors::kMiss ? "miss" : "error";
  json["tls"] = {{"listen", pool.tls_listen.has_value()},
                 {"servers", pool.tls_servers.has_value()}};
  json["client_max_inflight"] = pool.client_max_inflight;
  json["client_max_buffer"] = pool.client_max_buffer;
  json["hot_keys_sample"] = pool.hot_keys_sample;
  json["slow_log_ms"] = pool.slow_log_ms;
  json["access_log_sample"] = pool.access_log_sample;
  json["membership"] = pool.membership == config::Membership::kGrpc ? "grpc" : "static";
  json["hold_down_ms"] = pool.hold_down_ms;
  json["servers"] = DescribeServers(pool);
  return json;
}

Json DescribeServer(const pool::ServerView& server) {
  Json json = {{"name", server.spec.name}, {"address", server.spec.Address()},
               {"ip", server.ip},          {"weight", server.spec.weight},
               {"state", StateOf(server)}, {"routed", server.routed}};
  if (!server.spec.zone.empty()) json["zone"] = server.spec.zone;
  if (server.override) {
    Json said = Json::object();
    if (server.override->state) said["state"] = pool::ServerStateName(*server.override->state);
    if (server.override->weight) said["weight"] = *server.override->weight;
    if (server.override->expires_us != 0) said["expires_us"] = server.override->expires_us;
    json["override"] = std::move(said);
  }
  return json;
}

}  // namespace

std::string StateOf(const pool::ServerView& server) {
  if (!server.healthy) return "ejected";
  if (server.held) return "held";
  pool::ServerState state = server.spec.state;
  if (server.override && server.override->state) state = *server.override->state;
  return state == pool::ServerState::kReady ? "live" : pool::ServerStateName(state);
}

std::string DescribeConfig(const config::Config& config) {
  Json json;
  json["global"] = {{"workers", config.global.workers},
                    {"admin", config.global.admin},
                    {"drain_timeout_ms", config.global.drain_timeout_ms},
                    {"drain_grace_ms", config.global.drain_grace_ms},
                    {"grpc", config.global.grpc},
                    {"state_dir", config.global.state_dir},
                    {"watch_config", config.global.watch_config},
                    {"max_client_connections", config.global.max_client_connections},
                    {"max_buffer_memory", config.global.max_buffer_memory},
                    {"slow_log_size", config.global.slow_log_size}};
  json["pools"] = Json::object();
  for (const config::Pool& pool : config.pools) json["pools"][pool.name] = DescribePool(pool);
  return Dump(json);
}

std::string PoolsJson(const std::vector<std::shared_ptr<const pool::PoolView>>& pools,
                      const metrics::Totals& totals) {
  Json json = Json::array();
  for (const auto& view : pools) {
    Json pool;
    pool["name"] = view->name;
    pool["protocol"] = view->redis ? "redis" : "memcached";
    pool["membership"] = view->updatable ? "grpc" : "static";
    pool["version"] = view->version;
    pool["hash"] = view->hash;
    pool["distribution"] = view->distribution;
    pool["membership_checksum"] = view->membership_checksum;
    pool["ring_checksum"] = view->ring_checksum;
    pool["live_servers"] = view->live_servers;
    if (view->updatable) {
      pool["source"] = view->source;
      pool["source_version"] = view->source_version;
      pool["updater"] = view->updater;
    }
    for (const metrics::PoolTotals& t : totals.pools) {
      if (t.name != view->name) continue;
      pool["client_connections"] = t.values[metrics::PoolMetric::kClientConnections];
    }
    pool["servers"] = Json::array();
    for (const pool::ServerView& server : view->servers) {
      pool["servers"].push_back(DescribeServer(server));
    }
    json.push_back(std::move(pool));
  }
  return Dump(json);
}

protocol::Stats PoolStats(const metrics::Totals& totals, const std::string& pool,
                          int64_t uptime_s) {
  protocol::Stats stats = {{"pid", fmt::format("{}", getpid())},
                           {"uptime", fmt::format("{}", uptime_s)},
                           {"version", fmt::format("cashew-{}", base::kVersion)}};
  const auto add = [&stats](std::string_view prefix, std::string_view name, int64_t value) {
    if (!name.empty())
      stats.emplace_back(fmt::format("{}{}", prefix, name), fmt::format("{}", value));
  };
  for (const metrics::PoolTotals& t : totals.pools) {
    if (t.name != pool) continue;
#define CASHEW_STAT(id, json, prom, kind, help) add("", json, t.values[metrics::PoolMetric::id]);
    CASHEW_POOL_METRICS(CASHEW_STAT)
#undef CASHEW_STAT
    for (const metrics::ServerTotals& server : t.servers) {
      const std::string prefix = server.name + ":";
#define CASHEW_STAT(id, json, prom, kind, help) \
  add(prefix, json, server.values[metrics::ServerMetric::id]);
      CASHEW_SERVER_METRICS(CASHEW_STAT)
#undef CASHEW_STAT
    }
  }
  return stats;
}

}  // namespace cashew::app

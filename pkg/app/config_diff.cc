#include "pkg/app/config_diff.h"

#include <map>

namespace cashew::app {
namespace {

using Global = config::Global;

struct GlobalKey {
  const char* name;
  bool (*differs)(const Global& a, const Global& b);
};

constexpr GlobalKey kReadAtStart[] = {
    {"workers", [](const Global& a, const Global& b) { return a.workers != b.workers; }},
    {"admin", [](const Global& a, const Global& b) { return a.admin != b.admin; }},
    {"admin_public",
     [](const Global& a, const Global& b) { return a.admin_public != b.admin_public; }},
    {"grpc", [](const Global& a, const Global& b) { return a.grpc != b.grpc; }},
    {"grpc_tls", [](const Global& a, const Global& b) { return a.grpc_tls != b.grpc_tls; }},
    {"state_dir", [](const Global& a, const Global& b) { return a.state_dir != b.state_dir; }},
    {"max_client_connections",
     [](const Global& a, const Global& b) {
       return a.max_client_connections != b.max_client_connections;
     }},
    {"max_buffer_memory",
     [](const Global& a, const Global& b) { return a.max_buffer_memory != b.max_buffer_memory; }},
};

std::map<std::string, const config::Pool*> ByName(const config::Config& config) {
  std::map<std::string, const config::Pool*> pools;
  for (const config::Pool& pool : config.pools) pools[pool.name] = &pool;
  return pools;
}

}  // namespace

ConfigDiff Compare(const config::Config& before, const config::Config& after) {
  ConfigDiff diff;
  const auto old_pools = ByName(before);
  const auto new_pools = ByName(after);
  for (const auto& [name, pool] : new_pools) {
    const auto old = old_pools.find(name);
    if (old == old_pools.end()) {
      diff.added.push_back(name);
    } else if (!(*old->second == *pool)) {
      diff.modified.push_back(name);
    }
  }
  for (const auto& [name, pool] : old_pools) {
    if (!new_pools.contains(name)) diff.removed.push_back(name);
  }
  for (const GlobalKey& key : kReadAtStart) {
    if (key.differs(before.global, after.global)) diff.need_restart.emplace_back(key.name);
  }
  return diff;
}

bool ClientsCanStay(const config::Pool& before, const config::Pool& after) {
  return before.redis == after.redis && before.redis_auth == after.redis_auth &&
         before.redis_db == after.redis_db && before.redis_user == after.redis_user &&
         before.tls_listen.has_value() == after.tls_listen.has_value();
}

}  // namespace cashew::app

#include "cmd/cashewctl/commands.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "pkg/config/config.h"
#include "pkg/hash/hash.h"
#include "pkg/hash/hash_tag.h"
#include "pkg/ring/ring.h"

namespace cashew::ctl {
namespace {

std::vector<ring::RingServer> RingServers(const config::Pool& pool) {
  std::vector<ring::RingServer> servers;
  for (const config::Server& s : pool.servers) servers.push_back({s.name, s.weight, true});
  return servers;
}

void PrintProblems(const config::LoadResult& result) {
  for (const auto& error : result.errors) fmt::print(stderr, "{}\n", error.ToString());
  for (const auto& warning : result.warnings) {
    fmt::print(stderr, "warning: {}\n", warning.ToString());
  }
}

const config::Pool* FindPool(const config::Config& config, const std::string& name) {
  for (const config::Pool& pool : config.pools) {
    if (pool.name == name) return &pool;
  }
  std::string known;
  for (const config::Pool& pool : config.pools) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", pool.name);
  }
  fmt::print(stderr, "cashewctl: no pool \"{}\" in the configuration; it has: {}\n", name, known);
  return nullptr;
}

void PrintRow(std::string_view name, const std::string& value) {
  fmt::print("{:<16}{}\n", name, value);
}

}  // namespace

int Locate(const LocateOptions& options) {
  const config::LoadResult result = config::LoadFile(options.config);
  PrintProblems(result);
  if (!result.ok()) return 1;
  const config::Pool* pool = FindPool(result.config, options.pool);
  if (pool == nullptr) return 1;
  if (pool->servers.empty()) {
    fmt::print(stderr, "cashewctl: pool \"{}\" has no servers in the configuration\n", pool->name);
    return 1;
  }
  if (pool->distribution == ring::Distribution::kRandom) {
    fmt::print(stderr, "cashewctl: pool \"{}\" is random: a key has no server of its own\n",
               pool->name);
    return 1;
  }

  std::string_view hashed = options.key;
  if (pool->hash_tag) {
    hashed = hash::TagOf(hashed, (*pool->hash_tag)[0], (*pool->hash_tag)[1]);
  }
  const uint32_t value = hash::Hash(pool->hash, hashed);
  std::vector<ring::RingServer> servers = RingServers(*pool);
  const ring::Ring ring = ring::Ring::Build(pool->distribution, servers);
  const ring::Location at = ring.Locate(value);
  const auto& server = pool->servers[static_cast<size_t>(at.server)];
  servers[static_cast<size_t>(at.server)].live = false;
  const int32_t next = ring::Ring::Build(pool->distribution, servers).Pick(value);
  const std::string next_name =
      next < 0 ? "(no other server)" : pool->servers[static_cast<size_t>(next)].name;

  if (options.output == "json") {
    const nlohmann::ordered_json json = {{"pool", pool->name},
                                         {"key", options.key},
                                         {"hashed", std::string(hashed)},
                                         {"hash", value},
                                         {"point", at.point_value},
                                         {"server", server.name},
                                         {"address", server.address.text},
                                         {"if_ejected", next_name}};
    fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return 0;
  }
  PrintRow("pool", pool->name);
  PrintRow("key", options.key);
  if (hashed != options.key) PrintRow("hashed part", std::string(hashed));
  PrintRow("hash", fmt::format("{} ({})", value, hash::KindName(pool->hash)));
  PrintRow("ring position",
           fmt::format("{}, number {} of {} ({})", at.point_value, at.point_index + 1,
                       ring.points(), ring::DistributionName(pool->distribution)));
  PrintRow("server", fmt::format("{} at {}", server.name, server.address.text));
  PrintRow("if ejected", next_name);
  return 0;
}

int Check(const std::string& file) {
  const config::LoadResult result = config::LoadFile(file);
  PrintProblems(result);
  if (!result.ok()) return 1;
  size_t servers = 0;
  for (const config::Pool& pool : result.config.pools) servers += pool.servers.size();
  fmt::print("{}: ok, {} pools, {} servers\n", file, result.config.pools.size(), servers);
  return 0;
}

}  // namespace cashew::ctl

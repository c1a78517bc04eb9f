#include "cmd/cashewctl/locate.h"

#include <vector>

#include "fmt/format.h"

#include "cmd/cashewctl/offline.h"
#include "cmd/cashewctl/tables.h"
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

const config::Pool* FindPool(const config::Config& config, const std::string& name) {
  for (const config::Pool& pool : config.pools) {
    if (pool.name == name) return &pool;
  }
  return nullptr;
}

std::string PoolNames(const config::Config& config) {
  std::vector<std::string> names;
  for (const config::Pool& pool : config.pools) names.push_back(pool.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// REQUIRES: the pool has servers and is not random.
Location LocateInPool(const config::Pool& pool, std::string_view key) {
  if (pool.hash_tag) key = hash::TagOf(key, (*pool.hash_tag)[0], (*pool.hash_tag)[1]);
  const uint32_t value = hash::Hash(pool.hash, key);
  std::vector<ring::RingServer> servers = RingServers(pool);
  const ring::Ring ring = ring::Ring::Build(pool.distribution, servers);
  const ring::Location at = ring.Locate(value);
  const auto index = static_cast<size_t>(at.server);
  servers[index].live = false;
  const int32_t next = ring::Ring::Build(pool.distribution, servers).Pick(value);
  return {.hashed = std::string(key),
          .hash = value,
          .position = at.point_value,
          .ring = fmt::format("number {} of {} ({}, {})", at.point_index + 1, ring.points(),
                              hash::KindName(pool.hash), ring::DistributionName(pool.distribution)),
          .server = pool.servers[index].name,
          .address = pool.servers[index].address.text,
          .if_ejected = next < 0 ? "" : pool.servers[static_cast<size_t>(next)].name,
          .owner = pool.servers[index].name};
}

}  // namespace

void PrintLocation(Session& session, const LocateOptions& options, const Location& location) {
  if (session.json()) {
    session.PrintJson(nlohmann::ordered_json{{"pool", options.pool},
                                             {"key", options.key},
                                             {"hashed", location.hashed},
                                             {"hash", location.hash},
                                             {"position", location.position},
                                             {"server", location.server},
                                             {"address", location.address},
                                             {"if_ejected", location.if_ejected},
                                             {"owner", location.owner}});
    return;
  }
  std::vector<std::pair<std::string, std::string>> facts = {{"pool", options.pool},
                                                            {"key", Printable(options.key)}};
  if (location.hashed != options.key) facts.emplace_back("hashed part", Printable(location.hashed));
  facts.emplace_back("hash", std::to_string(location.hash));
  facts.emplace_back(
      "ring position",
      fmt::format("{}{}{}", location.position, location.ring.empty() ? "" : ", ", location.ring));
  facts.emplace_back("server", location.server.empty()
                                   ? "none: no server is live"
                                   : fmt::format("{} at {}", location.server, location.address));
  if (location.owner != location.server) {
    facts.emplace_back("owner", fmt::format("{}, which is out now", location.owner));
  }
  facts.emplace_back("if ejected",
                     location.if_ejected.empty() ? "(no other server)" : location.if_ejected);
  session.Print(Facts(facts));
}

int LocateInFile(Session& session, const LocateOptions& options) {
  const config::LoadResult result = config::LoadFile(options.config);
  WarnOfProblems(session, result);
  if (!result.ok()) return kRefused;
  const config::Pool* pool = FindPool(result.config, options.pool);
  if (pool == nullptr) {
    return session.Fail(kNotFound, fmt::format("no pool \"{}\" in the configuration; it has: {}",
                                               options.pool, PoolNames(result.config)));
  }
  if (pool->servers.empty()) {
    return session.Fail(kRefused,
                        fmt::format("pool \"{}\" has no servers in the configuration", pool->name));
  }
  if (pool->distribution == ring::Distribution::kRandom) {
    return session.Fail(
        kRefused, fmt::format("pool \"{}\" is random: a key has no server of its own", pool->name));
  }
  PrintLocation(session, options, LocateInPool(*pool, options.key));
  return kDone;
}

}  // namespace cashew::ctl

#include "pkg/pool/snapshot.h"

#include <utility>

#include "fmt/format.h"

#include "pkg/hash/hash_tag.h"

namespace cashew::pool {
namespace {

// With keep_ring a dead server keeps its place, so the ring takes it for live.
ring::Ring BuildRing(const Settings& settings, const std::vector<Server>& servers) {
  std::vector<ring::RingServer> labels;
  labels.reserve(servers.size());
  for (const Server& s : servers) {
    labels.push_back({s.name, s.weight, s.live || settings.eject_mode == EjectMode::kKeepRing});
  }
  return ring::Ring::Build(settings.distribution, labels);
}

uint32_t MembershipChecksum(const Settings& settings, const std::vector<Server>& servers) {
  std::string text = fmt::format("{}\n{}\n", hash::KindName(settings.hash),
                                 ring::DistributionName(settings.distribution));
  for (const Server& s : servers) text += fmt::format("{}\n{}\n", s.name, s.weight);
  return hash::Hash(hash::Kind::kCrc32a, text);
}

}  // namespace

Snapshot::Snapshot(std::shared_ptr<const Settings> settings, std::vector<Server> servers,
                   uint64_t version)
    : settings_(std::move(settings)),
      servers_(std::move(servers)),
      version_(version),
      hash_(hash::FunctionFor(settings_->hash)),
      ring_(BuildRing(*settings_, servers_)),
      membership_checksum_(MembershipChecksum(*settings_, servers_)) {
  for (const Server& s : servers_) live_ += s.live ? 1 : 0;
}

int32_t Route(const Snapshot& snapshot, std::string_view key, uint32_t random) {
  // One server: nothing to choose (nutcracker: nc_server.c, server_pool_idx()).
  if (snapshot.servers().size() == 1) return snapshot.ring().Pick(0);
  if (snapshot.ring().needs_random()) return snapshot.ring().Pick(random);
  const auto& tag = snapshot.settings().hash_tag;
  if (tag) key = hash::TagOf(key, (*tag)[0], (*tag)[1]);
  return snapshot.ring().Pick(snapshot.hash()(key));
}

}  // namespace cashew::pool

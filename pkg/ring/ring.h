#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "pkg/ring/ketama.h"
#include "pkg/ring/modula.h"
#include "pkg/ring/random.h"
#include "pkg/ring/server.h"

// Distributions: from a hash value to the index of a server.
//
//   Ring ring = Ring::Build(Distribution::kKetama, servers);
//   int32_t server = ring.Pick(hash::Hash(kind, key));  // -1: nobody is live
//
// A ring is built off the data path whenever a pool's live servers change, and
// never changes afterwards: share it as std::shared_ptr<const Ring> and read it
// from any number of threads. It keeps no reference to the servers it was built
// from. Ketama and modula give the answers nutcracker gives
// (test/compat/ketama_vectors.json).

namespace cashew::ring {

enum class Distribution : uint8_t { kKetama, kModula, kRandom };

// The configuration's spelling: "ketama", "modula", "random".
std::optional<Distribution> DistributionFromName(std::string_view name);
std::string_view DistributionName(Distribution distribution);
std::span<const std::string_view> DistributionNames();  // in the order of Distribution

class Ring {
 public:
  // `servers` are in index order, which is the order of NameLess; the ring speaks of
  // a server by its position there. Those that are not live, and those of weight 0,
  // get no share (a random ring ignores weights). Cost: ketama takes about 40 MD5s a
  // server and a sort, see ketama_bench.cc.
  static Ring Build(Distribution distribution, std::span<const RingServer> servers);

  // The server for a hash value, or -1 when no server has a share. On the data path.
  // When needs_random(), `hash` is 32 random bits of the caller's instead, drawn
  // anew for every key.
  int32_t Pick(uint32_t hash) const {
    if (const auto* ketama = std::get_if<Ketama>(&table_)) return ketama->Pick(hash);
    if (const auto* modula = std::get_if<Modula>(&table_)) return modula->Pick(hash);
    return std::get_if<Random>(&table_)->Pick(hash);
  }

  // Pick, with the place on the ring that decided it, for people.
  Location Locate(uint32_t hash) const;

  Distribution distribution() const { return static_cast<Distribution>(table_.index()); }
  bool needs_random() const { return distribution() == Distribution::kRandom; }

  // How finely the key space is cut: ketama's points, modula's slots (the total
  // weight), random's live servers. 0 exactly when Pick answers -1.
  size_t points() const;

  // 32 bits over the distribution and every point or slot with the name of its
  // server: equal rings have equal checksums, in any process. Servers without a share
  // do not enter it. Exported as cashew_ring_checksum.
  uint32_t checksum() const { return checksum_; }

 private:
  using Table = std::variant<Ketama, Modula, Random>;  // in the order of Distribution

  Ring(Table table, std::span<const RingServer> servers);

  Table table_;
  uint32_t checksum_;
};

}  // namespace cashew::ring

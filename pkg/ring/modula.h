#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pkg/ring/server.h"

namespace cashew::ring {

// Hash modulo slots, where each live server has as many consecutive slots as its
// weight, in index order. Cheap and even, but nearly every key moves when the number
// of slots changes. Slots are kept as runs, so memory follows the number of servers
// and not their weights. Immutable after construction.
class Modula {
 public:
  explicit Modula(std::span<const RingServer> servers);

  int32_t Pick(uint32_t hash) const { return Locate(hash).server; }
  Location Locate(uint32_t hash) const;

  // Slots, that is the total live weight. Beyond 2^32 no slot is ever hit.
  uint64_t size() const { return runs_.empty() ? 0 : runs_.back().end; }

  struct Run {
    uint64_t end;  // first slot behind this server's
    int32_t server;
  };
  std::span<const Run> runs() const { return runs_; }

 private:
  std::vector<Run> runs_;  // by end
};

}  // namespace cashew::ring

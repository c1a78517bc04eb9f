#include "pkg/ring/modula.h"

#include <algorithm>

namespace cashew::ring {

Modula::Modula(std::span<const RingServer> servers) {
  uint64_t end = 0;
  for (size_t i = 0; i < servers.size(); ++i) {
    if (!servers[i].live || servers[i].weight == 0) continue;
    end += servers[i].weight;
    runs_.push_back({end, static_cast<int32_t>(i)});
  }
}

Location Modula::Locate(uint32_t hash) const {
  const uint64_t slots = size();
  if (slots == 0) return {};
  // A 32-bit division where it will do, as a 64-bit one costs more.
  const uint32_t slot = slots > UINT32_MAX ? hash : hash % static_cast<uint32_t>(slots);
  const auto run = std::upper_bound(runs_.begin(), runs_.end(), slot,
                                    [](uint32_t s, const Run& r) { return s < r.end; });
  return {run->server, slot, slot};
}

}  // namespace cashew::ring

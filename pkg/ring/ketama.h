#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pkg/ring/server.h"

namespace cashew::ring {

// Consistent hashing: each server owns about 160 points on a circle of 2^32 values,
// and a key belongs to the first point at or after its hash. A server that leaves
// takes only its own keys with it.
//
// Lookup does not search: a table cut by the top bits of the hash says where in the
// sorted points to begin, and the right point is there or a step or two further.
//
// A name may have any length. (nutcracker hashes bytes of its stack when a name has
// more than about 80, so no ring of its can be matched there.)
//
// Immutable after construction.
class Ketama {
 public:
  struct Point {
    uint32_t value;
    int32_t server;
  };

  explicit Ketama(std::span<const RingServer> servers);

  int32_t Pick(uint32_t hash) const { return points_[IndexOf(hash)].server; }
  Location Locate(uint32_t hash) const;

  // Sorted by value; points of equal value by server, so the lower index owns them.
  std::span<const Point> points() const { return std::span(points_).first(size()); }
  size_t size() const { return points_.size() - 1; }

 private:
  // Ends at the latest at the closing point, whose value no hash exceeds.
  size_t IndexOf(uint32_t hash) const {
    size_t i = first_at_or_after_[hash >> shift_];
    while (points_[i].value < hash) ++i;
    return i;
  }

  // The circle's points and one closing point: the greatest value, owned by the
  // owner of the first point (by -1 on an empty circle). It is what "past the end
  // wraps to the first" means without a comparison.
  std::vector<Point> points_;
  // For each run of 2^shift_ hash values: the first point not before its start.
  std::vector<uint32_t> first_at_or_after_;
  int shift_ = 0;
};

// Points of a server that has `weight` of `total_weight` among `live` servers.
// 160 for equal weights, though for some counts rounding leaves 156 (n = 25, 47,
// 50, ...): single precision at each step is the reference.
// nutcracker: nc_ketama.c, ketama_update()
uint32_t KetamaPointCount(uint32_t weight, uint64_t total_weight, uint32_t live);

}  // namespace cashew::ring

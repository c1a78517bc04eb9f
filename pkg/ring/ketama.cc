#include "pkg/ring/ketama.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <fmt/format.h>
#include <iterator>
#include <limits>
#include <string>

#include "pkg/hash/hash.h"

namespace cashew::ring {
namespace {

constexpr uint32_t kPointsPerServer = 160;
constexpr uint32_t kPointsPerDigest = 4;
constexpr uint32_t kGreatest = std::numeric_limits<uint32_t>::max();

// Four to eight buckets a point, so that most lookups begin at their point; never
// fewer than take 16 KiB, never more than take 1 MiB. That is reached at 400 servers;
// beyond, the walk grows instead of the table.
constexpr size_t kLeastBuckets = size_t{1} << 12;
constexpr size_t kMostBuckets = size_t{1} << 18;

struct LiveShare {
  uint64_t weight = 0;
  uint32_t servers = 0;
};

LiveShare CountLive(std::span<const RingServer> servers) {
  LiveShare live;
  for (const RingServer& server : servers) {
    if (!server.live) continue;
    live.weight += server.weight;
    ++live.servers;
  }
  return live;
}

// The points of one server: the four little-endian words of md5("<name>-<i>").
void AppendPoints(const std::string& name, int32_t server, uint32_t count,
                  std::vector<Ketama::Point>* points) {
  fmt::memory_buffer label;
  for (uint32_t i = 0; i < count / kPointsPerDigest; ++i) {
    label.clear();
    fmt::format_to(std::back_inserter(label), "{}-{}", name, i);
    const std::array<uint8_t, 16> digest = hash::Md5Digest({label.data(), label.size()});
    for (size_t at = 0; at < digest.size(); at += 4) {
      const uint32_t value = digest[at] | uint32_t{digest[at + 1]} << 8 |
                             uint32_t{digest[at + 2]} << 16 | uint32_t{digest[at + 3]} << 24;
      points->push_back({value, server});
    }
  }
}

// By value, 11 bits at a time. Stable: points of one value stay in the order of their servers,
// in which they came. A tenth of what comparing them costs.
void SortByValue(std::vector<Ketama::Point>* points) {
  constexpr uint32_t kBits = 11;
  constexpr uint32_t kDigits = 1 << kBits;
  std::vector<Ketama::Point> sorted(points->size());
  for (uint32_t shift = 0; shift < 32; shift += kBits) {
    std::array<uint32_t, kDigits + 1> begin{};
    for (const Ketama::Point& p : *points) ++begin[((p.value >> shift) & (kDigits - 1)) + 1];
    for (uint32_t digit = 0; digit < kDigits; ++digit) begin[digit + 1] += begin[digit];
    for (const Ketama::Point& p : *points) sorted[begin[(p.value >> shift) & (kDigits - 1)]++] = p;
    points->swap(sorted);
  }
}

std::vector<Ketama::Point> SortedPoints(std::span<const RingServer> servers) {
  const LiveShare live = CountLive(servers);
  std::vector<Ketama::Point> points;
  points.reserve(size_t{live.servers} * kPointsPerServer + 1);
  for (size_t i = 0; i < servers.size(); ++i) {
    if (!servers[i].live) continue;
    const uint32_t count = KetamaPointCount(servers[i].weight, live.weight, live.servers);
    AppendPoints(servers[i].name, static_cast<int32_t>(i), count, &points);
  }
  SortByValue(&points);
  return points;
}

}  // namespace

uint32_t KetamaPointCount(uint32_t weight, uint64_t total_weight, uint32_t live) {
  if (total_weight == 0) return 0;
  const float share = static_cast<float>(weight) / static_cast<float>(total_weight);
  const float digests = share * kPointsPerServer / kPointsPerDigest * static_cast<float>(live);
  // The sum is in double, its floor in float: a share that falls just short of a whole
  // digest is not lifted over it.
  return static_cast<uint32_t>(std::floor(static_cast<float>(digests + 1e-10))) * kPointsPerDigest;
}

Ketama::Ketama(std::span<const RingServer> servers) : points_(SortedPoints(servers)) {
  const size_t buckets = std::clamp(std::bit_ceil(points_.size() * 4), kLeastBuckets, kMostBuckets);
  points_.push_back({kGreatest, points_.empty() ? -1 : points_.front().server});

  shift_ = 32 - std::countr_zero(buckets);
  first_at_or_after_.reserve(buckets);
  uint32_t next = 0;
  for (size_t bucket = 0; bucket < buckets; ++bucket) {
    while (points_[next].value < bucket << shift_) ++next;
    first_at_or_after_.push_back(next);
  }
}

Location Ketama::Locate(uint32_t hash) const {
  if (points().empty()) return {};
  const size_t index = IndexOf(hash) % points().size();  // the closing point is the first one
  return {points_[index].server, points_[index].value, index};
}

}  // namespace cashew::ring

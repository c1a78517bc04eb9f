#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "pkg/metrics/cell.h"

// Durations, counted in buckets that are the same everywhere: from 50 us, below which a
// proxy on a network has nothing to tell, to 10 s, above which clients have given up.

namespace cashew::metrics {

// Upper bounds in nanoseconds, inclusive, as Prometheus' `le`. Each is at least twice the
// one before it, which is what BucketOf() relies on.
inline constexpr std::array<int64_t, 17> kBucketBoundsNs = {
    50'000,      100'000,      250'000,       500'000,       1'000'000,     2'500'000,
    5'000'000,   10'000'000,   25'000'000,    50'000'000,    100'000'000,   250'000'000,
    500'000'000, 1000'000'000, 2'500'000'000, 5'000'000'000, 10'000'000'000};
// And one for all that took longer.
inline constexpr size_t kBuckets = kBucketBoundsNs.size() + 1;

namespace detail {

// The bounds, and one that no duration is above.
constexpr std::array<int64_t, kBuckets> BoundsAndEnd() {
  std::array<int64_t, kBuckets> bounds{};
  for (size_t i = 0; i < kBucketBoundsNs.size(); ++i) bounds[i] = kBucketBoundsNs[i];
  bounds.back() = std::numeric_limits<int64_t>::max();
  return bounds;
}
inline constexpr std::array<int64_t, kBuckets> kBoundsAndEnd = BoundsAndEnd();

// For each highest bit of a duration, the first bucket that one with that bit may be in.
constexpr std::array<uint8_t, 64> FirstBuckets() {
  std::array<uint8_t, 64> first{};
  for (size_t bit = 0; bit < 63; ++bit) {
    uint8_t bucket = 0;
    while (kBoundsAndEnd[bucket] < int64_t{1} << bit) ++bucket;
    first[bit] = bucket;
  }
  return first;
}
inline constexpr std::array<uint8_t, 64> kFirstBucket = FirstBuckets();

}  // namespace detail

// The bucket of a duration: its highest bit leaves two, one comparison decides. (A third of
// the instructions of a search; this runs three times a request.) REQUIRES: ns > 0.
constexpr size_t BucketOf(int64_t ns) {
  const size_t first =
      detail::kFirstBucket[static_cast<size_t>(63 ^ std::countl_zero(static_cast<uint64_t>(ns)))];
  return first + (ns > detail::kBoundsAndEnd[first] ? 1 : 0);
}

// One histogram with one writer and any number of readers. A reader may see a duration
// in its bucket and not yet in the sum: each is recent, as with all cells.
class Histogram {
 public:
  // A negative one (two clocks, or one that was not read in between) is zero.
  void Add(int64_t ns) {
    if (ns <= 0) return AddZeros(1);
    counts_[BucketOf(ns)].Add(1);
    sum_ns_.Add(ns);
  }
  // As many durations of zero.
  void AddZeros(int64_t count) { counts_[0].Add(count); }
  int64_t count(size_t bucket) const { return counts_[bucket].Get(); }
  int64_t sum_ns() const { return sum_ns_.Get(); }

 private:
  std::array<MetricCell, kBuckets> counts_;
  MetricCell sum_ns_;
};

// The values of one or several histograms, added up.
struct HistogramTotals {
  std::array<int64_t, kBuckets> counts{};  // of each bucket alone, not cumulative
  int64_t sum_ns = 0;

  void Add(const Histogram& histogram) {
    for (size_t i = 0; i < kBuckets; ++i) counts[i] += histogram.count(i);
    sum_ns += histogram.sum_ns();
  }
};

}  // namespace cashew::metrics

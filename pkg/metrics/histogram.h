#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

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

// For each bit width of a duration, the first bucket that one of that width may be in.
constexpr std::array<uint8_t, 65> FirstBuckets() {
  std::array<uint8_t, 65> first{};
  for (int width = 0; width <= 64; ++width) {
    const uint64_t least = width == 0 ? 0 : uint64_t{1} << (width - 1);
    uint8_t bucket = 0;
    while (bucket < kBucketBoundsNs.size() &&
           static_cast<uint64_t>(kBucketBoundsNs[bucket]) < least) {
      ++bucket;
    }
    first[static_cast<size_t>(width)] = bucket;
  }
  return first;
}
inline constexpr std::array<uint8_t, 65> kFirstBucket = FirstBuckets();

}  // namespace detail

// The bucket of a duration; a negative one (the clock was not read in between) is zero.
constexpr size_t BucketOf(int64_t ns) {
  if (ns <= kBucketBoundsNs.front()) return 0;
  if (ns > kBucketBoundsNs.back()) return kBucketBoundsNs.size();
  const size_t first = detail::kFirstBucket[std::bit_width(static_cast<uint64_t>(ns))];
  return first + (ns > kBucketBoundsNs[first] ? 1 : 0);
}

// One histogram with one writer and any number of readers. A reader may see a duration
// in its bucket and not yet in the sum: each is recent, as with all cells.
class Histogram {
 public:
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

#include "pkg/metrics/histogram.h"

#include <gtest/gtest.h>
#include <limits>
#include <random>

namespace cashew::metrics {
namespace {

size_t BucketByWalking(int64_t ns) {
  size_t bucket = 0;
  while (bucket < kBucketBoundsNs.size() && ns > kBucketBoundsNs[bucket]) ++bucket;
  return bucket;
}

TEST(Histogram, BoundsAreInclusiveAndEachIsAtLeastTwiceTheOneBefore) {
  for (size_t i = 0; i < kBucketBoundsNs.size(); ++i) {
    EXPECT_EQ(BucketOf(kBucketBoundsNs[i]), i);
    EXPECT_EQ(BucketOf(kBucketBoundsNs[i] + 1), i + 1);
    if (i > 0) {
      EXPECT_GE(kBucketBoundsNs[i], 2 * kBucketBoundsNs[i - 1]);
    }
  }
}

TEST(Histogram, FindsTheBucketThatAWalkFinds) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 1'000'000; ++i) {
    const auto ns = static_cast<int64_t>(random() >> (1 + random() % 63)) + 1;
    if (ns <= 0) continue;
    ASSERT_EQ(BucketOf(ns), BucketByWalking(ns)) << ns;
  }
}

TEST(Histogram, TakesWhateverAClockMaySay) {
  EXPECT_EQ(BucketOf(1), 0u);
  EXPECT_EQ(BucketOf(std::numeric_limits<int64_t>::max()), kBuckets - 1);
  Histogram histogram;
  histogram.Add(-1'000'000);
  histogram.Add(std::numeric_limits<int64_t>::min());
  histogram.Add(0);
  histogram.AddZeros(2);
  EXPECT_EQ(histogram.count(0), 5);
  EXPECT_EQ(histogram.sum_ns(), 0) << "a sum that falls would be a counter's reset";
}

TEST(Histogram, AddsUpOverWriters) {
  Histogram a, b;
  a.Add(60'000);
  b.Add(70'000);
  b.Add(20'000'000'000);
  HistogramTotals totals;
  totals.Add(a);
  totals.Add(b);
  EXPECT_EQ(totals.counts[1], 2);
  EXPECT_EQ(totals.counts[kBuckets - 1], 1);
  EXPECT_EQ(totals.sum_ns, 20'000'130'000);
}

}  // namespace
}  // namespace cashew::metrics

#include <algorithm>
#include <benchmark/benchmark.h>
#include <random>
#include <string>
#include <vector>

#include "pkg/ring/ring.h"

namespace cashew::ring {
namespace {

std::vector<RingServer> Servers(int64_t n) {
  std::vector<RingServer> servers;
  for (int64_t i = 0; i < n; ++i) servers.push_back({"cache-" + std::to_string(10'000 + i)});
  return servers;
}

constexpr size_t kHashes = 4096;

std::vector<uint32_t> Hashes() {
  std::vector<uint32_t> hashes(kHashes);
  std::mt19937 random(1);
  for (uint32_t& hash : hashes) hash = random();
  return hashes;
}

void BM_Pick(benchmark::State& state, Distribution distribution) {
  const Ring ring = Ring::Build(distribution, Servers(state.range(0)));
  const std::vector<uint32_t> hashes = Hashes();
  size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(ring.Pick(hashes[i++ % kHashes]));
}
BENCHMARK_CAPTURE(BM_Pick, ketama, Distribution::kKetama)->Arg(3)->Arg(100)->Arg(1000);
BENCHMARK_CAPTURE(BM_Pick, modula, Distribution::kModula)->Arg(3)->Arg(100)->Arg(1000);
BENCHMARK_CAPTURE(BM_Pick, random, Distribution::kRandom)->Arg(3)->Arg(100)->Arg(1000);

// What the bucket table saves: the same answer by binary search.
void BM_KetamaByLowerBound(benchmark::State& state) {
  const Ketama ketama(Servers(state.range(0)));
  const auto points = ketama.points();
  const std::vector<uint32_t> hashes = Hashes();
  size_t i = 0;
  for (auto _ : state) {
    const auto it =
        std::lower_bound(points.begin(), points.end(), hashes[i++ % kHashes],
                         [](const Ketama::Point& point, uint32_t h) { return point.value < h; });
    benchmark::DoNotOptimize(it == points.end() ? points.front().server : it->server);
  }
}
BENCHMARK(BM_KetamaByLowerBound)->Arg(3)->Arg(100)->Arg(1000);

void BM_Build(benchmark::State& state, Distribution distribution) {
  const std::vector<RingServer> servers = Servers(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(Ring::Build(distribution, servers));
}
BENCHMARK_CAPTURE(BM_Build, ketama, Distribution::kKetama)
    ->Unit(benchmark::kMicrosecond)
    ->Arg(3)
    ->Arg(100)
    ->Arg(1000);

}  // namespace
}  // namespace cashew::ring

// What a scrape costs. It takes CPU that the workers could have: under 50 ms is wanted for the
// page of 20 pools of 100 servers; prometheus-cpp's serializer took 130 to 190.
#include <string>

#include "benchmark/benchmark.h"

#include "pkg/metrics/prometheus_text.h"
#include "pkg/metrics/rows.h"

namespace cashew::metrics {
namespace {

Totals TotalsOf(int pools, int servers) {
  Totals totals;
  totals.workers.resize(2);
  for (int p = 0; p < pools; ++p) {
    PoolTotals& pool = totals.pools.emplace_back();
    pool.name = "pool-" + std::to_string(p);
    for (int s = 0; s < servers; ++s) {
      ServerTotals& server = pool.servers.emplace_back();
      server.name = "cache-" + std::to_string(s);
      server.values[ServerMetric::kRequests] = 1'234'567;
      server.response_duration.counts.fill(99);
    }
  }
  return totals;
}

void BM_PrometheusText(benchmark::State& state) {
  const Totals totals =
      TotalsOf(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  size_t bytes = 0;
  for (auto _ : state) {
    const std::string text = PrometheusText(totals, {}, "1");
    bytes = text.size();
    benchmark::DoNotOptimize(text.data());
  }
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(BM_PrometheusText)->Args({1, 3})->Args({20, 100})->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace cashew::metrics

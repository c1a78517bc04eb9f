#include <memory>

#include "benchmark/benchmark.h"
#include "fmt/format.h"

#include "pkg/pool/roster.h"
#include "pkg/pool/snapshot.h"

namespace cashew::pool {
namespace {

// A list as it comes, to a snapshot as workers take it.
void BM_ListToSnapshot(benchmark::State& state) {
  std::vector<ServerSpec> specs;
  for (int i = 0; i <= state.range(0); ++i) {
    ServerSpec spec;
    spec.name = fmt::format("server-{:04}", i);
    spec.host = "10.0.0.1";
    spec.port = 11211;
    specs.push_back(spec);
  }
  const std::vector<ServerSpec> fewer(specs.begin(), specs.end() - 1);
  const auto settings = std::make_shared<const Settings>();
  Roster roster({});
  bool more = false;
  for (auto _ : state) {
    roster.Replace((more = !more) ? specs : fewer, false, 0);
    benchmark::DoNotOptimize(Snapshot(settings, roster.Effective(), roster.version()));
  }
}
BENCHMARK(BM_ListToSnapshot)->Unit(benchmark::kMillisecond)->Arg(100)->Arg(1000);

}  // namespace
}  // namespace cashew::pool

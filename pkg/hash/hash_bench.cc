#include <benchmark/benchmark.h>
#include <string>
#include <vector>

#include "pkg/hash/hash.h"

namespace cashew::hash {
namespace {

constexpr size_t kKeys = 4096;

// Different keys in one hot cache: a single key would let the branch predictor
// learn its bytes.
std::vector<std::string> Keys(size_t length) {
  std::vector<std::string> keys;
  for (size_t i = 0; i < kKeys; ++i) {
    std::string key = "key:" + std::to_string(i * 2654435761u);
    key.resize(length, 'x');
    keys.push_back(std::move(key));
  }
  return keys;
}

void BM_Hash(benchmark::State& state) {
  const auto kind = static_cast<Kind>(state.range(0));
  const std::vector<std::string> keys = Keys(static_cast<size_t>(state.range(1)));
  const HashFunction function = FunctionFor(kind);
  size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(function(keys[i++ % kKeys]));
  state.SetLabel(std::string(KindName(kind)));
}
BENCHMARK(BM_Hash)
    ->ArgNames({"kind", "bytes"})
    ->ArgsProduct({
        benchmark::CreateDenseRange(0, static_cast<int64_t>(Kind::kJenkins), 1),
        {15, 64},
    });

}  // namespace
}  // namespace cashew::hash

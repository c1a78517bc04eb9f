#include "pkg/pool/traffic.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::pool {

HotKeys MergeHotKeys(const std::vector<HotKeys>& parts, size_t limit) {
  HotKeys all;
  std::map<std::tuple<uint64_t, uint32_t, std::string_view>, HotKey> by_key;
  for (const HotKeys& part : parts) {
    all.sample = std::max(all.sample, part.sample);
    all.window_ns = std::max(all.window_ns, part.window_ns);
    all.samples += part.samples;
    for (const HotKey& key : part.keys) {
      HotKey& sum = by_key[{key.hash, key.key_bytes, key.key}];
      const uint64_t at_least = sum.at_least + key.at_least;
      const uint64_t at_most = sum.at_most + key.at_most;
      sum = key;
      sum.at_least = at_least;
      sum.at_most = at_most;
    }
  }
  for (auto& [identity, key] : by_key) all.keys.push_back(std::move(key));
  std::sort(all.keys.begin(), all.keys.end(), [](const HotKey& a, const HotKey& b) {
    return std::tie(b.at_least, b.at_most, a.key) < std::tie(a.at_least, a.at_most, b.key);
  });
  if (all.keys.size() > limit) all.keys.resize(limit);
  return all;
}

std::vector<SlowRequest> MergeSlow(std::vector<std::vector<SlowRequest>> parts, size_t limit) {
  std::vector<SlowRequest> all;
  for (std::vector<SlowRequest>& part : parts) {
    std::move(part.begin(), part.end(), std::back_inserter(all));
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const SlowRequest& a, const SlowRequest& b) { return a.at_us > b.at_us; });
  if (all.size() > limit) all.resize(limit);
  return all;
}

std::string ShownKey(std::string_view prefix, size_t bytes) {
  std::string shown;
  for (const char c : base::Escape(prefix, prefix.size())) {
    if (c == '"') {
      shown += "\\x22";
    } else {
      shown += c;
    }
  }
  if (bytes > prefix.size()) shown += fmt::format("...({} more)", bytes - prefix.size());
  return shown;
}

}  // namespace cashew::pool

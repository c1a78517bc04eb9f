#include "pkg/ring/ring.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "pkg/hash/hash.h"

namespace cashew::ring {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"ketama", "modula", "random"};

// FNV-1a over 32-bit words, 64 bits inside and folded to 32. It guards against
// accidents (two replicas that disagree), not against malice.
class Checksum {
 public:
  void Add(uint32_t word) { state_ = (state_ ^ word) * 0x100000001b3; }
  uint32_t value() const { return static_cast<uint32_t>(state_ ^ (state_ >> 32)); }

 private:
  uint64_t state_ = 0xcbf29ce484222325;
};

// What stands for a server in the checksum. Not its index: that depends on servers
// outside the live ring.
std::vector<uint32_t> NameChecksums(std::span<const RingServer> servers) {
  std::vector<uint32_t> sums;
  sums.reserve(servers.size());
  for (const RingServer& server : servers) {
    sums.push_back(hash::Hash(hash::Kind::kCrc32a, server.name));
  }
  return sums;
}

void AddTo(Checksum* sum, const Ketama& ketama, std::span<const uint32_t> names) {
  for (const Ketama::Point& point : ketama.points()) {
    sum->Add(point.value);
    sum->Add(names[static_cast<size_t>(point.server)]);
  }
}

void AddTo(Checksum* sum, const Modula& modula, std::span<const uint32_t> names) {
  for (const Modula::Run& run : modula.runs()) {
    sum->Add(static_cast<uint32_t>(run.end));
    sum->Add(static_cast<uint32_t>(run.end >> 32));
    sum->Add(names[static_cast<size_t>(run.server)]);
  }
}

void AddTo(Checksum* sum, const Random& random, std::span<const uint32_t> names) {
  for (const int32_t server : random.live()) sum->Add(names[static_cast<size_t>(server)]);
}

}  // namespace

std::optional<Distribution> DistributionFromName(std::string_view name) {
  const auto it = std::find(kNames.begin(), kNames.end(), name);
  if (it == kNames.end()) return std::nullopt;
  return static_cast<Distribution>(it - kNames.begin());
}

std::string_view DistributionName(Distribution distribution) {
  return kNames[static_cast<size_t>(distribution)];
}

std::span<const std::string_view> DistributionNames() { return kNames; }

Ring Ring::Build(Distribution distribution, std::span<const RingServer> servers) {
  switch (distribution) {
    case Distribution::kKetama:
      return Ring(Ketama(servers), servers);
    case Distribution::kModula:
      return Ring(Modula(servers), servers);
    case Distribution::kRandom:
      break;
  }
  return Ring(Random(servers), servers);
}

Ring::Ring(Table table, std::span<const RingServer> servers) : table_(std::move(table)) {
  Checksum sum;
  sum.Add(static_cast<uint32_t>(distribution()));
  const std::vector<uint32_t> names = NameChecksums(servers);
  std::visit([&](const auto& t) { AddTo(&sum, t, names); }, table_);
  checksum_ = sum.value();
}

Location Ring::Locate(uint32_t hash) const {
  return std::visit([hash](const auto& table) { return table.Locate(hash); }, table_);
}

size_t Ring::points() const {
  return std::visit([](const auto& table) { return table.size(); }, table_);
}

}  // namespace cashew::ring

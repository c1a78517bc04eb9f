#include "pkg/pool/snapshot.h"

#include <set>

#include "fmt/format.h"
#include "gtest/gtest.h"

namespace cashew::pool {
namespace {

std::shared_ptr<const Settings> Md5(EjectMode mode = EjectMode::kRehash) {
  auto settings = std::make_shared<Settings>();
  settings->hash = hash::Kind::kMd5;
  settings->eject_mode = mode;
  return settings;
}

std::vector<Server> Named(std::initializer_list<const char*> names) {
  std::vector<Server> servers;
  for (const char* name : names) {
    Server server;
    server.name = name;
    servers.push_back(server);
  }
  return servers;
}

TEST(Snapshot, RehashMovesOnlyTheKeysOfTheServerThatIsOut) {
  const Snapshot all(Md5(), Named({"a", "b", "c"}), 1);
  auto servers = Named({"a", "b", "c"});
  servers[1].live = false;
  const Snapshot without(Md5(), servers, 2);
  int moved = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::string key = fmt::format("key{}", i);
    const int32_t before = Route(all, key, 0);
    const int32_t after = Route(without, key, 0);
    EXPECT_NE(after, 1);
    if (before == 1) {
      ++moved;
    } else {
      EXPECT_EQ(before, after) << key;
    }
  }
  EXPECT_GT(moved, 400);
  EXPECT_EQ(without.live_servers(), 2);
}

TEST(Snapshot, KeepRingMovesNoKey) {
  const Snapshot all(Md5(EjectMode::kKeepRing), Named({"a", "b", "c"}), 1);
  auto servers = Named({"a", "b", "c"});
  servers[0].live = servers[2].live = false;
  const Snapshot without(Md5(EjectMode::kKeepRing), servers, 2);
  for (int i = 0; i < 500; ++i) {
    const std::string key = fmt::format("key{}", i);
    EXPECT_EQ(Route(all, key, 0), Route(without, key, 0));
  }
}

TEST(Snapshot, AllServersOutRoutesNowhereAlsoWhenThereIsOnlyOne) {
  for (auto servers : {Named({"a"}), Named({"a", "b"})}) {
    for (Server& s : servers) s.live = false;
    EXPECT_EQ(Route(Snapshot(Md5(), servers, 1), "key", 7), -1);
  }
}

TEST(Snapshot, HashTagKeepsKeysTogether) {
  auto settings = std::make_shared<Settings>(*Md5());
  settings->hash_tag = {'{', '}'};
  const Snapshot snapshot(settings, Named({"a", "b", "c", "d"}), 1);
  std::set<int32_t> used;
  for (int i = 0; i < 50; ++i) used.insert(Route(snapshot, fmt::format("{{u}}:{}", i), 0));
  EXPECT_EQ(used.size(), 1u);
}

TEST(Snapshot, MembershipChecksumIgnoresAddressesAndHealth) {
  auto servers = Named({"a", "b"});
  const Snapshot first(Md5(), servers, 1);
  servers[0].host = "10.0.0.9";
  servers[1].live = false;
  const Snapshot second(Md5(), servers, 2);
  EXPECT_EQ(first.membership_checksum(), second.membership_checksum());
  EXPECT_NE(first.ring().checksum(), second.ring().checksum());
  servers[0].weight = 2;
  EXPECT_NE(Snapshot(Md5(), servers, 3).membership_checksum(), first.membership_checksum());
}

}  // namespace
}  // namespace cashew::pool

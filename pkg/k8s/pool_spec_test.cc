#include "pkg/k8s/pool_spec.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "fmt/format.h"

namespace cashew::k8s {
namespace {

using ::testing::HasSubstr;

TEST(PoolFlag, NamesPoolNamespaceServiceAndPort) {
  const auto full = ParsePoolFlag("cache=demo/mc:memcached");
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ(full->pool, "cache");
  EXPECT_EQ(full->name_space, "demo");
  EXPECT_EQ(full->service, "mc");
  EXPECT_EQ(full->port, "memcached");
  const auto least = ParsePoolFlag("cache=mc");
  ASSERT_TRUE(least.ok()) << least.status();
  EXPECT_EQ(least->name_space, "");
  EXPECT_EQ(least->port, "");
  EXPECT_EQ(ParseDnsFlag("cache=mc.demo.svc:11211")->dns_name, "mc.demo.svc");
}

TEST(PoolFlag, MistakeIsShownWithTheRightForm) {
  for (const char* text :
       {"", "cache", "=mc", "cache=", "cache=mc:", "cache=/mc", "cache=a/b/c", "cache=mc:0",
        "cache=mc:65536", "cache=mc:99999999999", "cache=m c", "cache=-mc", "cache=mc:x_y"}) {
    const auto spec = ParsePoolFlag(text);
    EXPECT_FALSE(spec.ok()) << text;
    EXPECT_THAT(std::string(spec.status().message()),
                HasSubstr("the form is POOL=[NAMESPACE/]SERVICE[:PORT]"));
  }
  EXPECT_FALSE(ParseDnsFlag("cache=a/b").ok());
}

class SidecarFileTest : public ::testing::Test {
 protected:
  absl::StatusOr<SidecarFile> Load(const std::string& text) {
    std::ofstream(path_) << text;
    return LoadSidecarFile(path_);
  }
  void TearDown() override { std::filesystem::remove(path_); }

  const std::string path_ =
      std::filesystem::temp_directory_path() / fmt::format("cashew-sidecar-{}.yml", getpid());
};

TEST_F(SidecarFileTest, HoldsPoolsAndTheProxysAddress) {
  const auto file = Load(
      "grpc: unix:/x\n"
      "pools:\n"
      "  cache: {service: demo/mc, port: memcached}\n"
      "  sessions: {dns: s.demo.svc, port: 6379, allow_empty: true}\n");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->grpc, "unix:/x");
  ASSERT_EQ(file->pools.size(), 2U);
  EXPECT_EQ(file->pools[0].name_space, "demo");
  EXPECT_EQ(file->pools[0].service, "mc");
  EXPECT_EQ(file->pools[1].dns_name, "s.demo.svc");
  EXPECT_EQ(file->pools[1].port, "6379");
  EXPECT_TRUE(file->pools[1].allow_empty);
}

TEST_F(SidecarFileTest, MistakeIsShownWithItsLine) {
  const auto message = [&](const std::string& text) {
    const auto file = Load(text);
    return file.ok() ? "" : std::string(file.status().message());
  };
  EXPECT_THAT(message("pools:\n  a: {service: mc, prot: x}\n"),
              HasSubstr("line 2: unknown key \"prot\""));
  EXPECT_THAT(message("pools:\n  a: {port: x}\n"), HasSubstr("either service or dns"));
  EXPECT_THAT(message("pools:\n  a: {service: mc, dns: x}\n"), HasSubstr("either"));
  EXPECT_THAT(message("pools:\n  a: 5\n"), HasSubstr("is no map"));
  EXPECT_THAT(message("pools: [a]\n"), HasSubstr("no map of pools"));
  EXPECT_THAT(message("pool: {}\n"), HasSubstr("line 1: unknown key \"pool\""));
  EXPECT_THAT(message("{"), HasSubstr(path_));
  EXPECT_THAT(message("pools:\n  a: {service: mc, allow_empty: maybe}\n"),
              HasSubstr("not true or false"));
}

TEST(CheckPools, WantsOneAtLeastAndNoneTwice) {
  EXPECT_FALSE(CheckPools({}).ok());
  const PoolSpec spec = *ParsePoolFlag("cache=mc");
  EXPECT_TRUE(CheckPools({spec}).ok());
  EXPECT_FALSE(CheckPools({spec, spec}).ok());
}

}  // namespace
}  // namespace cashew::k8s

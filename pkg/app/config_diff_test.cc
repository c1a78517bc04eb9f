#include "pkg/app/config_diff.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cashew::app {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

config::Config Load(const std::string& yaml) {
  config::LoadResult result = config::LoadText(yaml, "t.yml");
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.errors[0].ToString());
  return result.config;
}

constexpr char kTwo[] = R"(
a: {listen: "127.0.0.1:1001", servers: ["127.0.0.1:1:1"]}
b: {listen: "127.0.0.1:1002", servers: ["127.0.0.1:2:1"]}
)";

TEST(ConfigDiff, TheSameFileWithOtherLinesAndCommentsIsNoChange) {
  const ConfigDiff diff = Compare(Load(kTwo), Load(R"(
# a comment
b:
  servers:
    - 127.0.0.1:2:1
  listen: 127.0.0.1:1002

a: {servers: ["127.0.0.1:1:1"], listen: "127.0.0.1:1001"}
)"));
  EXPECT_TRUE(diff.empty());
}

TEST(ConfigDiff, NamesWhatCameWentAndChanged) {
  const ConfigDiff diff = Compare(Load(kTwo), Load(R"(
a: {listen: "127.0.0.1:1001", timeout: 400, servers: ["127.0.0.1:1:1"]}
c: {listen: "127.0.0.1:1003", servers: ["127.0.0.1:2:1"]}
)"));
  EXPECT_THAT(diff.added, ElementsAre("c"));
  EXPECT_THAT(diff.removed, ElementsAre("b"));
  EXPECT_THAT(diff.modified, ElementsAre("a"));
  EXPECT_THAT(diff.need_restart, IsEmpty());
}

TEST(ConfigDiff, NamesTheGlobalKeysThatOnlyARestartReads) {
  const ConfigDiff diff =
      Compare(Load(std::string("global: {workers: 1}") + kTwo),
              Load(std::string("global: {workers: 2, drain_timeout: 5s}") + kTwo));
  EXPECT_THAT(diff.need_restart, ElementsAre("workers"));
  const ConfigDiff opened = Compare(Load(std::string("global: {admin_public: false}") + kTwo),
                                    Load(std::string("global: {admin_public: true}") + kTwo));
  EXPECT_THAT(opened.need_restart, ElementsAre("admin_public"));
}

TEST(ConfigDiff, ClientsStayUnlessTheProtocolOrThePasswordChanges) {
  const config::Config before = Load(kTwo);
  config::Pool other = before.pools[0];
  other.timeout_ms = 5;
  other.hash = hash::Kind::kMd5;
  EXPECT_TRUE(ClientsCanStay(before.pools[0], other));
  other.redis = true;
  EXPECT_FALSE(ClientsCanStay(before.pools[0], other));
}

}  // namespace
}  // namespace cashew::app

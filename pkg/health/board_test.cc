#include "pkg/health/board.h"

#include "gtest/gtest.h"

namespace cashew::health {
namespace {

class BoardTest : public testing::Test {
 protected:
  BoardTest() : registry_(3), board_(clock_, &registry_, 2, 2) {
    settings_.name = "p";
    settings_.failure_limit = 3;
    board_.SetListener({[this](const auto&, const auto& server) { ejected_.push_back(server); },
                        [this](const auto&, const auto& server) { suspected_.push_back(server); }});
    board_.SetServers(settings_, {"a", "b"});
    registry_.SetServers("p", {"a", "b"});
  }

  // A connection that began just now fails.
  bool Fail(const std::string& server = "a", pool::FailureKind kind = pool::FailureKind::kConnect) {
    clock_.AdvanceMs(1);
    return board_.OnFailure("p", server, {kind, clock_.NowNs()});
  }

  base::ManualClock clock_;
  metrics::Registry registry_;
  Board board_;
  pool::Settings settings_;
  std::vector<std::string> ejected_, suspected_;
};

TEST_F(BoardTest, EjectsAtTheLimitAndSaysSoOnce) {
  EXPECT_FALSE(Fail());
  EXPECT_FALSE(Fail());
  EXPECT_TRUE(Fail());
  EXPECT_TRUE(Fail());
  EXPECT_EQ(ejected_, std::vector<std::string>{"a"});
  EXPECT_TRUE(board_.IsOut("p", "a"));
  EXPECT_FALSE(board_.IsOut("p", "b"));
  const auto totals = registry_.Collect();
  EXPECT_EQ(totals.pools[0].values[metrics::PoolMetric::kServerEjects], 1);
  EXPECT_EQ(totals.pools[0].servers[0].values[metrics::ServerMetric::kServerEjectedAt],
            clock_.WallUs() - 1000);
}

TEST_F(BoardTest, AReplyForwardedByAnyWorkerSetsTheCountToZero) {
  Fail();
  Fail();
  (*registry_.Server("p", "a", 1))[metrics::ServerMetric::kResponses].Add(1);
  EXPECT_FALSE(Fail());
  EXPECT_FALSE(Fail());
  EXPECT_TRUE(Fail());
}

TEST_F(BoardTest, ConnectionsLostToOneCrashAreOneFailure) {
  const int64_t began = clock_.NowNs();
  clock_.AdvanceMs(100);
  for (int worker = 0; worker < 4; ++worker) {
    EXPECT_FALSE(board_.OnFailure("p", "a", {pool::FailureKind::kLost, began}));
    clock_.AdvanceMs(1);
  }
  EXPECT_FALSE(Fail());
  EXPECT_TRUE(Fail());
}

TEST_F(BoardTest, SilenceBelowTheLimitRaisesSuspicionAndProbesCount) {
  EXPECT_FALSE(Fail("b", pool::FailureKind::kSilent));
  EXPECT_EQ(suspected_, std::vector<std::string>{"b"});
  EXPECT_FALSE(board_.OnProbeFailure("p", "b"));
  EXPECT_TRUE(board_.OnProbeFailure("p", "b"));
  EXPECT_EQ(ejected_, std::vector<std::string>{"b"});
}

TEST_F(BoardTest, AReadmittedServerStartsFromZero) {
  Fail();
  Fail();
  Fail();
  board_.Readmit("p", "a");
  EXPECT_FALSE(board_.IsOut("p", "a"));
  EXPECT_FALSE(Fail());
  EXPECT_FALSE(Fail());
  EXPECT_TRUE(Fail());
}

TEST_F(BoardTest, ANewListKeepsTheVerdictOnServersThatStay) {
  Fail();
  Fail();
  Fail();
  board_.SetServers(settings_, {"a", "c"});
  EXPECT_TRUE(board_.IsOut("p", "a"));
  EXPECT_FALSE(board_.IsOut("p", "b"));
  EXPECT_FALSE(board_.OnFailure("p", "b", {}));
}

TEST_F(BoardTest, UnknownPoolsAndServersAreNobodysFailure) {
  EXPECT_FALSE(board_.OnFailure("x", "a", {}));
  EXPECT_FALSE(board_.OnProbeFailure("p", "zz"));
  EXPECT_FALSE(board_.Eject("p", "zz"));
}

}  // namespace
}  // namespace cashew::health

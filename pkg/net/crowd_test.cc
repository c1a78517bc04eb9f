#include "pkg/net/crowd.h"

#include <vector>

#include "gtest/gtest.h"

#include "pkg/base/clock.h"

namespace cashew::net {
namespace {

class CrowdTest : public testing::Test {
 protected:
  // `ms` milliseconds, in each of which `events` come, from `sockets` in turn.
  void Pass(int ms, int events, size_t sockets) {
    for (int i = 0; i < ms; ++i) {
      for (int e = 0; e < events; ++e) crowd_.Count(&marks_[next_++ % sockets]);
      now_ns_ += base::kNsPerMs;
      crowd_.EndRound(now_ns_);
    }
  }

  Crowd crowd_;
  std::vector<Crowd::Mark> marks_ = std::vector<Crowd::Mark>(1000);
  size_t next_ = 0;
  int64_t now_ns_ = 12345 * base::kNsPerMs;
};

TEST_F(CrowdTest, ManySocketsWithManyEventsAreACrowd) {
  EXPECT_FALSE(crowd_.busy());
  Pass(30, 100, 500);
  EXPECT_TRUE(crowd_.busy());
}

TEST_F(CrowdTest, AFewSocketsAreNoneHoweverBusy) {
  Pass(50, 200, 12);
  EXPECT_FALSE(crowd_.busy());
}

TEST_F(CrowdTest, ManySocketsThatAreSeldomHeardAreNone) {
  Pass(50, 5, 1000);
  EXPECT_FALSE(crowd_.busy());
}

TEST_F(CrowdTest, ItDisperses) {
  Pass(30, 100, 500);
  Pass(20, 100, 3);
  EXPECT_FALSE(crowd_.busy());
  Pass(20, 100, 500);
  ASSERT_TRUE(crowd_.busy());
  now_ns_ += base::kNsPerSec;
  crowd_.EndRound(now_ns_);
  EXPECT_FALSE(crowd_.busy()) << "after a second of silence";
}

}  // namespace
}  // namespace cashew::net

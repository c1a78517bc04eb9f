#include "pkg/proxy/slow_log.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cashew::proxy {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

pool::SlowRequest At(int64_t us, const std::string& pool = "a") {
  pool::SlowRequest request;
  request.at_us = us;
  request.pool = pool;
  request.key = std::string(100, 'k');
  return request;
}

std::vector<int64_t> Times(const SlowLog& log, const std::string& pool = "") {
  std::vector<int64_t> times;
  for (const pool::SlowRequest& request : log.Read(pool)) times.push_back(request.at_us);
  return times;
}

TEST(SlowLog, KeepsTheNewestAndReadsThemNewestFirst) {
  SlowLog log;
  log.SetSize(3);
  for (int64_t us = 1; us <= 5; ++us) log.Add(At(us));
  EXPECT_THAT(Times(log), ElementsAre(5, 4, 3));
}

TEST(SlowLog, AnotherSizeKeepsWhatFits) {
  SlowLog log;
  log.SetSize(3);
  for (int64_t us = 1; us <= 4; ++us) log.Add(At(us));
  log.SetSize(5);
  log.Add(At(5));
  EXPECT_THAT(Times(log), ElementsAre(5, 4, 3, 2));
  log.SetSize(2);
  EXPECT_THAT(Times(log), ElementsAre(5, 4));
  log.Add(At(6));
  EXPECT_THAT(Times(log), ElementsAre(6, 5));
}

TEST(SlowLog, OnePoolIsReadAndClearedWithoutTheOthers) {
  SlowLog log;
  log.Add(At(1, "a"));
  log.Add(At(2, "b"));
  log.Add(At(3, "a"));
  EXPECT_THAT(Times(log, "a"), ElementsAre(3, 1));
  log.Clear("a");
  EXPECT_THAT(Times(log), ElementsAre(2));
  log.Clear("");
  EXPECT_THAT(Times(log), IsEmpty());
}

}  // namespace
}  // namespace cashew::proxy

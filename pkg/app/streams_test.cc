#include "pkg/app/streams.h"

#include "gtest/gtest.h"

namespace cashew::app {
namespace {

class StreamsTest : public testing::Test {
 protected:
  void Open(uint64_t id) {
    streams_.Open(id, [this, id](absl::Status status) { ended_[id] = status; });
  }
  Streams streams_;
  std::map<uint64_t, absl::Status> ended_;
};

TEST_F(StreamsTest, AStreamOwnsWhatItSpoke) {
  Open(1);
  EXPECT_TRUE(streams_.Claim(1, "sidecar", "cache").ok());
  EXPECT_EQ(streams_.UpdaterOf("cache"), "sidecar");
  streams_.Close(1);
  EXPECT_EQ(streams_.UpdaterOf("cache"), "");
  EXPECT_TRUE(ended_.empty());
}

TEST_F(StreamsTest, AnotherUpdaterIsTurnedAwayAndToldWhoOwnsThePool) {
  Open(1);
  Open(2);
  ASSERT_TRUE(streams_.Claim(1, "sidecar", "cache").ok());
  const absl::Status status = streams_.Claim(2, "script", "cache");
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(status.message().find("sidecar"), absl::string_view::npos);
  EXPECT_TRUE(streams_.Claim(2, "script", "other").ok());
  EXPECT_TRUE(ended_.empty());
}

TEST_F(StreamsTest, TheSameUpdaterComeBackReplacesItsFirstStream) {
  Open(1);
  ASSERT_TRUE(streams_.Claim(1, "sidecar", "cache").ok());
  ASSERT_TRUE(streams_.Claim(1, "sidecar", "other").ok());
  Open(2);
  ASSERT_TRUE(streams_.Claim(2, "sidecar", "cache").ok());
  ASSERT_TRUE(ended_.contains(1));
  EXPECT_EQ(ended_[1].code(), absl::StatusCode::kAborted);
  EXPECT_EQ(streams_.UpdaterOf("cache"), "sidecar");
  EXPECT_EQ(streams_.UpdaterOf("other"), "") << "until it speaks for it again";
  EXPECT_EQ(streams_.Claim(1, "sidecar", "cache").code(), absl::StatusCode::kAborted);
  streams_.Close(1);
  EXPECT_EQ(streams_.UpdaterOf("cache"), "sidecar");
}

TEST_F(StreamsTest, TheOwnerOfAPoolThatTakesNoListsAnyMoreEndsAndIsToldWhy) {
  Open(1);
  Open(2);
  ASSERT_TRUE(streams_.Claim(1, "sidecar", "cache").ok());
  ASSERT_TRUE(streams_.Claim(1, "sidecar", "other").ok());
  ASSERT_TRUE(streams_.Claim(2, "script", "third").ok());
  const absl::Status why = absl::UnavailableError("pool \"cache\" is membership: static now");
  streams_.EndOwner("cache", why);
  ASSERT_EQ(ended_.size(), 1u);
  EXPECT_EQ(ended_[1], why);
  EXPECT_EQ(streams_.size(), 1u);
  EXPECT_EQ(streams_.UpdaterOf("cache"), "");
  EXPECT_EQ(streams_.UpdaterOf("other"), "") << "its other pools belong to nobody, too";
  EXPECT_EQ(streams_.UpdaterOf("third"), "script");
  EXPECT_EQ(streams_.Claim(1, "sidecar", "other").code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(streams_.Claim(2, "script", "other").ok());
  streams_.Close(1);  // as its transport does when it has ended
  EXPECT_EQ(streams_.UpdaterOf("other"), "script");
}

TEST_F(StreamsTest, APoolThatNobodyOwnsEndsNobody) {
  Open(1);
  ASSERT_TRUE(streams_.Claim(1, "sidecar", "cache").ok());
  streams_.EndOwner("other", absl::UnavailableError("gone"));
  EXPECT_TRUE(ended_.empty());
  EXPECT_EQ(streams_.UpdaterOf("cache"), "sidecar");
}

TEST_F(StreamsTest, AStreamKeepsItsName) {
  Open(1);
  EXPECT_EQ(streams_.Claim(1, "", "cache").code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(streams_.Claim(1, "a", "cache").ok());
  EXPECT_EQ(streams_.Claim(1, "b", "cache").code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace cashew::app

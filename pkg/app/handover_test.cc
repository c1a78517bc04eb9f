#include "pkg/app/handover.h"

#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cashew::app {
namespace {

class HandoverTest : public testing::Test {
 protected:
  HandoverTest() {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    old_ = std::make_unique<HandoverChannel>(pair[0]);
    new_ = std::make_unique<HandoverChannel>(pair[1]);
    new_fd_ = pair[1];
  }
  std::unique_ptr<HandoverChannel> old_;
  std::unique_ptr<HandoverChannel> new_;
  int new_fd_ = -1;
};

TEST_F(HandoverTest, AFrameArrivesWithItsDescriptor) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  Frame sent{"client", "cache", "1 0 1 0 me", std::string(300'000, 'x') + '\0', pipe_fds[1]};
  std::thread sender([&] { EXPECT_TRUE(old_->Send(sent).ok()); });
  const absl::StatusOr<Frame> got = new_->Receive(1000);
  sender.join();
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->kind, "client");
  EXPECT_EQ(got->name, "cache");
  EXPECT_EQ(got->text, "1 0 1 0 me");
  EXPECT_EQ(got->bytes, sent.bytes);
  ASSERT_GE(got->fd, 0);
  ASSERT_EQ(write(got->fd, "!", 1), 1);
  char byte = 0;
  ASSERT_EQ(read(pipe_fds[0], &byte, 1), 1);
  EXPECT_EQ(byte, '!');
  for (const int fd : {pipe_fds[0], pipe_fds[1], got->fd}) close(fd);
}

TEST_F(HandoverTest, FramesKeepTheirOrderAndTheirOwnDescriptors) {
  std::thread sender([&] {
    for (int i = 0; i < 500; ++i) {
      int pipe_fds[2];
      ASSERT_EQ(pipe(pipe_fds), 0);
      ASSERT_EQ(write(pipe_fds[1], &i, sizeof i), static_cast<ssize_t>(sizeof i));
      ASSERT_TRUE(old_->Send({"client", std::to_string(i), "", "", pipe_fds[0]}).ok());
      close(pipe_fds[0]);
      close(pipe_fds[1]);
    }
  });
  for (int i = 0; i < 500; ++i) {
    const absl::StatusOr<Frame> got = new_->Receive(5000);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->name, std::to_string(i));
    int number = -1;
    ASSERT_EQ(read(got->fd, &number, sizeof number), static_cast<ssize_t>(sizeof number));
    EXPECT_EQ(number, i);
    close(got->fd);
  }
  sender.join();
}

TEST_F(HandoverTest, OtherBytesAreNoFrame) {
  ASSERT_EQ(write(new_fd_, std::string(64, 'G').data(), 64), 64);
  EXPECT_EQ(old_->Receive(1000).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(HandoverTest, ADeadOrSilentPeerIsNoticed) {
  EXPECT_EQ(old_->Receive(10).status().code(), absl::StatusCode::kDeadlineExceeded);
  new_.reset();
  EXPECT_EQ(old_->Receive(1000).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(old_->Send({"end", "", "", "", -1}).code(), absl::StatusCode::kUnavailable);
}

TEST_F(HandoverTest, AnInheritanceIsWhatCameBeforeBegin) {
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  ASSERT_TRUE(old_->Send({"listener", "stats", "", "", pipe_fds[0]}).ok());
  ASSERT_TRUE(old_->Send({"something new", "", "", "", pipe_fds[1]}).ok());
  ASSERT_TRUE(old_->Send({"state", "cache", "", "record", -1}).ok());
  ASSERT_TRUE(old_->Send({"ejected", "cache", "a\nb", "", -1}).ok());
  ASSERT_TRUE(old_->Send({"begin", "", "", "", -1}).ok());
  absl::StatusOr<Inheritance> got = ReceiveInheritance(new_.get());
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->Take("http"), -1);
  const int fd = got->Take("stats");
  EXPECT_GE(fd, 0);
  EXPECT_EQ(got->Take("stats"), -1) << "it can be had once";
  EXPECT_EQ(got->records.at(0).bytes, "record");
  EXPECT_THAT(got->ejected.at(0).servers, testing::ElementsAre("a", "b"));
  for (const int used : {pipe_fds[0], pipe_fds[1], fd}) close(used);
}

}  // namespace
}  // namespace cashew::app

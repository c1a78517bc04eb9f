#include "pkg/net/transport.h"

#include <cerrno>
#include <gtest/gtest.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

namespace cashew::net {
namespace {

class PlainTransportTest : public testing::Test {
 protected:
  void SetUp() override {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    transport_ = PlainTransportFactory()->New(pair[0]);
    peer_ = pair[1];
  }
  void TearDown() override { ClosePeer(); }
  void ClosePeer() {
    if (peer_ >= 0) close(peer_);
    peer_ = -1;
  }
  IoResult Read(size_t bytes) {
    buffer_.assign(bytes, '\0');
    const iovec iov{buffer_.data(), bytes};
    const IoResult result = transport_->Read(&iov, 1);
    buffer_.resize(result.bytes);
    return result;
  }

  std::unique_ptr<Transport> transport_;
  int peer_ = -1;
  std::string buffer_;
};

TEST_F(PlainTransportTest, NeedsNoHandshakeAndIsNotEncrypted) {
  EXPECT_EQ(transport_->Handshake().status, IoStatus::kOk);
  EXPECT_FALSE(PlainTransportFactory()->encrypted());
}

TEST_F(PlainTransportTest, ReadsWhatThePeerWrote) {
  EXPECT_EQ(Read(10).status, IoStatus::kAgain);
  ASSERT_EQ(write(peer_, "hello", 5), 5);
  const IoResult result = Read(10);
  EXPECT_EQ(result.status, IoStatus::kOk);
  EXPECT_EQ(buffer_, "hello");
  EXPECT_FALSE(result.more) << "fewer bytes than asked for: the socket is empty";
}

TEST_F(PlainTransportTest, SaysMoreWhenTheReadWasFilled) {
  ASSERT_EQ(write(peer_, "hello", 5), 5);
  const IoResult first = Read(3);
  EXPECT_EQ(buffer_, "hel");
  EXPECT_TRUE(first.more);
  const IoResult second = Read(2);
  EXPECT_EQ(buffer_, "lo");
  EXPECT_TRUE(second.more) << "exactly filled: nobody knows";
  EXPECT_EQ(Read(2).status, IoStatus::kAgain);
}

TEST_F(PlainTransportTest, ReadsIntoSeveralPieces) {
  ASSERT_EQ(write(peer_, "hello", 5), 5);
  char a[2];
  char b[10];
  const iovec iov[] = {{a, sizeof a}, {b, sizeof b}};
  const IoResult result = transport_->Read(iov, 2);
  EXPECT_EQ(result.bytes, 5u);
  EXPECT_FALSE(result.more);
  EXPECT_EQ(std::string(a, 2) + std::string(b, 3), "hello");
}

TEST_F(PlainTransportTest, WritesSeveralPiecesAtOnce) {
  char a[] = "get ";
  char b[] = "key\r\n";
  const iovec iov[] = {{a, 4}, {b, 5}};
  const IoResult result = transport_->Write(iov, 2);
  EXPECT_EQ(result.status, IoStatus::kOk);
  EXPECT_EQ(result.bytes, 9u);
  char got[16];
  ASSERT_EQ(read(peer_, got, sizeof got), 9);
  EXPECT_EQ(std::string(got, 9), "get key\r\n");
}

TEST_F(PlainTransportTest, AFullSocketTakesLessThenSaysAgain) {
  std::string large(8 << 20, 'x');
  const iovec iov{large.data(), large.size()};
  IoResult result = transport_->Write(&iov, 1);
  ASSERT_EQ(result.status, IoStatus::kOk);
  EXPECT_LT(result.bytes, large.size());
  while (result.status == IoStatus::kOk) result = transport_->Write(&iov, 1);
  EXPECT_EQ(result.status, IoStatus::kAgain);
  EXPECT_FALSE(result.more);
}

TEST_F(PlainTransportTest, TheEndIsNotAnError) {
  ASSERT_EQ(write(peer_, "bye", 3), 3);
  ClosePeer();
  EXPECT_EQ(Read(10).bytes, 3u);
  EXPECT_EQ(Read(10).status, IoStatus::kEof);
}

TEST_F(PlainTransportTest, AWriteToAPeerThatIsGoneIsAnErrorAndNoSignal) {
  ClosePeer();
  char text[] = "hello";
  const iovec one{text, 5};
  const IoResult single = transport_->Write(&one, 1);
  EXPECT_EQ(single.status, IoStatus::kError);
  EXPECT_EQ(single.error, EPIPE);
  const iovec two[] = {one, one};
  EXPECT_EQ(transport_->Write(two, 2).error, EPIPE);
}

TEST_F(PlainTransportTest, ShutdownWriteIsSeenAsTheEndAndReadingGoesOn) {
  transport_->ShutdownWrite();
  char byte;
  EXPECT_EQ(read(peer_, &byte, 1), 0);
  ASSERT_EQ(write(peer_, "late", 4), 4);
  EXPECT_EQ(Read(10).bytes, 4u);
}

TEST_F(PlainTransportTest, DestroyingItClosesTheDescriptor) {
  transport_.reset();
  char byte;
  EXPECT_EQ(read(peer_, &byte, 1), 0);
}

TEST(PlainTransportErrors, AReadErrorCarriesItsNumber) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  ASSERT_GE(fd, 0);
  auto transport = NewPlainTransport(fd);
  char byte;
  const iovec iov{&byte, 1};
  const IoResult result = transport->Read(&iov, 1);
  EXPECT_EQ(result.status, IoStatus::kError);
  EXPECT_EQ(result.error, ENOTCONN);
}

}  // namespace
}  // namespace cashew::net

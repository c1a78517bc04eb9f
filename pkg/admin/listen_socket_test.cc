#include "pkg/admin/listen_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "pkg/admin/test_client.h"

namespace cashew::admin {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string ErrorFor(const std::string& address) {
  return Listen({.address = address}).status().ToString();
}

TEST(Listen, TakesAFreePortWhenAskedForPortZero) {
  auto fd = Listen({.address = "127.0.0.1:0"});
  ASSERT_TRUE(fd.ok()) << fd.status();
  ASSERT_GT(BoundPort(fd->get()), 0);
  EXPECT_TRUE(TestClient(BoundPort(fd->get())).connected());
}

TEST(Listen, UnderstandsNamesAndAllAddresses) {
  for (const char* address : {"localhost:0", ":0", "0.0.0.0:0"}) {
    EXPECT_TRUE(Listen({.address = address}).ok()) << address;
  }
}

TEST(Listen, SaysWhichAddressIsTaken) {
  auto first = Listen({.address = "127.0.0.1:0"});
  ASSERT_TRUE(first.ok());
  const std::string address = fmt::format("127.0.0.1:{}", BoundPort(first->get()));
  EXPECT_THAT(ErrorFor(address), AllOf(HasSubstr(address), HasSubstr("Address already in use")));
}

TEST(Listen, SaysWhatIsWrongWithAnAddress) {
  EXPECT_THAT(ErrorFor("localhost"), HasSubstr("\"localhost\": not of the form host:port"));
  EXPECT_THAT(ErrorFor("127.0.0.1:http"), HasSubstr("port is not a number"));
  EXPECT_THAT(ErrorFor("127.0.0.1:65536"), HasSubstr("port is not a number"));
  EXPECT_THAT(ErrorFor("127.0.0.1:"), HasSubstr("port is not a number"));
  EXPECT_THAT(ErrorFor("300.0.0.1.invalid:80"), HasSubstr("300.0.0.1.invalid:80"));
  EXPECT_THAT(ErrorFor("192.0.2.1:0"), HasSubstr("Cannot assign requested address"));
}

TEST(Listen, AdoptsASocketThatListens) {
  auto bound = Listen({.address = "127.0.0.1:0"});
  ASSERT_TRUE(bound.ok());
  const int port = BoundPort(bound->get());
  fcntl(bound->get(), F_SETFL, 0);  // as inherited: blocking
  auto adopted = Listen({.address = "ignored", .adopted_fd = bound->release()});
  ASSERT_TRUE(adopted.ok()) << adopted.status();
  EXPECT_EQ(BoundPort(adopted->get()), port);
  EXPECT_NE(fcntl(adopted->get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(adopted->get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Listen, RefusesToAdoptWhatDoesNotListen) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_THAT(Listen({.adopted_fd = fd}).status().ToString(),
              HasSubstr(fmt::format("descriptor {} is not a listening socket", fd)));
}

}  // namespace
}  // namespace cashew::admin

#include "pkg/net/socket.h"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace cashew::net {
namespace {

// A temporary folder; sockets in it go with it.
class Socket : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/cashew-socket-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    for (const int fd : open_) close(fd);
    std::filesystem::remove_all(folder_);
  }

  int Keep(int fd) {
    if (fd >= 0) open_.push_back(fd);
    return fd;
  }
  int Kept(absl::StatusOr<int> fd) {
    EXPECT_TRUE(fd.ok()) << fd.status();
    return fd.ok() ? Keep(*fd) : -1;
  }
  // Waits until a connect that has begun is through; its error, 0 for none.
  static int Finish(int fd) {
    pollfd p{fd, POLLOUT, 0};
    EXPECT_EQ(poll(&p, 1, 5'000), 1);
    return SocketError(fd);
  }
  static SocketAddress Local(int fd) {
    SocketAddress address;
    address.length = sizeof address.storage;
    EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length), 0);
    return address;
  }
  static SocketAddress Numeric(const std::string& host, uint16_t port) {
    auto address = Resolve(host, port, /*passive=*/false);
    EXPECT_TRUE(address.ok()) << address.status();
    return address.ok() ? *address : SocketAddress{};
  }
  SocketAddress Unix(const std::string& name) {
    auto address = UnixAddress(folder_ + "/" + name);
    EXPECT_TRUE(address.ok()) << address.status();
    return address.ok() ? *address : SocketAddress{};
  }

  std::string folder_;
  std::vector<int> open_;
};

void ExpectSays(const absl::Status& status, const std::string& text) {
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.ToString().find(text), std::string::npos) << status;
}

TEST_F(Socket, AddressesPrintAsPeopleWriteThem) {
  EXPECT_EQ(Numeric("127.0.0.1", 11211).ToString(), "127.0.0.1:11211");
  EXPECT_EQ(Numeric("::1", 80).ToString(), "[::1]:80");
  EXPECT_EQ(Unix("x.sock").ToString(), folder_ + "/x.sock");
  EXPECT_EQ(SocketAddress{}.ToString(), "");
  EXPECT_FALSE(SocketAddress{}.known());
}

TEST_F(Socket, AddressesAreEqualWhenAllOfThemIs) {
  EXPECT_EQ(Numeric("127.0.0.1", 1), Numeric("127.0.0.1", 1));
  EXPECT_FALSE(Numeric("127.0.0.1", 1) == Numeric("127.0.0.1", 2));
  EXPECT_FALSE(Numeric("127.0.0.1", 1) == Numeric("127.0.0.2", 1));
  EXPECT_FALSE(Numeric("127.0.0.1", 1) == SocketAddress{});
}

TEST_F(Socket, ANameThatDoesNotResolveIsNamed) {
  ExpectSays(Resolve("no such host", 4711, false).status(), "no such host:4711");
}

TEST_F(Socket, APathThatDoesNotFitIsRefusedAndNamed) {
  const std::string longest(107, 'x');
  EXPECT_TRUE(UnixAddress(longest).ok());
  ExpectSays(UnixAddress(longest + "y").status(), longest + "y");
  EXPECT_FALSE(UnixAddress("").ok());
}

TEST_F(Socket, ListensAndConnectsOverIpv4) {
  const int listener = Kept(Listen(Numeric("127.0.0.1", 0), {}));
  EXPECT_LT(accept(listener, nullptr, nullptr), 0);
  EXPECT_EQ(errno, EAGAIN) << "listeners do not block";
  const int client = Keep(StartConnect(Local(listener)));
  ASSERT_GE(client, 0);
  EXPECT_EQ(Finish(client), 0);
  int no_delay = 0;
  socklen_t length = sizeof no_delay;
  getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &no_delay, &length);
  EXPECT_NE(no_delay, 0);
  const int server = Keep(accept(listener, nullptr, nullptr));
  ASSERT_GE(server, 0);
  SetKeepAlive(server);
  int keep_alive = 0;
  getsockopt(server, SOL_SOCKET, SO_KEEPALIVE, &keep_alive, &length);
  EXPECT_NE(keep_alive, 0);
}

TEST_F(Socket, ListensAndConnectsOverIpv6) {
  auto listening = Listen(Numeric("::1", 0), {});
  if (!listening.ok()) GTEST_SKIP() << "no IPv6 here: " << listening.status();
  const int client = Keep(StartConnect(Local(Keep(*listening))));
  ASSERT_GE(client, 0);
  EXPECT_EQ(Finish(client), 0);
}

TEST_F(Socket, AConnectThatIsRefusedSaysSo) {
  const int listener = Kept(Listen(Numeric("127.0.0.1", 0), {}));
  const SocketAddress address = Local(listener);
  close(listener);
  open_.pop_back();
  const int client = Keep(StartConnect(address));
  EXPECT_EQ(client >= 0 ? Finish(client) : errno, ECONNREFUSED);
  const int nobody = Keep(StartConnect(Unix("absent")));
  EXPECT_EQ(nobody, -1);
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(Socket, APortThatIsTakenIsNamed) {
  const int first = Kept(Listen(Numeric("127.0.0.1", 0), {}));
  const SocketAddress taken = Local(first);
  const auto second = Listen(taken, {});
  ExpectSays(second.status(), taken.ToString());
  ExpectSays(second.status(), "in use");
}

TEST_F(Socket, ReusePortSharesAPort) {
  ListenOptions options;
  options.reuse_port = true;
  const int first = Kept(Listen(Numeric("127.0.0.1", 0), options));
  Kept(Listen(Local(first), options));
}

TEST_F(Socket, AUnixSocketGetsItsMode) {
  ListenOptions options;
  options.unix_mode = 0640;
  Kept(Listen(Unix("x.sock"), options));
  struct stat st;
  ASSERT_EQ(stat((folder_ + "/x.sock").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0640u);
  const int client = Keep(StartConnect(Unix("x.sock")));
  ASSERT_GE(client, 0);
  EXPECT_EQ(Finish(client), 0);
}

TEST_F(Socket, ASocketLeftBehindIsReplaced) {
  close(*Listen(Unix("x.sock"), {}));
  ASSERT_TRUE(std::filesystem::exists(folder_ + "/x.sock"));
  Kept(Listen(Unix("x.sock"), {}));
  const int client = Keep(StartConnect(Unix("x.sock")));
  ASSERT_GE(client, 0);
  EXPECT_EQ(Finish(client), 0);
}

TEST_F(Socket, ALiveUnixSocketIsRefusedAndNamed) {
  Kept(Listen(Unix("x.sock"), {}));
  ExpectSays(Listen(Unix("x.sock"), {}).status(), folder_ + "/x.sock");
  const int client = Keep(StartConnect(Unix("x.sock")));
  EXPECT_GE(client, 0) << "the first one still listens";
}

TEST_F(Socket, ALiveUnixSocketWithAFullQueueIsRefusedWithoutWaiting) {
  ListenOptions options;
  options.backlog = 0;
  Kept(Listen(Unix("x.sock"), options));
  while (Keep(StartConnect(Unix("x.sock"))) >= 0) ASSERT_LT(open_.size(), 100u);
  ASSERT_EQ(errno, EAGAIN) << "the queue is full";
  ExpectSays(Listen(Unix("x.sock"), {}).status(), folder_ + "/x.sock");
}

TEST_F(Socket, AFileThatIsNoSocketIsLeftAlone) {
  std::ofstream(folder_ + "/x.sock") << "precious";
  ExpectSays(Listen(Unix("x.sock"), {}).status(), folder_ + "/x.sock");
  std::string text;
  std::ifstream(folder_ + "/x.sock") >> text;
  EXPECT_EQ(text, "precious");
}

TEST_F(Socket, AFolderThatIsAbsentIsNamed) {
  ExpectSays(Listen(Unix("absent/x.sock"), {}).status(), folder_ + "/absent/x.sock");
}

TEST_F(Socket, ADescriptorThatIsNoSocketHasAnError) { EXPECT_EQ(SocketError(-1), EBADF); }

}  // namespace
}  // namespace cashew::net

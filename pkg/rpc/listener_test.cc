#include "pkg/rpc/listener.h"

#include <fcntl.h>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <vector>

#include "pkg/rpc/test_port.h"

namespace cashew::rpc {
namespace {

class ListenerTest : public testing::Test {
 protected:
  std::string Path() const { return folder_ / "grpc.sock"; }
  absl::StatusOr<std::unique_ptr<Listener>> Open() {
    return Listener::Open({.address = "unix:" + Path()});
  }
  static bool Exists(const std::string& path) {
    struct stat file {};
    return lstat(path.c_str(), &file) == 0;
  }
  TempFolder folder_;
};

TEST_F(ListenerTest, AUnixSocketIsForItsOwnerAlone) {
  const mode_t before = umask(0);
  auto listener = Open();
  umask(before);
  ASSERT_TRUE(listener.ok()) << listener.status();
  struct stat file {};
  ASSERT_EQ(stat(Path().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0600u);
  EXPECT_EQ((*listener)->port(), 0);
}

TEST_F(ListenerTest, RemovesTheFileItMade) {
  Open()->reset();
  EXPECT_FALSE(Exists(Path()));
}

TEST_F(ListenerTest, LeavesAFileThatIsNotItsOwnAnyMore) {
  auto listener = Open();
  std::filesystem::remove(Path());
  std::ofstream(Path()) << "another's";
  listener->reset();
  EXPECT_TRUE(Exists(Path()));
}

TEST_F(ListenerTest, ReplacesTheSocketOfADeadProcess) {
  auto dead = Open();
  (*dead)->KeepFile();
  dead->reset();
  ASSERT_TRUE(Exists(Path()));
  auto listener = Open();
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ(RawClient(Path()).error(), 0);
}

TEST_F(ListenerTest, DoesNotTakeThePlaceOfALiveProcess) {
  auto live = Open();
  const auto second = Open();
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(second.status().message(), "grpc: another process serves unix:" + Path());
  EXPECT_EQ(RawClient(Path()).error(), 0);
}

TEST_F(ListenerTest, SaysWhyAUnixSocketCannotBeHad) {
  std::ofstream(Path()) << "precious";
  EXPECT_EQ(Open().status().message(), "grpc: cannot listen on unix:" + Path() +
                                           ": there is a file of that name and it is no socket");
  EXPECT_TRUE(Exists(Path()));
  const auto error = [](const std::string& address) {
    return std::string(Listener::Open({.address = address}).status().message());
  };
  EXPECT_EQ(error("unix:"), "grpc: cannot listen on unix:: the path is missing");
  EXPECT_EQ(error("unix:" + (folder_ / "no/such")),
            "grpc: cannot listen on unix:" + (folder_ / "no/such") + ": No such file or directory");
  EXPECT_NE(error("unix:/" + std::string(120, 'x')).find("a path of 121 bytes; at most 107"),
            std::string::npos);
}

TEST_F(ListenerTest, PlainTcpIsForLoopbackOnly) {
  for (const char* address : {"127.0.0.1:0", "127.1.2.3:0", "localhost:0"}) {
    const auto listener = Listener::Open({.address = address});
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_GT((*listener)->port(), 0);
  }
  for (const char* address : {"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0"}) {
    EXPECT_EQ(Listener::Open({.address = address}).status().message(),
              fmt::format("grpc: {} is reachable from other machines and needs grpc_tls with cert, "
                          "key, client_ca and allowed_sans; or use 127.0.0.1 or unix:PATH",
                          address));
  }
  EXPECT_TRUE(Listener::Open({.address = "0.0.0.0:0", .loopback_only = false}).ok());
}

TEST_F(ListenerTest, SaysWhatIsWrongWithAnAddress) {
  const auto error = [](const std::string& address) {
    return std::string(Listener::Open({.address = address}).status().message());
  };
  EXPECT_EQ(error("9152"), "grpc: cannot listen on 9152: not of the form host:port or unix:PATH");
  EXPECT_EQ(error("127.0.0.1:http"),
            "grpc: cannot listen on 127.0.0.1:http: the port is not a number from 0 to 65535");
  EXPECT_EQ(error("127.0.0.1:65536"),
            "grpc: cannot listen on 127.0.0.1:65536: the port is not a number from 0 to 65535");
  const auto first = Listener::Open({.address = "127.0.0.1:0"});
  const std::string taken = fmt::format("127.0.0.1:{}", (*first)->port());
  EXPECT_EQ(error(taken), "grpc: cannot listen on " + taken + ": Address already in use");
}

TEST_F(ListenerTest, ASuccessorTakesTheSocketOverAndKeepsItsFile) {
  auto first = Open();
  std::promise<int> waited;
  RawClient waiting(Path());  // connects before anyone accepts
  auto second = Listener::Open({.address = "unix:" + Path(), .adopted_fd = dup((*first)->fd())});
  ASSERT_TRUE(second.ok()) << second.status();
  (*first)->KeepFile();
  first->reset();
  (*second)->StartAccepting([&](int fd) { waited.set_value(fd); });
  const int fd = waited.get_future().get();
  EXPECT_GE(fd, 0);
  close(fd);
  (*second)->StopAccepting();
  EXPECT_TRUE(Exists(Path()));
  second->reset();
  EXPECT_FALSE(Exists(Path()));
}

TEST_F(ListenerTest, AdoptsNothingButAListeningSocketThatItMayServe) {
  const int plain = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(Listener::Open({.address = "127.0.0.1:0", .adopted_fd = plain}).status().message(),
            fmt::format("grpc: cannot listen on 127.0.0.1:0: descriptor {} is no listening socket",
                        plain));
  EXPECT_EQ(fcntl(plain, F_GETFD), -1) << "it owns the descriptor, also on error";
  const auto wide = Listener::Open({.address = "0.0.0.0:0", .loopback_only = false});
  EXPECT_EQ(
      Listener::Open({.address = "127.0.0.1:0", .adopted_fd = dup((*wide)->fd())}).status().code(),
      absl::StatusCode::kFailedPrecondition);
}

TEST_F(ListenerTest, WhileItDoesNotAcceptConnectionsWait) {
  auto listener = Open();
  std::atomic<int> accepted{0};
  const auto take = [&](int fd) {
    ++accepted;
    close(fd);
  };
  (*listener)->StartAccepting(take);
  (*listener)->StopAccepting();
  RawClient client(Path());
  EXPECT_EQ(client.error(), 0);
  EXPECT_EQ(accepted, 0);
  (*listener)->StartAccepting(take);
  std::string nothing;
  EXPECT_TRUE(client.ReadToEnd(&nothing));
  EXPECT_EQ(accepted, 1);
}

TEST_F(ListenerTest, ConnectionsBeyondTheLimitAreClosedUntilOthersEnd) {
  auto listener = Listener::Open({.address = "unix:" + Path(), .max_connections = 2});
  base::Mutex mu;
  std::vector<int> taken;
  (*listener)->StartAccepting([&](int fd) {
    base::MutexLock lock(&mu);
    taken.push_back(fd);
  });
  const RawClient first(Path()), second(Path());
  std::string nothing;
  EXPECT_TRUE(RawClient(Path()).ReadToEnd(&nothing)) << "closed at once";
  {
    base::MutexLock lock(&mu);
    ASSERT_EQ(taken.size(), 2u);
    close(taken.back());
    taken.pop_back();
  }
  RawClient third(Path());
  RawClient fourth(Path());
  EXPECT_TRUE(fourth.ReadToEnd(&nothing));
  (*listener)->StopAccepting();
  EXPECT_EQ(taken.size(), 2u);
  for (const int fd : taken) close(fd);
}

}  // namespace
}  // namespace cashew::rpc

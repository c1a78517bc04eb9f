// Workers, acceptor and snapshots together, over real memcached servers: what
// ThreadSanitizer should see, and that no swap of snapshots hands a client anything
// but its own replies.

#include "pkg/proxy/worker.h"

#include <arpa/inet.h>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "pkg/net/socket.h"
#include "pkg/proxy/acceptor.h"
#include "test/support/server_process.h"

namespace cashew::proxy {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

double Scale() {
  const char* scale = getenv("CASHEW_TEST_SCALE");
  return scale != nullptr ? atof(scale) : 1.0;
}

// A blocking client that checks what it is told.
class Client {
 public:
  explicit Client(uint16_t port) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{10, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~Client() { close(fd_); }

  // The reply up to and including `end`, or up to the first line if that is an error.
  std::string Ask(const std::string& request, const std::string& end) {
    if (send(fd_, request.data(), request.size(), MSG_NOSIGNAL) < 0) return "";
    std::string reply;
    char buffer[4096];
    for (;;) {
      const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) return reply;
      reply.append(buffer, static_cast<size_t>(n));
      const bool error = reply.find("ERROR") != std::string::npos;
      if (reply.ends_with(end) || (error && reply.ends_with("\r\n"))) return reply;
    }
  }
  bool connected() const { return connected_; }

 private:
  int fd_ = -1;
  bool connected_ = false;
};

struct Tally {
  std::atomic<int> answered{0}, errors{0}, wrong{0}, lost{0};
};

// Ten keys of its own, set and read back; then the connection is closed.
void OneVisit(uint16_t port, int visitor, int visit, Tally* tally) {
  Client client(port);
  if (!client.connected()) {
    ++tally->lost;
    return;
  }
  for (int i = 0; i < 10; ++i) {
    const std::string key = fmt::format("v{}-{}-{}", visitor, visit % 50, i);
    const std::string value = key + "=value";
    const std::string set =
        client.Ask(fmt::format("set {} 0 0 {}\r\n{}\r\n", key, value.size(), value), "STORED\r\n");
    const std::string got = client.Ask(fmt::format("get {}\r\n", key), "END\r\n");
    const std::string hit = fmt::format("VALUE {} 0 {}\r\n{}\r\nEND\r\n", key, value.size(), value);
    for (const std::string& reply : {set, got}) {
      if (reply.empty()) ++tally->lost;
      if (reply.find("SERVER_ERROR") != std::string::npos) ++tally->errors;
    }
    if (got == hit || got == "END\r\n") {
      ++tally->answered;
    } else if (got.find("SERVER_ERROR") != 0) {
      ++tally->wrong;
    }
  }
}

class WorkersTest : public testing::Test, public pool::FailureSink {
 protected:
  static constexpr int kWorkers = 2;

  WorkersTest() : registry_(kWorkers + 2), budget_(int64_t{1} << 30) {
    settings_ = std::make_shared<pool::Settings>();
    settings_->name = "p";
    settings_->hash = hash::Kind::kMd5;
    settings_->timeout_ms = 2000;
    settings_->auto_eject = true;
    settings_->server_connections = 2 * kWorkers;
    services_.failures = this;
    services_.registry = &registry_;
    services_.budget = &budget_;
    Door door;
    door.pool = "p";
    for (int i = 0; i < kWorkers; ++i) {
      workers_.push_back(std::make_unique<Worker>(i, services_));
      budget_.AddSource([worker = workers_.back().get()] { return worker->buffer_bytes(); });
      door.homes.push_back({workers_.back().get(), std::make_shared<ClientCount>()});
    }
    homes_ = door.homes;
    registry_.SetServers("p", {"a", "b", "c"});
    Swap({true, true, true}, 3);
    const auto address = net::Resolve("127.0.0.1", 0, true);
    door.fd = *net::Listen(*address, {});
    sockaddr_in bound{};
    socklen_t length = sizeof bound;
    getsockname(door.fd, reinterpret_cast<sockaddr*>(&bound), &length);
    port_ = ntohs(bound.sin_port);
    acceptor_ = std::make_unique<Acceptor>(kWorkers, services_, 0);
    EXPECT_TRUE(acceptor_->AddDoor(std::move(door)).ok());
    for (auto& worker : workers_) worker->Start();
    acceptor_->Start();
  }

  ~WorkersTest() override {
    acceptor_->Stop();
    for (auto& worker : workers_) worker->Stop();
  }

  bool OnFailure(const std::string&, const std::string&, const pool::Failure&) override {
    ++failures_;
    return false;
  }

  // The next snapshot: of the first `count` servers, with these alive.
  void Swap(std::vector<bool> live, size_t count) {
    std::vector<pool::Server> servers;
    for (size_t i = 0; i < count; ++i) {
      pool::Server server;
      server.name = std::string(1, static_cast<char>('a' + i));
      server.host = server.ip = "127.0.0.1";
      server.port = memcached_[i].port();
      server.live = live[i];
      servers.push_back(server);
    }
    const auto snapshot =
        std::make_shared<const pool::Snapshot>(settings_, std::move(servers), ++version_);
    for (const Home& home : homes_) {
      PoolAssignment assignment{snapshot, 2, home.clients, net::PlainTransportFactory(),
                                net::PlainTransportFactory()};
      home.worker->Post([worker = home.worker, assignment] { worker->Adopt(assignment); });
    }
  }

  // Visitors come and go for a while, during which `disturb` is called in a loop.
  template <typename Disturb>
  void Churn(Tally* tally, Disturb disturb) {
    const auto end = steady_clock::now() + milliseconds(static_cast<int>(3000 * Scale()) + 500);
    std::vector<std::thread> visitors;
    for (int v = 0; v < 4; ++v) {
      visitors.emplace_back([&, v] {
        for (int visit = 0; steady_clock::now() < end; ++visit) OneVisit(port_, v, visit, tally);
      });
    }
    for (int round = 0; steady_clock::now() < end; ++round) {
      disturb(round);
      std::this_thread::sleep_for(milliseconds(1));
    }
    for (auto& visitor : visitors) visitor.join();
  }

  int64_t ClientsLeft() const {
    int64_t clients = 0;
    for (const Home& home : homes_) clients += home.clients->value.load();
    return clients;
  }

  test::Memcached memcached_[3];
  metrics::Registry registry_;
  MemoryBudget budget_;
  Services services_;
  std::shared_ptr<pool::Settings> settings_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Home> homes_;
  std::unique_ptr<Acceptor> acceptor_;
  uint16_t port_ = 0;
  uint64_t version_ = 0;
  std::atomic<int> failures_{0};
};

TEST_F(WorkersTest, SnapshotsSwappedInALoopCostNoRequest) {
  Tally tally;
  Churn(&tally, [this](int round) {
    Swap({true, true, true}, 2 + static_cast<size_t>(round % 2));
  });
  EXPECT_GT(tally.answered, 100);
  EXPECT_EQ(tally.wrong, 0);
  EXPECT_EQ(tally.lost, 0);
  EXPECT_EQ(tally.errors, 0);
  EXPECT_EQ(failures_, 0);
}

TEST_F(WorkersTest, EjectionStormsCostErrorsOnlyAndNeverAWrongReply) {
  Tally tally;
  Churn(&tally, [this](int round) { Swap({round % 3 != 0, round % 5 != 0, round % 7 != 0}, 3); });
  EXPECT_GT(tally.answered, 100);
  EXPECT_EQ(tally.wrong, 0);
  EXPECT_EQ(tally.lost, 0);
}

TEST_F(WorkersTest, ClientsAreSharedEvenlyAndForgottenWhenTheyLeave) {
  {
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 20; ++i) {
      clients.push_back(std::make_unique<Client>(port_));
      EXPECT_EQ(clients.back()->Ask("get none\r\n", "END\r\n"), "END\r\n");
    }
    for (const Home& home : homes_) EXPECT_EQ(home.clients->value.load(), 10);
  }
  const auto end = steady_clock::now() + std::chrono::seconds(5);
  while (ClientsLeft() > 0 && steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(ClientsLeft(), 0);
}

}  // namespace
}  // namespace cashew::proxy

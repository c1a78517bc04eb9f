#include "pkg/rpc/server.h"

#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "pkg/rpc/test_port.h"

namespace cashew::rpc {
namespace {

using grpc::StatusCode;

// ---- protocol buffers by hand, for services whose messages no package has ------------------

std::string Field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) +
         std::string(1, static_cast<char>(bytes.size())) + bytes;
}

// SERVING is 1, NOT_SERVING 2; 0: the call failed, with NOT_FOUND for a service it never heard of.
int Health(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  std::string answer;
  const grpc::Status status = RawCall(channel, "/grpc.health.v1.Health/Check",
                                      service.empty() ? "" : Field(1, service), &answer);
  if (!status.ok()) {
    EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
    return 0;
  }
  EXPECT_EQ(answer.size(), 2u);
  return answer.at(1);
}

class ServerTest : public RpcTest {};

TEST_F(ServerTest, HealthIsToldPerPoolAndNotServingUntilThen) {
  StartServer();
  EXPECT_EQ(Health(channel_, ""), 2);
  EXPECT_EQ(Health(channel_, "alpha"), 0);
  server_->SetServing("", true);
  server_->SetServing("alpha", false);
  EXPECT_EQ(Health(channel_, ""), 1);
  EXPECT_EQ(Health(channel_, "alpha"), 2);
  server_->SetServing("alpha", true);
  EXPECT_EQ(Health(channel_, "alpha"), 1);
}

TEST_F(ServerTest, ReflectionListsTheServices) {
  StartServer();
  std::string answer;
  // list_services = 7
  RawCall(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Field(7, "*"),
          &answer);
  for (const char* service :
       {"cashew.membership.v1.MembershipService", "cashew.admin.v1.AdminService",
        "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_NE(answer.find(service), std::string::npos) << service;
  }
  // file_containing_symbol = 4
  RawCall(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
          Field(4, "cashew.admin.v1.AdminService"), &answer);
  EXPECT_NE(answer.find("SetOverrideRequest"), std::string::npos);
}

TEST_F(ServerTest, ServesTcpOnLoopbackAndIpv6) {
  for (const char* address : {"127.0.0.1:0", "[::1]:0"}) {
    options_.address = address;
    auto server = Server::Start(options_, &backend_);
    if (!server.ok() && std::string_view(address).front() == '[') continue;  // no IPv6 here
    ASSERT_TRUE(server.ok()) << server.status();
    const std::string target = fmt::format(
        "{}:{}", std::string_view(address).substr(0, std::string_view(address).rfind(':')),
        (*server)->port());
    const auto channel = grpc::CreateChannel(target, grpc::InsecureChannelCredentials());
    EXPECT_EQ(Health(channel, ""), 2);
  }
}

TEST_F(ServerTest, AFailedStartSaysWhyAndLeavesNothingBehind) {
  options_.address = "0.0.0.0:0";
  EXPECT_EQ(Server::Start(options_, &backend_).status().code(),
            absl::StatusCode::kFailedPrecondition);
  options_.address = "unix:" + (folder_ / "grpc.sock");
  options_.tls.emplace();
  EXPECT_EQ(Server::Start(options_, &backend_).status().message(),
            fmt::format("grpc: {} takes no grpc_tls; leave it out, the socket's mode says who gets "
                        "in, or give host:port",
                        options_.address));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "grpc.sock"));
}

TEST_F(ServerTest, AnUpgradeLosesNoConnection) {
  StartServer();
  EXPECT_EQ(Health(channel_, ""), 2);
  server_->StopAccepting();
  const auto late = NewChannel();  // connects while nobody accepts

  Server::Options options = options_;
  options.adopted_fd = dup(server_->listen_fd());
  auto successor = Server::Start(options, &backend_);
  ASSERT_TRUE(successor.ok()) << successor.status();
  (*successor)->SetServing("", true);
  EXPECT_EQ(Health(late, ""), 1);
  EXPECT_EQ(Health(channel_, ""), 2) << "an open connection stays where it is";
  server_->LeaveSocketToSuccessor();
  server_->Shutdown(0);
  EXPECT_EQ(Health(NewChannel(), ""), 1);
  (*successor)->Shutdown(0);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "grpc.sock"));
}

TEST_F(ServerTest, AcceptsAgainWhenTheSuccessorDidNotComeUp) {
  StartServer();
  server_->StopAccepting();
  server_->ResumeAccepting();
  EXPECT_EQ(Health(channel_, ""), 2);
}

TEST_F(ServerTest, CallsAfterShutdownDoNothing) {
  StartServer();
  server_->Shutdown(100);
  server_->Shutdown(100);
  server_->SetServing("alpha", true);
  EXPECT_NE(RawClient(folder_ / "grpc.sock").error(), 0);
}

TEST_F(ServerTest, AHalfOpenClientIsFoundByItsMissingPong) {
  options_.keepalive_ms = 100;
  options_.keepalive_timeout_ms = 100;
  StartServer();
  RawClient client(folder_ / "grpc.sock");
  client.SayHello();
  std::string frames;
  EXPECT_TRUE(client.ReadToEnd(&frames)) << "the server did not hang up";
}

TEST_F(ServerTest, AClientMayPingWithoutCallsButNotAllTheTime) {
  options_.min_client_ping_ms = 1;
  StartServer();
  {
    RawClient client(folder_ / "grpc.sock");
    client.SayHello();
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(client.Ping());
      poll(nullptr, 0, 5);
    }
    std::string frames;
    EXPECT_FALSE(client.ReadToEnd(&frames, 50));
    EXPECT_EQ(frames.find("too_many_pings"), std::string::npos);
  }
  server_->Shutdown(0);
  options_.min_client_ping_ms = 60'000;
  StartServer();
  RawClient client(folder_ / "grpc.sock");
  client.SayHello();
  for (int i = 0; i < 20; ++i) client.Ping();
  std::string frames;
  EXPECT_TRUE(client.ReadToEnd(&frames));
  EXPECT_NE(frames.find("too_many_pings"), std::string::npos);
}

TEST_F(ServerTest, BytesThatAreNotHttp2CloseTheirConnectionOnly) {
  StartServer();
  RawClient client(folder_ / "grpc.sock");
  client.Send("GET / HTTP/1.1\r\nHost: cashew\r\n\r\n");
  std::string answer;
  EXPECT_TRUE(client.ReadToEnd(&answer));
  EXPECT_EQ(Health(channel_, ""), 2);
}

TEST_F(ServerTest, SignalsAreBlockedInItsThreads) {
  StartServer();
  EXPECT_EQ(Health(channel_, ""), 2);
  std::set<std::string> seen;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream status(task.path() / "status");
    std::string name, line;
    while (std::getline(status, line)) {
      if (line.starts_with("Name:\t")) name = line.substr(6);
      if (!line.starts_with("SigBlk:\t") || !name.starts_with("grpc-")) continue;
      seen.insert(name);
      const uint64_t blocked = std::stoull(line.substr(8), nullptr, 16);
      EXPECT_EQ(blocked & (1u << (SIGTERM - 1)), 1u << (SIGTERM - 1)) << name;
    }
  }
  EXPECT_EQ(seen, (std::set<std::string>{"grpc-accept", "grpc-watch"}));
}

// ---- AdminService ------------------------------------------------------------------------------

using Stub = adminpb::AdminService::Stub;

class Admin : public RpcTest {
 protected:
  void SetUp() override {
    options_.clock = &clock_;
    backend_.Publish(MakeView("alpha", 2, 5));
    StartServer();
  }
  base::ManualClock clock_{int64_t{5} * base::kNsPerSec};
};

TEST_F(Admin, StatusShowsTheProcessAndItsPoolsAsTextThatEveryClientReads) {
  adminpb::GetStatusResponse status;
  ASSERT_TRUE(Call(admin_, &Stub::GetStatus, {}, &status).ok());
  EXPECT_EQ(status.pid(), getpid());
  EXPECT_FALSE(status.version().empty());
  EXPECT_FALSE(status.ready());
  EXPECT_EQ(status.not_ready_reasons(0), "pool \"alpha\" has no list");
  EXPECT_EQ(status.started_at().nanos(), 500'000'000);
  EXPECT_EQ(status.config_file(), "conf/\\xff.yml");
  EXPECT_EQ(status.workers(), 4);
  EXPECT_EQ(status.client_connections(), 7);
  ASSERT_EQ(status.pools_size(), 1);
  EXPECT_EQ(status.pools(0).servers_size(), 0);
}

TEST_F(Admin, StatsAreTheJsonOfTheStatsPort) {
  adminpb::GetStatsResponse stats;
  ASSERT_TRUE(Call(admin_, &Stub::GetStats, {}, &stats).ok());
  EXPECT_EQ(stats.json(), "{\"service\":\"nutcracker\"}");
}

TEST_F(Admin, LocateTakesAnyKey) {
  adminpb::LocateRequest request;
  request.set_pool("alpha");
  request.set_key(std::string("k\0\xff", 3));
  adminpb::LocateResponse location;
  ASSERT_TRUE(Call(admin_, &Stub::Locate, request, &location).ok());
  EXPECT_EQ(location.hashed(), "k\\x00\\xff");
  EXPECT_EQ(location.hash(), 42);
  EXPECT_EQ(location.server(), "cache-0");
  request.set_pool("gamma");
  EXPECT_EQ(Call(admin_, &Stub::Locate, request, &location).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(Admin, OverridesAreCheckedAndTimedByTheClock) {
  adminpb::SetOverrideRequest request;
  request.set_pool("alpha");
  request.set_server("cache-0");
  adminpb::SetOverrideResponse response;
  EXPECT_EQ(Call(admin_, &Stub::SetOverride, request, &response).error_message(),
            "state: nothing is set; give a state, a weight, or both");
  request.set_weight(3);
  request.mutable_expires_in()->set_seconds(60);
  ASSERT_TRUE(Call(admin_, &Stub::SetOverride, request, &response).ok());
  EXPECT_EQ(response.version(), 9);
  EXPECT_EQ(backend_.last_override.weight, 3);
  EXPECT_EQ(backend_.last_override.state, std::nullopt);
  EXPECT_EQ(backend_.last_override.expires_us, 65'000'000);

  adminpb::ClearOverrideResponse cleared;
  ASSERT_TRUE(Call(admin_, &Stub::ClearOverride, {}, &cleared).ok());
  EXPECT_EQ(cleared.version(), 10);
}

TEST_F(Admin, HotKeysAreSharesAndRatesOfWhatWasSampled) {
  adminpb::GetHotKeysRequest request;
  adminpb::GetHotKeysResponse hot;
  request.set_pool("alpha");
  ASSERT_TRUE(Call(admin_, &Stub::GetHotKeys, request, &hot).ok());
  EXPECT_EQ(hot.keys_size(), 20);
  request.set_limit(3);
  ASSERT_TRUE(Call(admin_, &Stub::GetHotKeys, request, &hot).ok());
  EXPECT_EQ(hot.keys_size(), 3);
  EXPECT_EQ(hot.sample(), 100);
  EXPECT_EQ(hot.samples(), 1000);
  EXPECT_EQ(hot.window_seconds(), 10);
  EXPECT_EQ(hot.keys(0).key(), "k\\xff");
  EXPECT_EQ(hot.keys(0).share(), 0.25);
  EXPECT_EQ(hot.keys(0).per_second(), 2500);
  EXPECT_EQ(hot.keys(0).samples(), 250);
  EXPECT_EQ(hot.keys(0).samples_at_most(), 260);
}

TEST_F(Admin, TheSlowLogIsCutAndResetAsAsked) {
  adminpb::GetSlowLogRequest request;
  adminpb::GetSlowLogResponse slow;
  request.set_pool("alpha");
  ASSERT_TRUE(Call(admin_, &Stub::GetSlowLog, request, &slow).ok());
  EXPECT_EQ(slow.requests_size(), 3);
  EXPECT_EQ(slow.requests(0).pool(), "alpha");
  EXPECT_FALSE(backend_.slow_log_reset);
  request.set_limit(1);
  request.set_reset(true);
  ASSERT_TRUE(Call(admin_, &Stub::GetSlowLog, request, &slow).ok());
  EXPECT_EQ(slow.requests_size(), 1);
  EXPECT_EQ(slow.requests(0).total_us(), 5000);
  EXPECT_TRUE(backend_.slow_log_reset);
}

TEST_F(Admin, AReloadThatFailsTellsTheFaults) {
  adminpb::ReloadResponse response;
  const grpc::Status status = Call(admin_, &Stub::Reload, {}, &response);
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "line 3: pool \"alpha\" has no listen");
}

TEST_F(Admin, AnUpgradeTellsTheNewProcessAndStopIsAnswered) {
  adminpb::UpgradeResponse upgraded;
  ASSERT_TRUE(Call(admin_, &Stub::Upgrade, {}, &upgraded).ok());
  EXPECT_EQ(upgraded.pid(), 123);
  EXPECT_EQ(upgraded.version(), "0.2.0");
  adminpb::StopResponse stopped;
  EXPECT_TRUE(Call(admin_, &Stub::Stop, {}, &stopped).ok());
  EXPECT_TRUE(backend_.stopped);
}

}  // namespace
}  // namespace cashew::rpc

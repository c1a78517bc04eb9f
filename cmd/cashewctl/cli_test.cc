// The commands against a small proxy of our own: what is asked, what is printed, and the exit
// code. test/integration/cashewctl_test.py does the same with a real one.

#include "cmd/cashewctl/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

#include "fmt/format.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace cashew::ctl {
namespace {

using grpc::ServerContext;
using grpc::Status;
using grpc::StatusCode;
using testing::HasSubstr;
using testing::Not;
namespace av1 = admin::v1;
namespace mv1 = membership::v1;

// One pool, "cache". Calls come one at a time: no lock.
class FakeMembership : public mv1::MembershipService::Service {
 public:
  FakeMembership() {
    pool.set_name("cache");
    pool.set_protocol("memcached");
    pool.set_membership("grpc");
    pool.set_version(7);
    Add("a", "10.0.0.1:11211");
    Add("b", "10.0.0.2:11211");
  }

  Status ListPools(ServerContext*, const mv1::ListPoolsRequest*,
                   mv1::ListPoolsResponse* answer) override {
    *answer->add_pools() = pool;
    return Status::OK;
  }

  Status GetPool(ServerContext*, const mv1::GetPoolRequest* request,
                 mv1::GetPoolResponse* answer) override {
    if (request->pool() != "cache") return NoPool(request->pool());
    *answer->mutable_pool() = pool;
    return Status::OK;
  }

  Status SetServers(ServerContext*, const mv1::SetServersRequest* request,
                    mv1::SetServersResponse* answer) override {
    if (request->pool() != "cache") return NoPool(request->pool());
    set_requests.push_back(*request);
    if (!refuse_set.ok()) return refuse_set;
    if (races > 0) {
      --races;
      pool.set_version(pool.version() + 1);
    }
    if (request->expected_version() != 0 && request->expected_version() != pool.version()) {
      return {StatusCode::ABORTED, "the pool is at another version"};
    }
    answer->set_version(pool.version() + 1);
    answer->add_added("c");
    return Status::OK;
  }

  Status WatchPool(ServerContext*, const mv1::WatchPoolRequest* request,
                   grpc::ServerWriter<mv1::WatchPoolResponse>* writer) override {
    if (request->pool() != "cache") return NoPool(request->pool());
    mv1::WatchPoolResponse update;
    *update.mutable_pool() = pool;
    writer->Write(update);
    update.add_changed("a");
    update.mutable_pool()->mutable_servers(0)->set_healthy(false);
    writer->Write(update);
    return {StatusCode::NOT_FOUND, "the pool was removed"};
  }

  mv1::Pool pool;
  Status refuse_set;
  int races = 0;  // this many SetServers find that somebody else was faster
  std::vector<mv1::SetServersRequest> set_requests;

 private:
  void Add(const std::string& name, const std::string& address) {
    mv1::ServerStatus& status = *pool.add_servers();
    status.mutable_server()->set_name(name);
    status.mutable_server()->set_address(address);
    status.set_healthy(true);
    status.set_routed(true);
  }
  static Status NoPool(const std::string& name) {
    return {StatusCode::NOT_FOUND, fmt::format("no pool \"{}\"", name)};
  }
};

class FakeAdmin : public av1::AdminService::Service {
 public:
  Status GetStatus(ServerContext*, const av1::GetStatusRequest*,
                   av1::GetStatusResponse* answer) override {
    answer->set_version("9.9.9");
    answer->set_pid(stopped ? 0 : 4'000'000'000);  // of no process here
    answer->add_not_ready_reasons("pool \"cache\" has no list yet");
    return Status::OK;
  }
  Status GetStats(ServerContext*, const av1::GetStatsRequest*,
                  av1::GetStatsResponse* answer) override {
    answer->set_json(fmt::format(R"({{"version": "9", "cache": {{"a": {{"requests": {}}}}}}})",
                                 100 * ++stats_asked));
    return Status::OK;
  }
  Status Locate(ServerContext*, const av1::LocateRequest* request,
                av1::LocateResponse* answer) override {
    answer->set_hashed(request->key());
    answer->set_server("b");
    answer->set_address("10.0.0.2:11211");
    answer->set_owner("a");
    return Status::OK;
  }
  Status GetHotKeys(ServerContext*, const av1::GetHotKeysRequest* request,
                    av1::GetHotKeysResponse* answer) override {
    if (request->pool() == "off") return {StatusCode::FAILED_PRECONDITION, "counts no keys"};
    answer->set_sample(100);
    answer->set_samples(2000);
    answer->set_window_seconds(45);
    auto& key = *answer->add_keys();
    key.set_key("user:1\\x0a");
    key.set_key_bytes(request->limit());
    key.set_share(0.125);
    key.set_per_second(555.5);
    return Status::OK;
  }
  Status GetSlowLog(ServerContext*, const av1::GetSlowLogRequest* request,
                    av1::GetSlowLogResponse* answer) override {
    slow_logs.push_back(request->ShortDebugString());
    if (request->pool().empty()) return Status::OK;
    auto& slow = *answer->add_requests();
    slow.mutable_ended_at()->set_seconds(1'700'000'000);
    slow.set_pool(request->pool());
    slow.set_server("a");
    slow.set_command("get");
    slow.set_key("user:1");
    slow.set_total_us(12'345);
    slow.set_queued_us(345);
    slow.set_server_us(12'000);
    slow.set_parts(1);
    slow.set_outcome("timeout");
    return Status::OK;
  }
  Status SetOverride(ServerContext*, const av1::SetOverrideRequest* request,
                     av1::SetOverrideResponse* answer) override {
    overrides.push_back(request->ShortDebugString());
    if (request->server() == "z") return {StatusCode::NOT_FOUND, "no server \"z\""};
    answer->set_version(8);
    return Status::OK;
  }
  Status ClearOverride(ServerContext*, const av1::ClearOverrideRequest* request,
                       av1::ClearOverrideResponse* answer) override {
    overrides.push_back("clear " + request->ShortDebugString());
    return Status::OK;
  }
  Status Reload(ServerContext*, const av1::ReloadRequest*, av1::ReloadResponse* answer) override {
    if (bad_file) {
      return {StatusCode::FAILED_PRECONDITION, "cashew.yml:1: wrong\ncashew.yml:9: \x1b[2Jworse"};
    }
    answer->set_changed(true);
    answer->add_added("new");
    answer->add_warnings("old: slow");
    return Status::OK;
  }
  Status Stop(ServerContext*, const av1::StopRequest*, av1::StopResponse*) override {
    stopped = true;
    return Status::OK;
  }
  Status Upgrade(ServerContext*, const av1::UpgradeRequest*,
                 av1::UpgradeResponse* answer) override {
    answer->set_pid(99);
    answer->set_version("10.0.0");
    return Status::OK;
  }

  bool stopped = false;
  bool bad_file = false;
  int stats_asked = 0;
  std::vector<std::string> overrides;
  std::vector<std::string> slow_logs;
};

class CliTest : public testing::Test {
 protected:
  CliTest() {
    char folder[] = "/tmp/cashewctl-XXXXXX";
    folder_ = mkdtemp(folder);
    address_ = "unix:" + folder_ + "/grpc.sock";
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.RegisterService(&membership_);
    builder.RegisterService(&admin_);
    server_ = builder.BuildAndStart();
  }
  ~CliTest() override {
    server_->Shutdown();
    server_->Wait();
    unlink((folder_ + "/grpc.sock").c_str());
    rmdir(folder_.c_str());
  }

  // `words` after the address.
  int Ctl(const std::vector<std::string>& words) {
    std::vector<std::string> all = {"cashewctl", "--address", address_};
    all.insert(all.end(), words.begin(), words.end());
    return CtlAlone(all);
  }
  int CtlAlone(const std::vector<std::string>& words) {
    std::vector<const char*> argv;
    for (const std::string& word : words) argv.push_back(word.c_str());
    std::ostringstream out;
    std::ostringstream err;
    Session session(out, err, false);
    const int code = ctl::Run(static_cast<int>(argv.size()), argv.data(), session);
    out_ = out.str();
    err_ = err.str();
    return code;
  }
  nlohmann::json Json() const { return nlohmann::json::parse(out_); }

  FakeMembership membership_;
  FakeAdmin admin_;
  std::string folder_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  std::string out_;
  std::string err_;
};

TEST_F(CliTest, HelpListsEveryCommandAndTheExitCodes) {
  EXPECT_EQ(Ctl({"--help"}), kDone);
  for (const std::string word :
       {"pools", "servers", "watch", "set", "add", "remove", "server", "locate", "status", "reload",
        "stop", "drain", "restart", "upgrade", "stats", "check", "completion", "version"}) {
    EXPECT_THAT(out_, HasSubstr("  " + word + " ")) << word;
  }
  for (const ExitCodeRow& row : kExitCodes) EXPECT_THAT(out_, HasSubstr(std::string(row.meaning)));
  EXPECT_EQ(Ctl({"server", "drain", "--help"}), kDone);
  EXPECT_THAT(out_, HasSubstr("--for"));
}

TEST_F(CliTest, WrongUseIsToldAndIsTwo) {
  EXPECT_EQ(Ctl({}), kUsage);
  EXPECT_EQ(Ctl({"nonsense"}), kUsage);
  EXPECT_EQ(Ctl({"server"}), kUsage);
  EXPECT_EQ(Ctl({"servers"}), kUsage);
  EXPECT_THAT(err_, HasSubstr("POOL"));
  EXPECT_THAT(err_, HasSubstr("cashewctl servers --help"));
  EXPECT_EQ(Ctl({"server", "weight", "cache", "a", "0"}), kUsage);
  EXPECT_EQ(Ctl({"server", "drain", "cache", "a", "--for", "10"}), kUsage);
  EXPECT_THAT(err_, HasSubstr("--for \"10\" has no unit"));
  EXPECT_EQ(Ctl({"set", "cache"}), kUsage);
  EXPECT_EQ(Ctl({"set", "cache", "a=h:1", "-f", "x"}), kUsage);
  EXPECT_EQ(Ctl({"set", "cache", "-f", "/nowhere/list"}), kUsage);
  EXPECT_EQ(Ctl({"pools", "--output", "xml"}), kUsage);
  EXPECT_EQ(Ctl({"pools", "--timeout", "soon"}), kUsage);
  EXPECT_EQ(CtlAlone({"cashewctl", "pools", "--address", "here"}), kUsage);
  EXPECT_TRUE(membership_.set_requests.empty());
}

TEST_F(CliTest, PoolsAndServersAreTablesOrJson) {
  EXPECT_EQ(Ctl({"pools"}), kDone);
  EXPECT_THAT(out_, HasSubstr("cache  memcached"));
  EXPECT_EQ(Ctl({"servers", "cache"}), kDone);
  EXPECT_THAT(out_, HasSubstr("a       10.0.0.1:11211"));
  EXPECT_EQ(Ctl({"servers", "cache", "--output", "json"}), kDone);
  EXPECT_EQ(Json()["version"], 7);
  EXPECT_EQ(Json()["servers"][0]["server"]["name"], "a");
  EXPECT_EQ(Json()["servers"][0]["server"]["weight"], nullptr);
  EXPECT_EQ(Json()["servers"][0]["server"]["state"], "unspecified");
  EXPECT_EQ(Json()["updated_at"], nullptr);
}

TEST_F(CliTest, APoolMayHaveTheNameOfACommand) {
  EXPECT_EQ(Ctl({"servers", "watch"}), kNotFound);
  EXPECT_THAT(err_, HasSubstr("cashewctl: servers watch: not found: no pool \"watch\""));
}

TEST_F(CliTest, WatchPrintsThePoolThenItsChanges) {
  EXPECT_EQ(Ctl({"watch", "cache"}), kNotFound);
  EXPECT_THAT(out_, HasSubstr("changed a\n  a: 10.0.0.1:11211 weight 1, ready, unhealthy"));
  EXPECT_THAT(err_, HasSubstr("the pool was removed"));
  EXPECT_EQ(Ctl({"watch", "cache", "--count", "1", "--output", "json"}), kDone);
  EXPECT_EQ(Json()["pool"]["name"], "cache");
}

TEST_F(CliTest, SetSendsTheListAndItsConditions) {
  EXPECT_EQ(Ctl({"set", "cache", "x=10.0.0.9:1:4", "y=[::1]:2", "--dry-run", "--take-over",
                 "--if-version", "7"}),
            kDone);
  EXPECT_EQ(out_, "pool cache: dry run: added c; version 8, ring checksum 00000000\n");
  const mv1::SetServersRequest& sent = membership_.set_requests.at(0);
  EXPECT_EQ(sent.servers_size(), 2);
  EXPECT_EQ(sent.servers(0).weight(), 4U);
  EXPECT_FALSE(sent.servers(1).has_weight());
  EXPECT_EQ(sent.expected_version(), 7U);
  EXPECT_TRUE(sent.dry_run());
  EXPECT_TRUE(sent.take_over());
}

TEST_F(CliTest, AddEditsTheListAndTriesAgainWhenSomebodyWasFaster) {
  membership_.races = 2;
  EXPECT_EQ(Ctl({"add", "cache", "c=10.0.0.3:11211", "--output", "json"}), kDone);
  EXPECT_EQ(Json()["added"][0], "c");
  ASSERT_EQ(membership_.set_requests.size(), 3U);
  EXPECT_EQ(membership_.set_requests[2].servers_size(), 3);
  EXPECT_EQ(membership_.set_requests[2].expected_version(), 9U);
}

TEST_F(CliTest, AddGivesUpWhenSomebodyIsAlwaysFaster) {
  membership_.races = 1000;
  EXPECT_EQ(Ctl({"add", "cache", "c=10.0.0.3:11211"}), kConflict);
  EXPECT_LT(membership_.set_requests.size(), 10U);
  EXPECT_THAT(err_, HasSubstr("another version"));
}

TEST_F(CliTest, AddAndRemoveLookAtTheListFirst) {
  EXPECT_EQ(Ctl({"add", "cache", "a=10.0.0.9:11211"}), kConflict);
  EXPECT_THAT(err_, HasSubstr("--replace"));
  EXPECT_EQ(Ctl({"remove", "cache", "z"}), kNotFound);
  EXPECT_THAT(err_, HasSubstr("it has: a, b"));
  EXPECT_TRUE(membership_.set_requests.empty());
  EXPECT_EQ(Ctl({"remove", "cache", "a"}), kDone);
  EXPECT_EQ(membership_.set_requests.at(0).servers(0).name(), "b");
}

TEST_F(CliTest, ARefusalThatIsAnOwnersIsAConflict) {
  membership_.refuse_set = {StatusCode::FAILED_PRECONDITION, "the pool is static"};
  EXPECT_EQ(Ctl({"set", "cache", "a=h:1"}), kRefused);
  membership_.pool.set_updater("sidecar");
  membership_.refuse_set = {StatusCode::FAILED_PRECONDITION, "owned by \"sidecar\""};
  EXPECT_EQ(Ctl({"set", "cache", "a=h:1"}), kConflict);
  EXPECT_THAT(err_, HasSubstr("set cache: refused: owned by \"sidecar\""));
}

TEST_F(CliTest, RefusedFieldsAreListed) {
  google::rpc::BadRequest refused;
  auto& violation = *refused.add_field_violations();
  violation.set_field("servers[1].weight");
  violation.set_description("0 is no weight");
  google::rpc::Status details;
  details.add_details()->PackFrom(refused);
  membership_.refuse_set = {StatusCode::INVALID_ARGUMENT, "1 fault in the list",
                            details.SerializeAsString()};
  EXPECT_EQ(Ctl({"set", "cache", "a=h:1"}), kRefused);
  EXPECT_EQ(err_,
            "cashewctl: set cache: refused: 1 fault in the list\n"
            "  servers[1].weight: 0 is no weight\n");
}

TEST_F(CliTest, ServerCommandsSayWhatAPersonSays) {
  EXPECT_EQ(Ctl({"server", "drain", "cache", "a", "--for", "10m"}), kDone);
  EXPECT_EQ(out_, "a: 10.0.0.1:11211 weight 1, ready, healthy, routed\n");
  EXPECT_EQ(Ctl({"server", "down", "cache", "a"}), kDone);
  EXPECT_EQ(Ctl({"server", "weight", "cache", "a", "5"}), kDone);
  EXPECT_EQ(Ctl({"server", "up", "cache", "a"}), kDone);
  EXPECT_EQ(Ctl({"server", "up", "cache", "a", "--for", "1s"}), kDone);
  EXPECT_THAT(
      admin_.overrides,
      testing::ElementsAre(
          R"(pool: "cache" server: "a" state: SERVER_STATE_DRAINING expires_in { seconds: 600 })",
          R"(pool: "cache" server: "a" state: SERVER_STATE_DOWN)",
          R"(pool: "cache" server: "a" weight: 5)", R"(clear pool: "cache" server: "a")",
          R"(pool: "cache" server: "a" state: SERVER_STATE_READY expires_in { seconds: 1 })"));
  EXPECT_EQ(Ctl({"server", "drain", "cache", "z"}), kNotFound);
}

TEST_F(CliTest, LocateTellsWhenTheOwnerIsOut) {
  EXPECT_EQ(Ctl({"locate", "cache", "user:1"}), kDone);
  EXPECT_THAT(out_, HasSubstr("owner          a, which is out now\n"));
  EXPECT_EQ(Ctl({"locate", "cache", "--output", "json", "--", "--key"}), kDone);
  EXPECT_EQ(Json()["key"], "--key");
  EXPECT_EQ(Json()["owner"], "a");
}

TEST_F(CliTest, StatusSaysWhyTheProxyIsNotReady) {
  EXPECT_EQ(Ctl({"status"}), kDone);
  EXPECT_THAT(out_, HasSubstr("pool \"cache\" has no list yet"));
  EXPECT_EQ(Ctl({"status", "--output", "json"}), kDone);
  EXPECT_EQ(Json()["pid"], 4'000'000'000);
}

TEST_F(CliTest, ReloadTellsWhatChangedOrEveryFault) {
  EXPECT_EQ(Ctl({"reload"}), kDone);
  EXPECT_EQ(out_, "reloaded\n  added new\n  warning: old: slow\n");
  admin_.bad_file = true;
  EXPECT_EQ(Ctl({"reload"}), kRefused);
  EXPECT_EQ(err_, "cashewctl: reload: refused: cashew.yml:1: wrong\ncashew.yml:9: \\x1b[2Jworse\n");
}

TEST_F(CliTest, StopWaitsUntilAnotherOrNobodyAnswers) {
  EXPECT_EQ(Ctl({"stop"}), kDone);
  EXPECT_TRUE(admin_.stopped);
  EXPECT_THAT(out_, HasSubstr("drains, then exits"));
  admin_.stopped = false;
  EXPECT_EQ(Ctl({"drain", "--wait"}), kDone);
  EXPECT_EQ(out_, "process 4000000000 has drained and ended\n");
}

TEST_F(CliTest, UpgradeAndRestartNameTheNewProcess) {
  EXPECT_EQ(Ctl({"restart"}), kDone);
  EXPECT_EQ(Ctl({"upgrade"}), kDone);
  EXPECT_EQ(out_, "process 99 serves now, version 10.0.0\n");
}

TEST_F(CliTest, StatsAreJsonAndWatchedTheyAreRates) {
  EXPECT_EQ(Ctl({"stats"}), kDone);
  EXPECT_EQ(Json()["cache"]["a"]["requests"], 100);
  EXPECT_EQ(Ctl({"stats", "--watch", "--interval", "10ms", "--count", "2"}), kDone);
  EXPECT_THAT(out_, HasSubstr("pool=cache server=a requests_per_second="));
  EXPECT_EQ(admin_.stats_asked, 4);
  EXPECT_EQ(Ctl({"stats", "--count", "2"}), kUsage);
}

TEST_F(CliTest, HotKeysAreATableOrJson) {
  EXPECT_EQ(Ctl({"hotkeys", "cache", "--limit", "251"}), kDone);
  EXPECT_EQ(out_,
            " SHARE  PER SECOND  KEY\n"
            "12.50%       555.5  user:1\\x0a...(1 more)\n\n"
            "2000 keys looked at within 45 s, one in 100\n");
  EXPECT_EQ(Ctl({"hotkeys", "cache", "--output", "json"}), kDone);
  EXPECT_EQ(Json()["keys"][0]["key_bytes"], 20);  // the limit, unless it is given
  EXPECT_EQ(Json()["keys"][0]["share"], 0.125);
  EXPECT_EQ(Ctl({"hotkeys", "off"}), kRefused);
  EXPECT_THAT(err_, HasSubstr("counts no keys"));
  EXPECT_EQ(Ctl({"hotkeys"}), kUsage);
  EXPECT_EQ(Ctl({"hotkeys", "cache", "--limit", "0"}), kUsage);
}

TEST_F(CliTest, TheSlowLogTellsTheStagesAndMayBeReset) {
  EXPECT_EQ(Ctl({"slowlog", "cache", "--reset", "--limit", "5"}), kDone);
  EXPECT_EQ(
      out_,
      "ENDED                 POOL   SERVER  TOTAL MS  QUEUED  AT SERVER   HELD  PARTS  OUTCOME  "
      "COMMAND  KEY\n"
      "2023-11-14T22:13:20Z  cache  a         12.345   0.345     12.000  0.000      1  timeout  "
      "get      user:1\n");
  EXPECT_EQ(Ctl({"slowlog"}), kDone);
  EXPECT_EQ(out_, "no slow requests are kept\n");
  EXPECT_THAT(admin_.slow_logs, testing::ElementsAre(R"(pool: "cache" limit: 5 reset: true)", ""));
  EXPECT_EQ(Ctl({"slowlog", "cache", "--output", "json"}), kDone);
  EXPECT_EQ(Json()["requests"][0]["total_us"], 12'345);
  EXPECT_EQ(Json()["requests"][0]["ended_at"], "2023-11-14T22:13:20Z");
}

TEST_F(CliTest, VersionAsksTheProxyButDoesNotNeedOne) {
  EXPECT_EQ(Ctl({"version"}), kDone);
  EXPECT_THAT(out_, HasSubstr("9.9.9"));
  EXPECT_EQ(CtlAlone({"cashewctl", "version", "--address", "unix:" + folder_ + "/none"}), kDone);
  EXPECT_THAT(out_, HasSubstr("none reached"));
}

TEST_F(CliTest, NobodyThereIsThreeAndNamesTheAddress) {
  const std::string nowhere = "unix:" + folder_ + "/none";
  for (const std::string command : {"pools", "status", "stats"}) {
    EXPECT_EQ(CtlAlone({"cashewctl", command, "--address", nowhere}), kUnreachable);
    EXPECT_THAT(err_, HasSubstr("cannot reach the proxy at " + nowhere));
    EXPECT_THAT(err_, HasSubstr("check that cashew runs"));
  }
  EXPECT_EQ(CtlAlone({"cashewctl", "watch", "cache", "--address", nowhere}), kUnreachable);
}

TEST_F(CliTest, CompletionKnowsEveryCommandAndOption) {
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    EXPECT_EQ(Ctl({"completion", shell}), kDone);
    for (const std::string word : {"/server/drain", "take-over", "locate", "tls-ca"}) {
      EXPECT_THAT(out_, HasSubstr(word)) << shell;
    }
    EXPECT_THAT(out_, HasSubstr("table json")) << shell;
  }
  EXPECT_EQ(Ctl({"completion", "tcsh"}), kUsage);
}

}  // namespace
}  // namespace cashew::ctl

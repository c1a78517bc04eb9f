#include "pkg/rpc/convert.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "fmt/format.h"

#include "pkg/rpc/address.h"
#include "pkg/rpc/fake_backend.h"
#include "pkg/rpc/status.h"

namespace cashew::rpc {
namespace {

using membershippb::Server;

membershippb::Server MakeServer(const std::string& name, const std::string& address) {
  membershippb::Server server;
  server.set_name(name);
  server.set_address(address);
  return server;
}

ServerList List(const std::vector<Server>& servers) {
  return ServerList(servers.begin(), servers.end());
}

// What is said of a list whose fourth server is `bad`.
std::string FaultOf(const Server& bad) {
  std::vector<Server> servers;
  for (int i = 0; i < 3; ++i) servers.push_back(MakeServer(fmt::format("s{}", i), "10.0.0.1:1"));
  servers.push_back(bad);
  const auto parsed = ParseServers(List(servers));
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(parsed.status().message());
}

TEST(ParseServers, TakesAListWithEverythingSet) {
  Server full = MakeServer("cache-1", "[2001:db8::1]:11212");
  full.set_weight(7);
  full.set_zone("eu-1a");
  full.set_state(membershippb::SERVER_STATE_DRAINING);
  const auto specs = ParseServers(List({MakeServer("cache-0", "cache-0.cache:11211"), full}));
  ASSERT_TRUE(specs.ok()) << specs.status();
  pool::ServerSpec want;
  want.name = "cache-0";
  want.host = "cache-0.cache";
  want.port = 11211;
  EXPECT_EQ((*specs)[0], want);
  want = {};
  want.name = "cache-1";
  want.host = "2001:db8::1";
  want.port = 11212;
  want.weight = 7;
  want.zone = "eu-1a";
  want.state = pool::ServerState::kDraining;
  EXPECT_EQ((*specs)[1], want);
  EXPECT_EQ((*specs)[1].Address(), "[2001:db8::1]:11212");
}

TEST(ParseServers, AnEmptyListIsTheBackendsAffair) {
  EXPECT_TRUE(ParseServers(ServerList())->empty());
}

TEST(ParseServers, NamesTheServerAndTheFieldThatIsWrong) {
  Server server = MakeServer("x", "10.0.0.1:1");
  server.set_weight(0);
  EXPECT_EQ(FaultOf(server), "servers[3].weight: 0 is not a weight; leave it unset for 1");
  server.set_weight(2147483648u);
  EXPECT_EQ(FaultOf(server), "servers[3].weight: 2147483648 is too much; give 1 to 2147483647");
  server.clear_weight();

  server.set_zone(std::string(64, 'z'));
  EXPECT_EQ(FaultOf(server), "servers[3].zone: 64 bytes; at most 63");
  server.set_zone("a\nb");
  EXPECT_EQ(FaultOf(server), "servers[3].zone: \"a\\x0ab\" has a control character");
  server.clear_zone();

  server.set_state(static_cast<membershippb::ServerState>(9));
  EXPECT_EQ(FaultOf(server),
            "servers[3].state: 9 is not a state; give READY (1), DOWN (2) or DRAINING (3)");
}

TEST(ParseServers, RefusesNamesThatAreMissingLongBlankOrTaken) {
  EXPECT_EQ(FaultOf(MakeServer("", "10.0.0.1:1")),
            "servers[3].name: is missing; it is the server's identity");
  EXPECT_EQ(FaultOf(MakeServer(std::string(256, 'n'), "10.0.0.1:1")),
            "servers[3].name: 256 bytes; at most 255");
  EXPECT_TRUE(ParseServers(List({MakeServer(std::string(255, 'n'), "10.0.0.1:1")})).ok());
  EXPECT_EQ(FaultOf(MakeServer("a b", "10.0.0.1:1")),
            "servers[3].name: \"a b\" has a space or a control character");
  EXPECT_EQ(FaultOf(MakeServer("a\tb", "10.0.0.1:1")),
            "servers[3].name: \"a\\x09b\" has a space or a control character");
  EXPECT_EQ(FaultOf(MakeServer("s1", "10.0.0.9:1")),
            "servers[3].name: \"s1\" is the name of servers[1] already; names differ");
}

TEST(ParseServers, RefusesMoreServersThanAPoolHas) {
  std::vector<Server> servers;
  for (int i = 0; i < kMaxServers; ++i) {
    servers.push_back(MakeServer(fmt::format("s{}", i), "10.0.0.1:11211"));
  }
  EXPECT_TRUE(ParseServers(List(servers)).ok());
  servers.push_back(MakeServer("one-more", "10.0.0.1:11211"));
  EXPECT_EQ(ParseServers(List(servers)).status().message(),
            "servers: 4097 servers; a pool has at most 4096");
}

TEST(ParseServers, RefusesWeightsThatAddUpToMoreThanARingCounts) {
  std::vector<Server> servers;
  for (int i = 0; i < 3; ++i) {
    servers.push_back(MakeServer(fmt::format("s{}", i), "10.0.0.1:11211"));
    servers.back().set_weight(kMaxWeight);
  }
  EXPECT_EQ(ParseServers(List(servers)).status().message(),
            "servers: the weights add up to 6442450941; at most 4294967295");
  servers.pop_back();
  EXPECT_TRUE(ParseServers(List(servers)).ok());
}

TEST(ParseServers, TellsEveryViolationToProgramsAndCountsThemForPeople) {
  const auto parsed = ParseServers(List({MakeServer("a", "10.0.0.1:0"), MakeServer("a", "x")}));
  EXPECT_EQ(parsed.status().message(),
            "servers[0].address: port 0 does not exist; give 1 to 65535 (and 2 more)");
  const grpc::Status status = ToGrpc(parsed.status());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), 3);
  EXPECT_EQ(details.message(), status.error_message());
  ASSERT_EQ(details.details_size(), 1);
  EXPECT_EQ(details.details(0).type_url(), "type.googleapis.com/google.rpc.BadRequest");
  google::rpc::BadRequest bad;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad));
  ASSERT_EQ(bad.field_violations_size(), 3);
  EXPECT_EQ(bad.field_violations(1).field(), "servers[1].name");
  EXPECT_EQ(bad.field_violations(2).field(), "servers[1].address");
  EXPECT_EQ(bad.field_violations(2).description(),
            "\"x\" has no port; write host:port or [v6]:port");
}

TEST(ParseServers, AWhollyWrongListMakesAnErrorOfBoundedSize) {
  std::vector<Server> servers(kMaxServers, MakeServer(std::string(5000, 'n'), "/var/run/x.sock"));
  const grpc::Status status = ToGrpc(ParseServers(List(servers)).status());
  EXPECT_LT(status.error_message().size() + status.error_details().size(), 4096);
}

// ---- addresses ----------------------------------------------------------------

TEST(ServerAddress, TakesNamesAndNumbers) {
  const std::pair<const char*, HostPort> kCases[] = {
      {"cache-0:11211", {"cache-0", 11211}},
      {"cache-0.cache.default.svc.cluster.local.:1",
       {"cache-0.cache.default.svc.cluster.local.", 1}},
      {"under_score:65535", {"under_score", 65535}},
      {"10.0.0.1:11211", {"10.0.0.1", 11211}},
      {"127.0.0.1:11211", {"127.0.0.1", 11211}},
      {"[::1]:11211", {"::1", 11211}},
      {"[2001:db8::7]:6379", {"2001:db8::7", 6379}},
      {"[::ffff:10.0.0.1]:6379", {"::ffff:10.0.0.1", 6379}},
      {"1password.example:6379", {"1password.example", 6379}},
  };
  for (const auto& [text, want] : kCases) {
    const auto parsed = ParseServerAddress(text);
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.status();
    EXPECT_EQ(parsed->host, want.host);
    EXPECT_EQ(parsed->port, want.port);
  }
}

TEST(ServerAddress, SaysWhatIsWrongWithTheOthers) {
  const std::pair<std::string, const char*> kCases[] = {
      {"", "is missing; write host:port or [v6]:port"},
      {"cache-0", "\"cache-0\" has no port; write host:port or [v6]:port"},
      {"cache-0:", "the port \"\" is not a number; write host:port or [v6]:port"},
      {"cache-0:http", "the port \"http\" is not a number; write host:port or [v6]:port"},
      {"cache-0:1x", "the port \"1x\" is not a number; write host:port or [v6]:port"},
      {"cache-0:-1", "the port \"-1\" is not a number; write host:port or [v6]:port"},
      {"cache-0:0", "port 0 does not exist; give 1 to 65535"},
      {"cache-0:65536", "port 65536 does not exist; give 1 to 65535"},
      {"cache-0:99999999999", "port 99999999999 does not exist; give 1 to 65535"},
      {":11211", "\":11211\" has no host; write host:port or [v6]:port"},
      {"::1:11211", "\"::1:11211\" has more than one colon; write host:port or [v6]:port"},
      {"[::1", "\"[::1\" has no closing bracket; write host:port or [v6]:port"},
      {"[::1]", "\"[::1]\" has no port after the bracket; write host:port or [v6]:port"},
      {"[::1]11211", "\"[::1]11211\" has no port after the bracket; write host:port or [v6]:port"},
      {"[10.0.0.1]:1", "\"10.0.0.1\" is not an IPv6 address"},
      {"[]:1", "\"\" is not an IPv6 address"},
      {"[fe80::1%eth0]:1", "\"fe80::1%eth0\" is not an IPv6 address"},
      {"/run/cache.sock",
       "\"/run/cache.sock\" is a unix path; those are for the configuration "
       "file, here write host:port or [v6]:port"},
      {"unix:cache.sock",
       "\"unix:cache.sock\" is a unix path; those are for the configuration "
       "file, here write host:port or [v6]:port"},
      {"a b:1", "\"a b:1\" has a space or a control character; write host:port or [v6]:port"},
      {std::string("[::1\0]:1", 8),
       "\"[::1\\x00]:1\" has a space or a control character; write "
       "host:port or [v6]:port"},
      {"caché:1", "\"cach\\xc3\\xa9\" is not a host name"},
      {"a..b:1", "\"a..b\" is not a host name"},
      {std::string(254, 'a') + ":1", "a host name of 254 bytes; at most 253"},
      {"169.254.169.254:80", "\"169.254.169.254\" is a link-local address"},
      {"[fe80::1]:80", "\"fe80::1\" is a link-local address"},
      {"[febf::1]:80", "\"febf::1\" is a link-local address"},
      {"[::ffff:169.254.1.1]:80", "\"::ffff:169.254.1.1\" is a link-local address"},
      {"0.0.0.0:80", "\"0.0.0.0\" is an unspecified address"},
      {"[::]:80", "\"::\" is an unspecified address"},
      {"224.0.0.1:80", "\"224.0.0.1\" is a multicast address"},
      {"[ff02::1]:80", "\"ff02::1\" is a multicast address"},
      {"255.255.255.255:80", "\"255.255.255.255\" is a broadcast address"},
      {"2852039166:80", "\"2852039166\" is not an IPv4 address; write it as four decimal numbers"},
      {"169.254.43518:80",
       "\"169.254.43518\" is not an IPv4 address; write it as four decimal numbers"},
      {"0xa9fea9fe:80", "\"0xa9fea9fe\" is not an IPv4 address; write it as four decimal numbers"},
      {"169.254.169.254.:80",
       "\"169.254.169.254.\" is not an IPv4 address; write it as four decimal numbers"},
      {"010.0.0.1:80", "\"010.0.0.1\" is not an IPv4 address; write it as four decimal numbers"},
  };
  for (const auto& [text, want] : kCases) {
    const auto parsed = ParseServerAddress(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.status().message(), want);
  }
}

// ---- overrides, words ------------------------------------------------------------

TEST(ParseOverride, AddsTheTimeAheadToTheClock) {
  adminpb::SetOverrideRequest request;
  request.set_state(membershippb::SERVER_STATE_DOWN);
  request.mutable_expires_in()->set_seconds(60);
  request.mutable_expires_in()->set_nanos(500'000);
  const auto how = ParseOverride(request, 1'000'000);
  ASSERT_TRUE(how.ok()) << how.status();
  EXPECT_EQ(how->state, pool::ServerState::kDown);
  EXPECT_EQ(how->weight, std::nullopt);
  EXPECT_EQ(how->expires_us, 61'000'500);
}

TEST(ParseOverride, RefusesWhatSaysNothingOrNothingPossible) {
  const auto fault = [](auto set) {
    adminpb::SetOverrideRequest request;
    set(request);
    const auto how = ParseOverride(request, 0);
    EXPECT_EQ(how.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(how.status().message());
  };
  using Request = adminpb::SetOverrideRequest&;
  EXPECT_EQ(fault([](Request) {}), "state: nothing is set; give a state, a weight, or both");
  EXPECT_EQ(fault([](Request r) { r.mutable_expires_in()->set_seconds(1); }),
            "state: nothing is set; give a state, a weight, or both");
  EXPECT_EQ(fault([](Request r) { r.set_weight(0); }),
            "weight: 0 is not a weight; give 1 to 2147483647, or state DOWN to take the server "
            "out");
  EXPECT_EQ(fault([](Request r) { r.set_state(static_cast<membershippb::ServerState>(-1)); }),
            "state: -1 is not a state; give READY (1), DOWN (2) or DRAINING (3)");
  for (const int64_t seconds : {int64_t{0}, int64_t{-5}, INT64_MAX, INT64_MIN}) {
    EXPECT_EQ(fault([&](Request r) {
                r.set_weight(1);
                r.mutable_expires_in()->set_seconds(seconds);
              }),
              fmt::format("expires_in: {} s and 0 ns is not a time ahead of at most ten years; "
                          "leave it unset for an override that lasts until it is cleared",
                          seconds));
  }
}

TEST(CheckWord, RefusesLongWordsAndControlCharacters) {
  EXPECT_TRUE(CheckWord("pool", "").ok());
  EXPECT_TRUE(CheckWord("pool", std::string(255, 'p')).ok());
  EXPECT_EQ(CheckWord("pool", std::string(256, 'p')).message(), "pool: 256 bytes; at most 255");
  EXPECT_EQ(CheckWord("updater", "a\r").message(), "updater: \"a\\x0d\" has a control character");
}

// ---- to the network ---------------------------------------------------------------

TEST(ToText, LeavesUtf8AndEscapesTheRest) {
  EXPECT_EQ(ToText("caché"), "caché");
  EXPECT_EQ(ToText("a\\b"), "a\\b");
  EXPECT_EQ(ToText("cach\xe9"), "cach\\xe9");
}

TEST(FillPool, ShowsAllThatAViewHolds) {
  pool::PoolView view = MakeView("alpha", 2, 5);
  view.redis = view.keep_ring = true;
  view.updated_us = 1'700'000'000'250'000;
  view.servers[1].healthy = view.servers[1].routed = false;
  view.servers[1].held = true;
  view.servers[1].override =
      pool::Override{.state = pool::ServerState::kDraining, .weight = 3, .expires_us = 2'000'000};
  membershippb::Pool out;
  FillPool(view, Servers::kInclude, &out);
  EXPECT_EQ(out.protocol(), "redis");
  EXPECT_EQ(out.membership(), "grpc");
  EXPECT_EQ(out.eject_mode(), "keep_ring");
  EXPECT_EQ(out.version(), 5);
  EXPECT_EQ(out.updated_at().seconds(), 1'700'000'000);
  EXPECT_EQ(out.updated_at().nanos(), 250'000'000);
  ASSERT_EQ(out.servers_size(), 2);
  EXPECT_FALSE(out.servers(0).has_override());
  EXPECT_EQ(out.servers(0).server().address(), "127.0.0.1:11211");
  EXPECT_EQ(out.servers(0).server().state(), membershippb::SERVER_STATE_READY);
  EXPECT_TRUE(out.servers(1).held());
  EXPECT_FALSE(out.servers(1).healthy());
  EXPECT_EQ(out.servers(1).override().state(), membershippb::SERVER_STATE_DRAINING);
  EXPECT_EQ(out.servers(1).override().weight(), 3);
  EXPECT_EQ(out.servers(1).override().expires_at().seconds(), 2);

  membershippb::Pool brief;
  FillPool(view, Servers::kOmit, &brief);
  EXPECT_EQ(brief.servers_size(), 0);
  EXPECT_EQ(brief.server_count(), 2);
}

TEST(FillSlowLog, StagesAddUpInMicrosecondsToo) {
  pool::SlowRequest slow;
  slow.at_us = 1'700'000'000'250'000;
  slow.pool = "p\xff";
  slow.queued_ns = 1'999;
  slow.server_ns = 1'999;
  slow.held_ns = 1'999;
  slow.total_ns = 5'997;
  adminpb::GetSlowLogResponse out;
  FillSlowLog({slow}, &out);
  const adminpb::SlowRequest& shown = out.requests(0);
  EXPECT_EQ(shown.total_us(), 5);
  EXPECT_EQ(shown.queued_us() + shown.server_us() + shown.held_us(), shown.total_us());
  EXPECT_EQ(shown.pool(), "p\\xff");
  EXPECT_EQ(shown.ended_at().nanos(), 250'000'000);
}

TEST(Compare, TellsNewGoneAndDifferentServersApart) {
  const pool::PoolView before = MakeView("alpha", 4);
  pool::PoolView after = before;
  after.servers.erase(after.servers.begin());
  after.servers[0].healthy = false;
  after.servers[1].spec.weight = 2;
  after.servers.push_back(MakeView("alpha", 5).servers[4]);
  const Difference difference = Compare(before, after);
  EXPECT_EQ(difference.added, std::vector<std::string>{"cache-4"});
  EXPECT_EQ(difference.removed, std::vector<std::string>{"cache-0"});
  EXPECT_EQ(difference.changed, (std::vector<std::string>{"cache-1", "cache-2"}));
}

}  // namespace
}  // namespace cashew::rpc

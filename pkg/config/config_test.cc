#include "pkg/config/config.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "pkg/config/yaml_tree.h"

namespace cashew::config {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kFile[] = "nutcracker.yml";

std::string Show(const LoadResult& result) {
  std::string text;
  for (const Problem& problem : result.errors) text += "error: " + problem.ToString() + "\n";
  for (const Problem& problem : result.warnings) text += "warning: " + problem.ToString() + "\n";
  return text;
}

// A pool "a" with one server and these further lines, which begin on line 4.
std::string PoolWith(const std::string& lines) {
  return "a:\n  listen: 127.0.0.1:22121\n  servers: [127.0.0.1:11211:1]\n" + lines;
}

std::string ListenOn(const std::string& listen) {
  return "a:\n  listen: " + listen + "\n  servers: [127.0.0.1:11211:1]\n";
}

std::string ServedBy(const std::string& server) {
  return "a:\n  listen: 127.0.0.1:22121\n  servers:\n    - " + server + "\n";
}

Pool LoadPool(const std::string& yaml) {
  const LoadResult result = LoadText(yaml, kFile);
  EXPECT_TRUE(result.ok()) << yaml << Show(result);
  return result.config.pools.empty() ? Pool() : result.config.pools[0];
}

Global LoadGlobal(const std::string& lines) {
  const LoadResult result = LoadText("global:\n" + lines + PoolWith(""), kFile);
  EXPECT_TRUE(result.ok()) << lines << Show(result);
  return result.config.global;
}

// Every default, and every key.

TEST(Config, DefaultsOfAPoolAreNutcrackers) {
  const Pool pool = LoadPool(PoolWith(""));
  EXPECT_EQ(pool.name, "a");
  EXPECT_EQ(pool.line, 1);
  EXPECT_EQ(pool.hash, hash::Kind::kFnv1a_64);
  EXPECT_FALSE(pool.hash_tag.has_value());
  EXPECT_EQ(pool.distribution, ring::Distribution::kKetama);
  EXPECT_EQ(pool.timeout_ms, 0);
  EXPECT_EQ(pool.backlog, 512);
  EXPECT_EQ(pool.client_connections, 0);
  EXPECT_FALSE(pool.redis || pool.tcpkeepalive || pool.reuseport || pool.preconnect ||
               pool.auto_eject_hosts);
  EXPECT_TRUE(pool.redis_auth.empty());
  EXPECT_EQ(pool.redis_db, 0);
  EXPECT_EQ(pool.server_connections, 1);
  EXPECT_EQ(pool.server_retry_timeout_ms, 30000);
  EXPECT_EQ(pool.server_failure_limit, 2);
}

TEST(Config, DefaultsOfWhatCashewAddsKeepTwemproxysBehaviour) {
  const Pool pool = LoadPool(PoolWith(""));
  EXPECT_EQ(pool.compat, Compat::kImproved);
  EXPECT_EQ(pool.membership, Membership::kStatic);
  EXPECT_EQ(pool.eject_mode, EjectMode::kRehash);
  EXPECT_EQ(pool.get_errors, GetErrors::kError);
  EXPECT_EQ(pool.hold_down_ms, 30000);
  EXPECT_FALSE(pool.health_check || pool.tls_listen || pool.tls_servers);
  EXPECT_FALSE(pool.allow_flush || pool.allow_empty);
  EXPECT_FALSE(pool.cluster_commands || pool.dangerous_commands);
  EXPECT_EQ(pool.redis_user, "");
  EXPECT_EQ(pool.exclusive_connections, 64);
  EXPECT_EQ(pool.client_max_inflight, 1024);
  EXPECT_EQ(pool.client_max_buffer, 64 << 20);
  EXPECT_EQ(pool.client_write_timeout_ms, 10000);
  EXPECT_EQ(pool.hot_keys_sample, 0);
  EXPECT_EQ(pool.slow_log_ms, 0);
  EXPECT_EQ(pool.access_log_sample, 0);
}

TEST(Config, DefaultsOfGlobalHoldWithoutTheSection) {
  const LoadResult result = LoadText(PoolWith(""), kFile);
  ASSERT_TRUE(result.ok());
  const Global& global = result.config.global;
  EXPECT_FALSE(global.present || global.admin_configured || global.grpc_configured);
  EXPECT_EQ(global.workers, 0);
  EXPECT_EQ(global.admin, "127.0.0.1:9151");
  EXPECT_EQ(global.grpc, "");
  EXPECT_FALSE(global.grpc_tls.has_value());
  EXPECT_EQ(global.state_dir, "");
  EXPECT_EQ(global.drain_timeout_ms, 30000);
  EXPECT_EQ(global.drain_grace_ms, 0);
  EXPECT_EQ(global.max_client_connections, 100000);
  EXPECT_EQ(global.max_buffer_memory, 0);
  EXPECT_EQ(global.slow_log_size, 128);
}

TEST(Config, EveryKeyOfTwemproxyIsRead) {
  const Pool pool = LoadPool(R"(
a:
  listen: 127.0.0.1:22121
  hash: murmur
  hash_tag: "{}"
  distribution: modula
  timeout: 400
  backlog: 1024
  client_connections: 7
  redis: true
  tcpkeepalive: true
  reuseport: true
  redis_auth: hunter2
  redis_db: 3
  preconnect: true
  auto_eject_hosts: true
  server_connections: 4
  server_retry_timeout: 10000
  server_failure_limit: 5
  servers:
    - 127.0.0.1:11212:3 shard
)");
  EXPECT_EQ(pool.listen.host, "127.0.0.1");
  EXPECT_EQ(pool.listen.port, 22121);
  EXPECT_EQ(pool.listen.text, "127.0.0.1:22121");
  EXPECT_EQ(pool.listen.line, 3);
  EXPECT_EQ(pool.hash, hash::Kind::kMurmur);
  EXPECT_EQ(pool.hash_tag, (std::array<char, 2>{'{', '}'}));
  EXPECT_EQ(pool.distribution, ring::Distribution::kModula);
  EXPECT_EQ(pool.timeout_ms, 400);
  EXPECT_EQ(pool.backlog, 1024);
  EXPECT_EQ(pool.client_connections, 7);
  EXPECT_TRUE(pool.redis && pool.tcpkeepalive && pool.reuseport && pool.preconnect &&
              pool.auto_eject_hosts);
  EXPECT_EQ(pool.redis_auth.Reveal(), "hunter2");
  EXPECT_EQ(pool.redis_db, 3);
  EXPECT_EQ(pool.server_connections, 4);
  EXPECT_EQ(pool.server_retry_timeout_ms, 10000);
  EXPECT_EQ(pool.server_failure_limit, 5);
  ASSERT_EQ(pool.servers.size(), 1u);
  const Server& server = pool.servers[0];
  EXPECT_EQ(server.address.host, "127.0.0.1");
  EXPECT_EQ(server.address.port, 11212);
  EXPECT_EQ(server.address.text, "127.0.0.1:11212");
  EXPECT_EQ(server.weight, 3u);
  EXPECT_EQ(server.name, "shard");
  EXPECT_TRUE(server.named);
  EXPECT_EQ(server.line, 21);
}

TEST(Config, EveryKeyThatCashewAddsIsRead) {
  const Pool pool = LoadPool(PoolWith(R"(  compat: strict
  membership: grpc
  eject_mode: keep_ring
  get_errors: miss
  hold_down: 2m
  health_check: {interval: 5s, timeout: 250ms, rise: 4, fall: 6}
  tls: {listen: {cert: c, key: k, client_ca: a}, servers: {ca: A, cert: C, key: K, server_name: n}}
  allow_flush: true
  allow_empty: true
  redis_user: app
  cluster_commands: true
  dangerous_commands: true
  exclusive_connections: 5
  client_max_inflight: 16
  client_max_buffer: 512kb
  client_write_timeout: 1h
  hot_keys_sample: 100
  slow_log: 10ms
  access_log_sample: 1000
)"));
  EXPECT_EQ(pool.compat, Compat::kStrict);
  EXPECT_EQ(pool.membership, Membership::kGrpc);
  EXPECT_EQ(pool.eject_mode, EjectMode::kKeepRing);
  EXPECT_EQ(pool.get_errors, GetErrors::kMiss);
  EXPECT_EQ(pool.hold_down_ms, 120000);
  HealthCheck check;
  check.interval_ms = 5000;
  check.timeout_ms = 250;
  check.rise = 4;
  check.fall = 6;
  EXPECT_EQ(pool.health_check, check);
  ASSERT_TRUE(pool.tls_listen && pool.tls_servers);
  EXPECT_EQ(pool.tls_listen->cert + pool.tls_listen->key + pool.tls_listen->client_ca, "cka");
  EXPECT_EQ(pool.tls_servers->ca + pool.tls_servers->cert + pool.tls_servers->key, "ACK");
  EXPECT_EQ(pool.tls_servers->server_name, "n");
  EXPECT_TRUE(pool.allow_flush && pool.allow_empty);
  EXPECT_TRUE(pool.cluster_commands && pool.dangerous_commands);
  EXPECT_EQ(pool.redis_user, "app");
  EXPECT_EQ(pool.exclusive_connections, 5);
  EXPECT_EQ(pool.client_max_inflight, 16);
  EXPECT_EQ(pool.client_max_buffer, 512 << 10);
  EXPECT_EQ(pool.client_write_timeout_ms, 3600000);
  EXPECT_EQ(pool.hot_keys_sample, 100);
  EXPECT_EQ(pool.slow_log_ms, 10);
  EXPECT_EQ(pool.access_log_sample, 1000);
}

TEST(Config, EveryKeyOfGlobalIsRead) {
  const Global global = LoadGlobal(R"(  workers: 4
  admin: 0.0.0.0:9151
  grpc: 0.0.0.0:9152
  grpc_tls: {cert: c, key: k, client_ca: a, allowed_sans: [cashew-sidecar, ops]}
  state_dir: /var/lib/cashew
  drain_timeout: 45s
  drain_grace: 500ms
  max_client_connections: 0
  max_buffer_memory: 2gb
  slow_log_size: 500
)");
  EXPECT_TRUE(global.present && global.admin_configured && global.grpc_configured);
  EXPECT_EQ(global.workers, 4);
  EXPECT_EQ(global.admin, "0.0.0.0:9151");
  EXPECT_EQ(global.grpc, "0.0.0.0:9152");
  ASSERT_TRUE(global.grpc_tls);
  EXPECT_THAT(global.grpc_tls->allowed_sans, ElementsAre("cashew-sidecar", "ops"));
  EXPECT_EQ(global.grpc_tls->cert + global.grpc_tls->key + global.grpc_tls->client_ca, "cka");
  EXPECT_EQ(global.state_dir, "/var/lib/cashew");
  EXPECT_EQ(global.drain_timeout_ms, 45000);
  EXPECT_EQ(global.drain_grace_ms, 500);
  EXPECT_EQ(global.max_client_connections, 0);
  EXPECT_EQ(global.max_buffer_memory, int64_t{2} << 30);
  EXPECT_EQ(global.slow_log_size, 500);
}

TEST(Config, GlobalTakesItsSpecialWords) {
  const Global global = LoadGlobal(
      "  workers: auto\n  admin: off\n  grpc: unix:/run/cashew.sock\n  max_buffer_memory: auto\n");
  EXPECT_EQ(global.workers, 0);
  EXPECT_EQ(global.admin, "off");
  EXPECT_EQ(global.grpc, "unix:/run/cashew.sock");
  EXPECT_EQ(global.max_buffer_memory, 0);
  EXPECT_EQ(LoadGlobal("  grpc: off\n").grpc, "off");
  EXPECT_EQ(LoadGlobal("  grpc: 127.0.0.1:0\n").grpc, "127.0.0.1:0");
  EXPECT_EQ(LoadGlobal("  grpc: '[::1]:9152'\n").grpc, "[::1]:9152");
}

TEST(Config, AnEmptyHealthCheckHasDefaults) {
  EXPECT_EQ(LoadPool(PoolWith("  health_check: {}\n")).health_check, HealthCheck());
}

// Addresses, names and order.

TEST(Config, ListenTakesHostsBothFormsOfIpv6AndUnixPaths) {
  EXPECT_EQ(LoadPool(ListenOn("localhost:22121")).listen.host, "localhost");
  EXPECT_EQ(LoadPool(ListenOn("0.0.0.0:022121")).listen.port, 22121);
  EXPECT_EQ(LoadPool(ListenOn("::1:22121")).listen.host, "::1");
  EXPECT_EQ(LoadPool(ListenOn("'[::1]:22121'")).listen.host, "::1");
  EXPECT_EQ(LoadPool(ListenOn("'[fe80::1%lo]:1'")).listen.host, "fe80::1%lo");
  const Address plain = LoadPool(ListenOn("/run/c.sock")).listen;
  EXPECT_TRUE(plain.is_unix());
  EXPECT_EQ(plain.unix_path, "/run/c.sock");
  EXPECT_EQ(plain.unix_mode, 0u);
  const Address with_mode = LoadPool(ListenOn("/run/c.sock 0660")).listen;
  EXPECT_EQ(with_mode.unix_path, "/run/c.sock");
  EXPECT_EQ(with_mode.unix_mode, 0660u);
  EXPECT_EQ(with_mode.text, "/run/c.sock 0660");
  EXPECT_EQ(LoadPool(ListenOn("/run/c:1")).listen.unix_path, "/run/c:1");
}

TEST(Config, AServersNameIsGivenOrDerivedAsInTwemproxy) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"10.0.0.1:11211:1", "10.0.0.1"},
      {"10.0.0.1:011211:1", "10.0.0.1"},
      {"10.0.0.1:11212:9", "10.0.0.1:11212"},
      {"10.0.0.1:11211:1 cache-0", "cache-0"},
      {"10.0.0.1:11211:1 a:b", "a:b"},
      {"/run/x.sock:1", "/run/x.sock:"},
      {"/run/x.sock:1 x", "x"},
      {"::1:11211:1", "::1"},
      {"'[::1]:11212:1'", "[::1]:11212"},
      {"'[::1]:11211:1'", "[::1]"},
  };
  for (const auto& [entry, name] : table) {
    const Pool pool = LoadPool(ServedBy(entry));
    ASSERT_EQ(pool.servers.size(), 1u);
    EXPECT_EQ(pool.servers[0].name, name);
    EXPECT_EQ(pool.servers[0].named, entry.find(' ') != std::string::npos);
  }
  EXPECT_EQ(LoadPool(ServedBy("'[::1]:11211:1'")).servers[0].address.host, "::1");
  EXPECT_EQ(LoadPool(ServedBy("/run/x.sock:7")).servers[0].weight, 7u);
  EXPECT_EQ(LoadPool(ServedBy("h:1:2147483647")).servers[0].weight, 2147483647u);
}

TEST(Config, ServersAndPoolsAreSortedShorterNameFirstThenBytewise) {
  const LoadResult result = LoadText(
      "bb: &x\n  listen: 127.0.0.1:1\n  servers: [h:1:1 b, h:2:1 aa, h:3:1 c, h:4:1 a]\n"
      "c: {listen: '127.0.0.1:2', servers: [h:1:1]}\n"
      "aa: {listen: '127.0.0.1:3', servers: [h:1:1]}\n",
      kFile);
  ASSERT_TRUE(result.ok()) << Show(result);
  std::vector<std::string> pools;
  for (const Pool& pool : result.config.pools) pools.push_back(pool.name);
  EXPECT_THAT(pools, ElementsAre("c", "aa", "bb"));
  std::vector<std::string> servers;
  for (const Server& server : result.config.pools[2].servers) servers.push_back(server.name);
  EXPECT_THAT(servers, ElementsAre("a", "b", "c", "aa"));
}

TEST(Config, TheSameAddressMayHaveTwoNames) {
  EXPECT_EQ(LoadPool("a:\n  listen: 127.0.0.1:1\n  servers: [h:1:1, h:1:1 x]\n").servers.size(),
            2u);
}

TEST(Config, GrpcPoolsNeedNoServers) {
  EXPECT_TRUE(LoadPool("a: {listen: '127.0.0.1:1', membership: grpc}\n").servers.empty());
  EXPECT_TRUE(
      LoadPool("a: {listen: '127.0.0.1:1', membership: grpc, servers: []}\n").servers.empty());
}

TEST(Config, FlowStyleAnchorsDocumentMarksAndCrLfAreFine) {
  EXPECT_EQ(LoadPool("{a: {listen: '127.0.0.1:1', servers: ['h:1:1']}}").name, "a");
  EXPECT_EQ(LoadPool("---\n" + PoolWith("") + "...\n").name, "a");
  EXPECT_EQ(LoadPool("\xef\xbb\xbf" + PoolWith("")).name, "a");
  EXPECT_EQ(
      LoadPool("a:\r\n  listen: 127.0.0.1:1\r\n  servers:\r\n  - h:1:1 x\r\n").servers[0].name,
      "x");
  const LoadResult result = LoadText(
      "a:\n  listen: 127.0.0.1:1\n  servers: &s\n  - h:1:1\nb:\n  listen: 127.0.0.1:2\n"
      "  servers: *s\n",
      kFile);
  ASSERT_TRUE(result.ok()) << Show(result);
  EXPECT_EQ(result.config.pools[1].servers.size(), 1u);
}

TEST(Config, NullIsTextAsInTwemproxy) {
  EXPECT_EQ(LoadPool("~:\n  listen: 127.0.0.1:1\n  servers: [h:1:1]\n").name, "~");
  EXPECT_EQ(LoadPool(PoolWith("  redis: true\n  redis_auth: null\n")).redis_auth.Reveal(), "null");
}

TEST(Config, EqualityDoesNotSeeWhereThingsStand) {
  const std::string yaml = PoolWith("  timeout: 5\n");
  EXPECT_EQ(LoadText(yaml, kFile).config, LoadText("\n# moved\n\n" + yaml, kFile).config);
  EXPECT_NE(LoadText(yaml, kFile).config, LoadText(PoolWith("  timeout: 6\n"), kFile).config);
}

// Every rejection: the line, and what the message must say. One error each.
struct Rejection {
  std::string yaml;
  int line;
  std::string key;
  std::string says;
};

void ExpectRejected(const std::vector<Rejection>& table) {
  for (const Rejection& row : table) {
    const LoadResult result = LoadText(row.yaml, kFile);
    SCOPED_TRACE(row.yaml + Show(result));
    ASSERT_EQ(result.errors.size(), 1u);
    EXPECT_EQ(result.errors[0].line, row.line);
    EXPECT_EQ(result.errors[0].key, row.key);
    EXPECT_THAT(result.errors[0].text, HasSubstr(row.says));
    EXPECT_EQ(result.errors[0].file, kFile);
  }
}

Rejection BadKey(const std::string& key, const std::string& value, const std::string& says) {
  return {PoolWith("  " + key + ": " + value + "\n"), 4, key, says};
}

TEST(ConfigRejects, NumbersThatAreNot) {
  std::vector<Rejection> table;
  for (const char* key : {"timeout", "backlog", "client_connections", "redis_db",
                          "server_connections", "server_retry_timeout", "server_failure_limit",
                          "client_max_inflight", "exclusive_connections"}) {
    table.push_back(BadKey(key, "x", "\"x\" is not a number; give a whole number of at least "));
    table.push_back(BadKey(key, "-1", "\"-1\" is not a number"));
    table.push_back(BadKey(key, "1.5", "\"1.5\" is not a number"));
    table.push_back(BadKey(key, "0x10", "\"0x10\" is not a number"));
    table.push_back(BadKey(key, "+5", "\"+5\" is not a number"));
    table.push_back(BadKey(key, "2147483648", "is too large"));
    table.push_back(BadKey(key, "4294967296", "is too large"));
    table.push_back(BadKey(key, "99999999999999999999999", "is too large"));
    table.push_back(BadKey(key, "", "has no value"));
    table.push_back(BadKey(key, "''", "has no value"));
    table.push_back(BadKey(key, "[1]", "expects one value, found a list"));
    table.push_back(BadKey(key, "{a: b}", "expects one value, found a mapping"));
    EXPECT_TRUE(LoadText(PoolWith(std::string("  ") + key + ": 2147483647\n"), kFile).ok());
  }
  table.push_back(BadKey("timeout", "400ms", "bare milliseconds, without a unit"));
  table.push_back(BadKey("server_connections", "0", "at least 1, such as 4"));
  table.push_back(BadKey("client_max_inflight", "0", "at least 1"));
  for (const char* key : {"hot_keys_sample", "access_log_sample"}) {
    table.push_back(BadKey(key, "1/100", "\"1/100\" is not a number"));
    table.push_back(BadKey(key, "-1", "is not a number"));
    table.push_back(BadKey(key, "1000000001", "at most 1000000000"));
  }
  ExpectRejected(table);
  EXPECT_EQ(LoadPool(PoolWith("  timeout: 010\n")).timeout_ms, 10);
}

TEST(ConfigRejects, BooleansThatAreNot) {
  std::vector<Rejection> table;
  for (const char* key : {"redis", "tcpkeepalive", "reuseport", "preconnect", "auto_eject_hosts",
                          "allow_flush", "allow_empty", "cluster_commands", "dangerous_commands"}) {
    for (const char* value : {"True", "TRUE", "yes", "on", "1", "~"}) {
      table.push_back(BadKey(key, value, "is not a boolean; give exactly true or false"));
    }
  }
  ExpectRejected(table);
}

TEST(ConfigRejects, WordsItDoesNotKnow) {
  ExpectRejected({
      BadKey("hash", "fnv1a64", "did you mean fnv1a_64?"),
      BadKey("hash", "FNV1A_64", "did you mean fnv1a_64?"),
      BadKey("hash", "sha256", "is not one of one_at_a_time, md5"),
      BadKey("distribution", "Ketama", "did you mean ketama?"),
      BadKey("distribution", "ring", "is not one of ketama, modula, random"),
      BadKey("compat", "loose", "is not one of improved, strict"),
      BadKey("membership", "dns", "is not one of static, grpc"),
      BadKey("eject_mode", "keep-ring", "did you mean keep_ring?"),
      BadKey("get_errors", "misses", "did you mean miss?"),
  });
}

TEST(ConfigRejects, HashTagsThatAreNotTwoBytes) {
  ExpectRejected({
      BadKey("hash_tag", "a", "\"a\" has 1 byte; give exactly two"),
      BadKey("hash_tag", "abc", "\"abc\" has 3 bytes"),
      BadKey("hash_tag", "\xc3\xa9x", "has 3 bytes"),
      BadKey("hash_tag", "{}", "put them in quotes: hash_tag: \"{}\""),
      BadKey("hash_tag", "[]", "put them in quotes"),
  });
  EXPECT_EQ(LoadPool(PoolWith("  hash_tag: $$\n")).hash_tag, (std::array<char, 2>{'$', '$'}));
}

TEST(ConfigRejects, DurationsAndSizesWithoutAUnit) {
  ExpectRejected({
      BadKey("hold_down", "30", "\"30\" has no unit; give a whole number with ms, s, m or h"),
      BadKey("hold_down", "30 s", "is not a duration"),
      BadKey("slow_log", "10", "\"10\" has no unit; give a whole number with ms, s, m or h"),
      BadKey("slow_log", "on", "is not a duration"),
      BadKey("hold_down", "1.5s", "is not a duration"),
      BadKey("hold_down", "s", "is not a duration"),
      BadKey("hold_down", "30S", "is not a duration"),
      BadKey("hold_down", "597h", "is too long"),
      BadKey("hold_down", "99999999999999999999s", "is too long"),
      BadKey("client_write_timeout", "0s", "is too short"),
      BadKey("client_max_buffer", "1000000", "has no unit; give a whole number with kb, mb or gb"),
      BadKey("client_max_buffer", "64MB", "is not a size"),
      BadKey("client_max_buffer", "1kb", "is too small; give at least 16kb"),
      BadKey("client_max_buffer", "99999999999999999999gb", "is too large"),
  });
}

TEST(ConfigRejects, ListenAddressesThatCannotBe) {
  const auto bad = [](const std::string& listen, const std::string& says) {
    return Rejection{ListenOn(listen), 2, "listen", says};
  };
  const std::string path_107 = "/" + std::string(106, 'x');
  ExpectRejected({
      bad("22121", "has no port; write host:port"),
      bad("127.0.0.1", "has no port"),
      bad("':22121'", "has no host"),
      bad("'127.0.0.1:'", "has a port that is not a number"),
      bad("127.0.0.1:x", "has a port that is not a number, \"x\""),
      bad("127.0.0.1:-1", "has a port that is not a number"),
      bad("127.0.0.1:0", "has port 0, which is out of range"),
      bad("127.0.0.1:65536", "out of range"),
      bad("127.0.0.1:4294967300", "out of range"),
      bad("127.0.0.1:22121 0644", "has a port that is not a number"),
      bad("'127.0.0.1 :22121'", "is not a host name or an address"),
      bad("a/b:22121", "is not a host name or an address"),
      bad("256.0.0.1:22121", "is not an IPv4 address"),
      bad("'::22121'", "is not an IPv6 address"),
      bad("':::1:22121'", "is not an IPv6 address"),
      bad("'[127.0.0.1]:22121'", "brackets around something that is not an IPv6 address"),
      bad("'[::1:22121'", "brackets around something"),
      bad("/tmp/a 1777", "above 0777"),
      bad("/tmp/a 0888", "mode that is not octal, \"0888\""),
      bad("/tmp/a rw", "mode that is not octal"),
      bad("'/tmp/a '", "mode that is not octal"),
      bad(path_107 + "x", "has 108 bytes; a socket's path has at most 107"),
      {"a:\n  listen:\n  servers: [h:1:1]\n", 2, "listen", "has no value"},
      {"a:\n  servers: [h:1:1]\n", 1, "listen", "is missing"},
  });
  EXPECT_EQ(LoadPool(ListenOn(path_107)).listen.unix_path, path_107);
}

TEST(ConfigRejects, ServersThatCannotBe) {
  const auto bad = [](const std::string& server, const std::string& says) {
    return Rejection{ServedBy(server), 4, "servers", says};
  };
  ExpectRejected({
      bad("127.0.0.1:11211", "has no weight after the port; write host:port:weight [name]"),
      bad("127.0.0.1:11211:0", "has weight 0; give 1 to 2147483647"),
      bad("127.0.0.1:11211:-1", "weight that is not a number, \"-1\""),
      bad("127.0.0.1:11211:x", "weight that is not a number"),
      bad("'127.0.0.1:11211:'", "weight that is not a number"),
      bad("127.0.0.1:11211:2147483648", "has weight 2147483648"),
      bad("127.0.0.1:11211:4294967297", "has weight 4294967297"),
      bad("127.0.0.1:0:1", "has port 0"),
      bad("127.0.0.1:65536:1", "out of range"),
      bad("127.0.0.1:x:1", "has a port that is not a number"),
      bad("'127.0.0.1::1'", "has a port that is not a number"),
      bad("127.0.0.1:11211:1  n", "one space before the name"),
      bad("127.0.0.1:11211:1 n m", "one space before the name"),
      bad("'127.0.0.1:11211:1 '", "ends with a space"),
      bad("':11211:1'", "has no host"),
      bad("'a b:11211:1'", "has no weight"),
      bad("999.0.0.1:11211:1", "is not an IPv4 address"),
      bad("'[localhost]:11211:1'", "brackets around something"),
      bad("/tmp/x", "has no weight"),
      bad("/tmp/x:0", "has weight 0"),
      bad("/tmp/a:b:1", "has a ':' inside the path"),
      bad("/" + std::string(107, 'x') + ":1", "at most 107"),
      bad("\"127.0.0.1:11211:1 a\\tb\"", "control character"),
      bad("''", "an entry has no value"),
      bad("", "an entry has no value"),
      bad("[a]", "an entry is a list"),
      bad("a: b", "an entry is a mapping"),
      bad("~", "has no weight"),
      {"a:\n  listen: h:1\n  servers:\n", 3, "servers", "has no value"},
      {"a:\n  listen: h:1\n  servers: []\n", 3, "servers", "is empty"},
      {"a:\n  listen: h:1\n  servers: h:1:1\n", 3, "servers", "expects a list, found one value"},
      {"a:\n  listen: h:1\n  servers: {h: 1}\n", 3, "servers", "expects a list, found a mapping"},
      {"a:\n  listen: h:1\n", 1, "servers", "is missing"},
  });
}

TEST(ConfigRejects, TwoServersOfOneName) {
  const auto bad = [](const std::string& first, const std::string& second) {
    return Rejection{ServedBy(first) + "    - " + second + "\n", 5, "servers",
                     "the first on line 4"};
  };
  ExpectRejected({
      bad("h:1:1", "h:1:2"),
      bad("h:1:1 x", "i:1:1 x"),
      bad("h:11211:1", "i:1:1 h"),
      bad("h:1:1", "i:1:1 h:1"),
  });
}

TEST(ConfigRejects, TwoPoolsOfOneNameOrListener) {
  const std::string first = "a:\n  listen: 127.0.0.1:1\n  servers: [h:1:1]\n";
  ExpectRejected({
      {first + "a:\n  listen: 127.0.0.1:2\n  servers: [h:1:1]\n", 4, "", "first on line 1"},
      {first + "b:\n  listen: 127.0.0.1:1\n  servers: [h:1:1]\n", 5, "listen",
       "is taken by pool \"a\", on line 2"},
      {first + "b:\n  listen: 127.0.0.1:01\n  servers: [h:1:1]\n", 5, "listen", "is taken"},
      {"a: {listen: /s, servers: [h:1:1]}\nb: {listen: /s 0700, servers: [h:1:1]}\n", 2, "listen",
       "is taken"},
  });
  EXPECT_TRUE(LoadText(first + "b:\n  listen: localhost:1\n  servers: [h:1:1]\n", kFile).ok());
}

TEST(ConfigRejects, KeysItDoesNotKnowOrHasSeen) {
  ExpectRejected({
      {PoolWith("  hsah: md5\n"), 4, "hsah", "did you mean hash?"},
      {PoolWith("  HASH: md5\n"), 4, "HASH", "did you mean hash?"},
      {PoolWith("  server-connections: 3\n"), 4, "server-connections",
       "did you mean server_connections?"},
      {PoolWith("  auto_eject_host: true\n"), 4, "auto_eject_host",
       "did you mean auto_eject_hosts?"},
      {PoolWith("  flavour: sweet\n"), 4, "flavour", "unknown key; remove it"},
      {PoolWith("  workers: 3\n"), 4, "workers", "unknown key"},
      {PoolWith("  timeout: 1\n  timeout: 1\n"), 5, "timeout", "given twice, first on line 4"},
      {PoolWith("  servers: [h:1:1]\n"), 4, "servers", "given twice, first on line 3"},
      {PoolWith("  health_check: {rise: 1, rise: 2}\n"), 4, "health_check.rise", "given twice"},
      {PoolWith("  health_check: {raise: 1}\n"), 4, "health_check.raise", "did you mean rise?"},
      {PoolWith("  <<: {timeout: 1}\n"), 4, "<<", "merge keys are not supported"},
      {PoolWith("  ? [a]\n  : b\n"), 4, "", "a key must be a plain word"},
  });
}

TEST(ConfigRejects, SectionsThatContradictThemselves) {
  ExpectRejected({
      BadKey("redis_auth", "hunter2", "is only for a redis pool"),
      BadKey("redis_auth", "''", "has no value"),
      BadKey("health_check", "true", "expects a mapping with the keys interval, timeout"),
      {PoolWith("  health_check: {rise: 0}\n"), 4, "health_check.rise", "from 1 to 1000"},
      {PoolWith("  health_check: {interval: 2}\n"), 4, "health_check.interval", "has no unit"},
      BadKey("health_check", "{interval: 1s, timeout: 2s}", "is longer than interval"),
      BadKey("tls", "{}", "is empty"),
      BadKey("tls", "on", "expects a mapping with the keys listen, servers"),
      {PoolWith("  tls: {listen: {cert: c}}\n"), 4, "tls.listen", "needs both cert and key"},
      {PoolWith("  tls: {listen: {}}\n"), 4, "tls.listen", "needs both cert and key"},
      {PoolWith("  tls: {servers: {cert: c}}\n"), 4, "tls.servers", "has cert without key"},
      {PoolWith("  tls: {servers: {key: k}}\n"), 4, "tls.servers", "has key without cert"},
      {PoolWith("  tls: {listen: {cert: [c], key: k}}\n"), 4, "tls.listen.cert", "found a list"},
  });
}

TEST(ConfigRejects, FaultsInGlobal) {
  const auto bad = [](const std::string& key, const std::string& value, const std::string& says) {
    return Rejection{PoolWith("global:\n  " + key + ": " + value + "\n"), 5, "global." + key, says};
  };
  ExpectRejected({
      bad("workers", "0", "from 1 to 1024"),
      bad("workers", "1025", "at most 1024"),
      bad("workers", "many", "is not a number"),
      bad("workers", "[1]", "found a list"),
      bad("admin", "9151", "has no port; write host:port"),
      bad("admin", "'*:9151'", "write 0.0.0.0 for every interface"),
      bad("admin", "127.0.0.1:65536", "or `off`"),
      bad("grpc", "unix:run/x", "is not an absolute path"),
      bad("grpc", "127.0.0.1", "or `unix:/path`"),
      bad("grpc", "0.0.0.0:9152", "needs grpc_tls"),
      bad("grpc", "'[::]:9152'", "needs grpc_tls"),
      bad("grpc_tls", "{cert: c, key: k, allowed_sans: [s]}", "lacks client_ca"),
      bad("grpc_tls", "{cert: c, key: k, client_ca: a}", "lacks allowed_sans"),
      bad("drain_timeout", "30", "has no unit"),
      bad("drain_grace", "x", "is not a duration"),
      bad("max_client_connections", "-1", "is not a number"),
      bad("max_buffer_memory", "1kb", "is too small"),
      bad("slow_log_size", "0", "from 1 to 10000"),
      bad("slow_log_size", "10001", "at most 10000"),
      bad("state_dir", "", "has no value"),
      bad("worker", "1", "did you mean workers?"),
      {PoolWith("global:\n"), 4, "global", "has no keys"},
      {PoolWith("global: [a]\n"), 4, "global", "has a list instead of keys"},
      {PoolWith("global:\n  grpc_tls: {cert: c, key: k, client_ca: a, allowed_sans: []}\n"), 5,
       "global.grpc_tls.allowed_sans", "expects a list of names"},
      {PoolWith("global:\n  grpc_tls: {cert: c, key: k, client_ca: a, allowed_sans: s}\n"), 5,
       "global.grpc_tls.allowed_sans", "expects a list of names"},
      {"global:\n  workers: 1\n", 1, "", "the file has no pool"},
  });
}

TEST(ConfigRejects, FilesThatAreNotPools) {
  ExpectRejected({
      {"", 0, "", "the file is empty"},
      {"\n\n", 0, "", "the file is empty"},
      {"# nothing\n", 0, "", "the file is empty"},
      {"hello\n", 1, "", "the file is one value"},
      {"- a\n", 1, "", "the file is a list"},
      {"{}\n", 1, "", "empty mapping"},
      {"a:\n", 1, "", "has no keys"},
      {"a: {}\n", 1, "", "has no keys"},
      {"a: b\n", 1, "", "has one value instead of keys"},
      {"a: [b]\n", 1, "", "has a list instead of keys"},
      {"'': {listen: h:1, servers: [h:1:1]}\n", 1, "", "a pool's name is missing"},
      {"? [a]\n: b\n", 1, "", "a pool's name is missing"},
      {"\"a\\tb\": {listen: h:1, servers: [h:1:1]}\n", 1, "", "control character"},
  });
}

TEST(ConfigRejects, TextThatIsNotYaml) {
  ExpectRejected({
      {PoolWith("---\n" + PoolWith("")), 4, "", "a second YAML document begins here"},
      {PoolWith("  timeout: \"4\n"), 4, "", "a quote opens here and is never closed"},
      {PoolWith("  timeout: 'it''s\n"), 4, "", "a quote opens here and is never closed"},
      {"a:\n    listen: h:1\n   servers: [h:1:1]\n", 3, "", "must be indented alike"},
      {PoolWith("  timeout: !int 4\n"), 4, "", "tags have no meaning here"},
      {PoolWith("  timeout: *t\n"), 4, "", "an alias to no anchor"},
      {"a: &a [*a]\n", 1, "", "an alias refers to itself"},
      {PoolWith("  timeout: 4\xff\n"), 4, "", "byte 0xff is not UTF-8"},
      {PoolWith("  timeout: 4\x01\n"), 4, "", "byte 0x01 is a control character"},
      {PoolWith(std::string("  timeout: 4\0\n", 14)), 4, "", "byte 0x00 is a control character"},
  });
}

// Text pasted from web pages.

std::vector<std::string> Errors(const std::string& yaml) {
  std::vector<std::string> texts;
  for (const Problem& problem : LoadText(yaml, kFile).errors) texts.push_back(problem.ToString());
  return texts;
}

TEST(PastedConfig, ALostSpaceAfterTheColonIsNamedWithItsLine) {
  EXPECT_THAT(Errors("alpha:\n  listen:127.0.0.1:22121\n  servers:\n   - h:1:1\n"),
              ElementsAre("nutcracker.yml:2: pool \"alpha\": listen: no space after the colon; "
                          "write `  listen: 127.0.0.1:22121`"));
}

TEST(PastedConfig, EveryLostSpaceIsNamedAlongWithTheOtherFaults) {
  EXPECT_THAT(
      Errors("alpha:\n  listen:127.0.0.1:22121\n  hash:md6\n  servers:\n   - h:1:1\n   - h:1\n"),
      ElementsAre(HasSubstr(":2: pool \"alpha\": listen: no space"),
                  HasSubstr(":3: pool \"alpha\": hash: no space"),
                  HasSubstr(":3: pool \"alpha\": hash: \"md6\" is not one of"),
                  HasSubstr(":6: pool \"alpha\": servers: \"h:1\" has no weight")));
}

TEST(PastedConfig, LostIndentationIsToldOnceForEachPool) {
  EXPECT_THAT(
      Errors("alpha:\nlisten: 127.0.0.1:1\nhash: md5\nservers:\n- h:1:1\n"
             "beta:\nlisten: 127.0.0.1:2\nservers:\n- h:1:1\n"),
      ElementsAre(AllOf(StartsWith("nutcracker.yml:2: pool \"alpha\": listen: stands at the "
                                   "left margin"),
                        HasSubstr("the 2 keys of this pool below it"), HasSubstr("under `alpha:`")),
                  AllOf(StartsWith("nutcracker.yml:7: pool \"beta\""),
                        HasSubstr("the 1 key of this pool below it"))));
}

TEST(PastedConfig, KeysWithoutAnyPoolAskForItsName) {
  EXPECT_THAT(Errors("listen: 127.0.0.1:1\nservers:\n - h:1:1\n"),
              ElementsAre(AllOf(HasSubstr(":1: listen: stands at the left margin"),
                                HasSubstr("a line with the pool's name"))));
}

TEST(PastedConfig, LostSpacesAndIndentationTogetherAreBothTold) {
  EXPECT_THAT(
      Errors("alpha:\nlisten:127.0.0.1:1\nservers:\n-h:1:1\n"),
      ElementsAre(HasSubstr(":2: pool \"alpha\": listen: no space after the colon; write `  "
                            "listen: 127.0.0.1:1`"),
                  HasSubstr(":2: pool \"alpha\": listen: stands at the left margin"),
                  HasSubstr(":4: pool \"alpha\": servers: no space after the dash")));
}

TEST(PastedConfig, TabsAreToldOnceWithTheFirstLine) {
  EXPECT_THAT(Errors("alpha:\n\tlisten: 127.0.0.1:1\n\tservers:\n\t - h:1:1\n"),
              ElementsAre(AllOf(HasSubstr(":2: pool \"alpha\": a tab in the indentation"),
                                HasSubstr("2 lines below"))));
}

TEST(PastedConfig, ADashWithoutItsSpaceIsExplained) {
  EXPECT_THAT(Errors("a:\n  listen: h:1\n  servers:\n   -h:1:1\n   -h:2:1\n"),
              ElementsAre(HasSubstr(":3: pool \"a\": servers: no space after the dash")));
}

TEST(PastedConfig, ValuesThatNeedQuotesAreShownWithThem) {
  EXPECT_THAT(Errors("a:\n  listen: *:1\n  servers:\n   - [::1]:1:1\n"),
              ElementsAre(HasSubstr(":2: pool \"a\": listen: the value begins with `*`"),
                          HasSubstr("put it in quotes: '[::1]:1:1'")));
}

TEST(PastedConfig, AKeyInsideBracesWithoutASpaceIsExplained) {
  EXPECT_THAT(Errors("a: {listen:h:1, listen: h:1, servers: [h:1:1]}\n"),
              ElementsAre(HasSubstr("listen: no space after the colon")));
}

TEST(PastedConfig, APoolMayBeNamedLikeAKey) {
  EXPECT_EQ(LoadPool("redis:\n  listen: h:1\n  servers: [h:1:1]\n").name, "redis");
  EXPECT_EQ(LoadPool("redis:6379:\n  listen: h:1\n  servers: [h:1:1]\n").name, "redis:6379");
}

TEST(Secrets, NoMessageRepeatsAPassword) {
  for (const char* yaml :
       {"a:\n  redis_auth:hunter2\n", "a:\nredis_auth:hunter2\n", "a:\nredis_auth: hunter2\n",
        "a:\n  redis: true\n  redis_auth: *hunter2\n",
        "a:\n  redis: true\n  redis_auth: !hunter2 x\n",
        "a:\n  redis: true\n  redis_auth: [hunter2]\n", "a: {redis_auth:hunter2}\n",
        "{a: {}, redis_auth:hunter2}\n", "{redis_auth:hunter2: x}\n",
        "a:\n  redis: true\n  redis_auth: {hunter2\n", "a:\n  redis_auth: hunter2\n",
        "a:\n  redis_auth:\n    hunter2: x\n", "a:\n  redis_auth: \"hunter2\n",
        "a:\n  redis_auth: @hunter2\n", "a:\n  redis_auth: \"\\qhunter2\"\n"}) {
    const std::string shown = Show(LoadText(yaml, kFile));
    EXPECT_THAT(shown, HasSubstr("error: ")) << yaml;
    EXPECT_THAT(shown, Not(HasSubstr("hunter2"))) << yaml;
  }
}

// All at once, and warnings.

TEST(Config, AllErrorsAreToldAtOnceInTheOrderOfTheirLines) {
  EXPECT_THAT(Errors("alpha:\n"
                     "  listen: 127.0.0.1\n"
                     "  hash: md6\n"
                     "  timeout: 400ms\n"
                     "  servers:\n"
                     "    - h:1:0\n"
                     "    - h:1\n"
                     "  server_failure_limit: x\n"
                     "beta:\n"
                     "  foo: bar\n"),
              ElementsAre(HasSubstr(":2: pool \"alpha\": listen: "),
                          HasSubstr(":3: pool \"alpha\": hash: "),
                          HasSubstr(":4: pool \"alpha\": timeout: "),
                          HasSubstr(":6: pool \"alpha\": servers: "),
                          HasSubstr(":7: pool \"alpha\": servers: "),
                          "nutcracker.yml:8: pool \"alpha\": server_failure_limit: \"x\" is not a "
                          "number; give a whole number of at least 1, such as 2",
                          HasSubstr(":9: pool \"beta\": listen: is missing"),
                          HasSubstr(":9: pool \"beta\": servers: is missing"),
                          HasSubstr(":10: pool \"beta\": foo: unknown key")));
}

TEST(Config, ValuesInMessagesAreEscapedAndCut) {
  const std::vector<std::string> errors = Errors(PoolWith("  hash: \"a\\nb\"\n"));
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_THAT(errors[0], HasSubstr("\"a\\x0ab\""));
  EXPECT_LT(Errors(PoolWith("  hash: " + std::string(10000, 'x') + "\n")).at(0).size(), 500u);
}

struct Warning {
  std::string yaml;
  int line;
  std::string says;
};

TEST(ConfigWarns, WhereSomethingBehavesDifferentlyThanItsReaderMayThink) {
  const std::vector<Warning> table = {
      {ListenOn("'*:22121'"), 2, "listens on loopback only"},
      {ServedBy("'*:11211:1'"), 4, "means loopback"},
      {"global: {listen: 'h:1', servers: ['h:1:1']}\n", 1, "is a pool of that name"},
      {PoolWith("  server_failure_limit: 0\n"), 4, "0 acts like 1"},
      {PoolWith("  redis_db: 1\n"), 4, "has no effect without `redis: true`"},
      {PoolWith("  redis: true\n  get_errors: miss\n"), 5, "has no effect on a redis pool"},
      {PoolWith("  redis: true\n  allow_flush: true\n"), 5, "has no effect on a redis pool"},
      {PoolWith("  cluster_commands: true\n"), 4, "has no effect without `redis: true`"},
      {PoolWith("  exclusive_connections: 5\n"), 4, "has no effect without `redis: true`"},
      {PoolWith("  redis: true\n  redis_user: app\n"), 5, "has no effect without `redis_auth`"},
      {PoolWith("  hold_down: 5s\n"), 4, "has no effect without `eject_mode: keep_ring`"},
      {PoolWith("  allow_empty: true\n"), 4, "has no effect without `membership: grpc`"},
      {PoolWith("  membership: grpc\nglobal: {grpc: off}\n"), 1, "nobody can set its servers"},
      {PoolWith("global:\n  grpc_tls: {cert: c, key: k, client_ca: a, allowed_sans: [s]}\n"), 5,
       "has no effect without a TCP address"},
  };
  for (const Warning& row : table) {
    const LoadResult result = LoadText(row.yaml, kFile);
    SCOPED_TRACE(row.yaml + Show(result));
    EXPECT_TRUE(result.ok());
    ASSERT_EQ(result.warnings.size(), 1u);
    EXPECT_EQ(result.warnings[0].line, row.line);
    EXPECT_THAT(result.warnings[0].text, HasSubstr(row.says));
  }
  EXPECT_EQ(LoadPool(table[3].yaml).server_failure_limit, 1);
  EXPECT_EQ(LoadPool(table[0].yaml).listen.host, "*");
  EXPECT_EQ(LoadPool(table[2].yaml).name, "global");
  EXPECT_FALSE(LoadText(table[2].yaml, kFile).config.global.present);
}

TEST(Config, AnOrdinaryFileHasNoWarnings) {
  EXPECT_TRUE(LoadText(PoolWith("  redis: true\n  redis_db: 1\n  redis_auth: x\n"), kFile)
                  .warnings.empty());
}

// Bounds.

TEST(ConfigBounds, DeepNestingIsRefused) {
  for (const char* open : {"[", "{", "- ", "? ", "a: {"}) {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += open;
    EXPECT_FALSE(LoadText(text, kFile).ok()) << open;
  }
  std::string indented;
  for (int i = 0; i < 1000; ++i) indented += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  EXPECT_THAT(Errors(indented), ElementsAre(HasSubstr("nested deeper than")));
}

TEST(ConfigBounds, AliasesThatMultiplyAreRefused) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text +=
        fmt::format("a{0}: &a{0} [{1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}]\n", i, before);
  }
  EXPECT_THAT(Errors(text), ElementsAre(HasSubstr("the aliases expand to more than")));
}

TEST(ConfigBounds, MoreValuesThanAnyConfigurationAreRefused) {
  std::string items = "a:\n";
  for (size_t i = 0; i <= kMaxYamlNodes; ++i) items += "- a\n";
  EXPECT_THAT(Errors(items), ElementsAre(HasSubstr("that is no configuration")));
  EXPECT_THAT(Errors("a: [" + std::string(kMaxYamlNodes + 1, ',')),
              ElementsAre(HasSubstr("brackets and commas")));
}

TEST(ConfigBounds, ProblemsBeyondAThousandAreOnlyCounted) {
  std::string text = PoolWith("");
  for (int i = 0; i < 1500; ++i) text += fmt::format("  unknown{}: x\n", i);
  const LoadResult result = LoadText(text, kFile);
  ASSERT_EQ(result.errors.size(), 1001u);
  EXPECT_EQ(result.errors.back().text, "and 500 more errors");
}

TEST(ConfigBounds, AFileOver16MibIsRefused) {
  EXPECT_THAT(Errors(std::string(kMaxFileBytes + 1, '#')),
              ElementsAre(HasSubstr("is larger than 16 MiB")));
  EXPECT_THAT(Errors(std::string(kMaxFileBytes, '#')), ElementsAre(HasSubstr("the file is empty")));
}

TEST(ConfigBounds, AnyPrefixOfAFileIsReadWithoutACrash) {
  const std::string whole = PoolWith(
      "  hash_tag: \"{}\"\n  tls: {listen: {cert: c, key: 'k'}}\n  health_check: &h\n    rise: 2\n"
      "b:\n  listen: '[::1]:1'\n  health_check: *h\n  servers:\n    - h:1:1 x\n");
  ASSERT_TRUE(LoadText(whole, kFile).ok()) << Show(LoadText(whole, kFile));
  size_t good = 0;
  for (size_t length = 0; length <= whole.size(); ++length) {
    const LoadResult result = LoadText(whole.substr(0, length), kFile);
    good += result.ok() ? 1 : 0;
    for (const Problem& problem : result.errors) EXPECT_FALSE(problem.text.empty());
  }
  EXPECT_GT(good, 0u);
  EXPECT_LT(good, whole.size() / 2);
}

TEST(ConfigBounds, AnySingleByteChangeIsReadWithoutACrash) {
  const std::string whole = PoolWith("  hash_tag: '{}'\n  redis: true\n  redis_auth: x\n");
  size_t bad = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char byte : std::string("\0\t\n :-#'\"[]{},&*!|>%@`\\\xff", 24)) {
      std::string changed = whole;
      changed[at] = byte;
      bad += LoadText(changed, kFile).ok() ? 0 : 1;
    }
  }
  EXPECT_GT(bad, whole.size());
}

// Files.

TEST(LoadFile, NamesAFileThatCannotBeRead) {
  const LoadResult missing = LoadFile("/nonexistent/nutcracker.yml");
  ASSERT_EQ(missing.errors.size(), 1u);
  EXPECT_EQ(missing.errors[0].ToString(),
            "/nonexistent/nutcracker.yml: cannot be opened: No such file or directory");
  const LoadResult folder = LoadFile("/");
  ASSERT_EQ(folder.errors.size(), 1u);
  EXPECT_EQ(folder.errors[0].ToString(), "/: cannot be read: Is a directory");
}

TEST(LoadFile, ReadsAFileAndEndsWhereItIsTooLarge) {
  char pattern[] = "/tmp/cashew-config-XXXXXX";
  const std::string dir = mkdtemp(pattern);
  const std::string path = dir + "/nutcracker.yml";
  std::ofstream(path) << PoolWith("");
  EXPECT_TRUE(LoadFile(path).ok());
  EXPECT_THAT(LoadFile("/dev/zero").errors.at(0).text, HasSubstr("is larger than 16 MiB"));
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace cashew::config

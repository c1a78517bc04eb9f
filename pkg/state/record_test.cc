#include "pkg/state/record.h"

#include <cstdio>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <openssl/evp.h>
#include <set>

#include "fmt/format.h"

namespace cashew::state {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

pool::ServerSpec Server(std::string name, std::string host = "10.0.0.1", uint16_t port = 11211) {
  pool::ServerSpec server;
  server.name = std::move(name);
  server.host = std::move(host);
  server.port = port;
  return server;
}

PoolRecord Small() {
  PoolRecord record;
  record.has_list = true;
  record.servers = {Server("a")};
  return record;
}

PoolRecord Everything() {
  PoolRecord record = Small();
  record.updater = "sidecar cache-7";
  record.source_version = "100% \"sure\" \xff\x00\n";
  record.updated_us = 1'700'000'000'123'456;
  record.servers.push_back(Server("cache-1", "fe80::1%eth0", 65535));
  record.servers.back().weight = 4'294'967'295;
  record.servers.back().zone = "zürich\xc3";
  record.servers.back().state = pool::ServerState::kDown;
  record.servers.push_back(Server("local", "", 0));
  record.servers.back().unix_path = "/run/m c\x01.sock";
  record.servers.back().state = pool::ServerState::kDraining;
  record.held = {Server("held-0", "cache-0.example", 6379), Server("held 1\xff")};
  record.held.back().weight = 9;
  record.held.back().zone = "z";
  record.overrides["a"] = {.state = pool::ServerState::kDown, .weight = 7, .expires_us = 12};
  record.overrides["gone \x80"] = {.state = {}, .weight = 1, .expires_us = 0};
  record.overrides["z"] = {};
  return record;
}

std::string Whole(const std::string& body) {
  unsigned char digest[32];
  EVP_Digest(body.data(), body.size(), digest, nullptr, EVP_sha256(), nullptr);
  std::string hex;
  for (const unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return fmt::format("cashew-state 1 {} {}\n{}", body.size(), hex, body);
}

std::string Error(const std::string& file) {
  const absl::StatusOr<PoolRecord> record = Decode("p", file);
  return record.ok() ? "" : std::string(record.status().message());
}

TEST(StateRecord, ReadsBackWhatItWrote) {
  for (const PoolRecord& record : {PoolRecord(), Small(), Everything()}) {
    const absl::StatusOr<std::string> file = Encode("p\xff", record);
    ASSERT_TRUE(file.ok()) << file.status();
    const absl::StatusOr<PoolRecord> back = Decode("p\xff", *file);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, record);
  }
}

TEST(StateRecord, AFileCutAnywhereIsNeverTrusted) {
  const std::string file = *Encode("p", Everything());
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(Decode("p", std::string_view(file).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(Decode("p", file + "\n").ok());
  EXPECT_FALSE(Decode("p", file + file).ok());
}

TEST(StateRecord, AFileWithAnyFlippedBitIsNeverTrusted) {
  std::string file = *Encode("p", Everything());
  for (size_t i = 0; i < file.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      file[i] ^= static_cast<char>(1 << bit);
      EXPECT_FALSE(Decode("p", file).ok()) << "bit " << bit << " of byte " << i;
      file[i] ^= static_cast<char>(1 << bit);
    }
  }
}

TEST(StateRecord, SaysWhatIsWrongWithAHeader) {
  EXPECT_EQ(Error(""), "the header line is missing or torn");
  EXPECT_EQ(Error(std::string(5000, 'x')), "the header line is missing or torn");
  EXPECT_EQ(Error("#!/bin/sh\n"), "it does not begin with \"cashew-state\"");
  EXPECT_EQ(Error("cashew-state 2 0 -\n"), "its format is 2, this version reads 1");
  EXPECT_EQ(Error("cashew-state one 0 -\n"), "the format \"one\" is not a number");
  EXPECT_EQ(Error("cashew-state 1 99999999999999999999 -\n"),
            "the length \"99999999999999999999\" is not a number");
  EXPECT_EQ(Error("cashew-state 1 4 -\nabc"), "the body is 3 bytes long, the header says 4");
  EXPECT_EQ(Error("cashew-state 1 3\nabc"), "the checksum does not match the body");
}

TEST(StateRecord, AnotherPoolsFileIsForeign) {
  EXPECT_EQ(Error(*Encode("q", Small())), "it is of pool \"q\"");
}

// Whole and with the right checksum, but not what Encode writes.
TEST(StateRecord, SaysWhatIsWrongWithABody) {
  struct Case {
    const char* servers;
    const char* overrides;
    const char* error;
  };
  constexpr char kGood[] = R"({"name":"a","host":"h","port":1,"weight":1,"state":"ready"})";
  const Case kCases[] = {
      {"{}", "{}", "the body: servers is of another type"},
      {"[1]", "{}", "server 1: is not an object"},
      {R"([{"host":"h","port":1,"weight":1,"state":"ready"}])", "{}", "server 1: name is missing"},
      {R"([{"name":7,"host":"h","port":1,"weight":1,"state":"ready"}])", "{}",
       "server 1: name is not a string"},
      {R"([{"name":"%4","host":"h","port":1,"weight":1,"state":"ready"}])", "{}",
       "server 1: name has a '%' without two hex digits"},
      {R"([{"name":"","host":"h","port":1,"weight":1,"state":"ready"}])", "{}",
       "server 1 has no name"},
      {R"([{"name":"a","port":1,"weight":1,"state":"ready"}])", "{}",
       "server 1 \"a\": has neither a host nor a socket path"},
      {R"([{"name":"a","host":"h","weight":1,"state":"ready"}])", "{}",
       "server 1 \"a\": port is 0, 1 to 65535 is needed"},
      {R"([{"name":"a","host":"h","port":0,"weight":1,"state":"ready"}])", "{}",
       "server 1 \"a\": port is 0, 1 to 65535 is needed"},
      {R"([{"name":"a","host":"h","port":65536,"weight":1,"state":"ready"}])", "{}",
       "server 1: port is not a whole number in its range"},
      {R"([{"name":"a","host":"h","port":-1,"weight":1,"state":"ready"}])", "{}",
       "server 1: port is not a whole number in its range"},
      {R"([{"name":"a","host":"h","port":1,"weight":0,"state":"ready"}])", "{}",
       "server 1 \"a\": weight is 0, at least 1 is needed"},
      {R"([{"name":"a","host":"h","port":1,"weight":1.5,"state":"ready"}])", "{}",
       "server 1: weight is not a whole number in its range"},
      {R"([{"name":"a","host":"h","port":1,"weight":18446744073709551615,"state":"ready"}])", "{}",
       "server 1: weight is not a whole number in its range"},
      {R"([{"name":"a","host":"h","port":1,"weight":1,"state":"asleep"}])", "{}",
       "server 1: state is \"asleep\", not ready, down or draining"},
      {R"([{"name":"a","unix_path":"x","weight":1,"state":"ready"}])", "{}",
       "server 1 \"a\": socket path \"x\" is not absolute"},
      {"[]", "[]", "the body: overrides is of another type"},
      {"[]", R"({"a":1})", "override of \"a\": is not an object"},
      {"[]", R"({"":{}})", "an override without a server's name"},
      {"[]", R"({"%":{}})", "override of \"%\": the name is badly encoded"},
      {"[]", R"({"a":{"weight":0}})", "override of \"a\": weight is 0, at least 1 is needed"},
      {"[]", R"({"a":{"state":"x"}})",
       "override of \"a\": state is \"x\", not ready, down or draining"},
  };
  const auto body = [](const std::string& servers, const std::string& overrides) {
    return fmt::format(
        R"({{"pool":"p","has_list":true,"updater":"","source_version":"","updated_us":1,)"
        R"("servers":{},"overrides":{}}})",
        servers, overrides);
  };
  for (const Case& c : kCases) EXPECT_EQ(Error(Whole(body(c.servers, c.overrides))), c.error);
  EXPECT_EQ(Error(Whole(body(fmt::format("[{}]", kGood), "{}"))), "");
  EXPECT_EQ(Error(Whole(body(fmt::format("[{0},{0}]", kGood), "{}"))),
            "server 2 \"a\": the name is there twice");
}

// As those of the versions that kept no holds.
TEST(StateRecord, AFileWithoutHeldServersIsReadAsNone) {
  EXPECT_THAT(*Encode("p", Small()), Not(HasSubstr("held")));
  PoolRecord one = Small();
  one.held = {Server("b")};
  EXPECT_THAT(*Encode("p", one), HasSubstr("held"));
  const absl::StatusOr<PoolRecord> read = Decode("p", *Encode("p", Small()));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(read->held, testing::IsEmpty());
}

TEST(StateRecord, HeldServersAreCheckedAsListedOnesAre) {
  const auto body = [](const std::string& held) {
    return fmt::format(
        R"({{"pool":"p","has_list":true,"updater":"","source_version":"","updated_us":1,)"
        R"("servers":[{{"name":"a","host":"h","port":1,"weight":1,"state":"ready"}}],)"
        R"("overrides":{{}},"held":{}}})",
        held);
  };
  const auto server = [](const std::string& name, int port) {
    return fmt::format(R"([{{"name":"{}","host":"h","port":{},"weight":1,"state":"ready"}}])", name,
                       port);
  };
  EXPECT_EQ(Error(Whole(body(server("b", 1)))), "");
  EXPECT_EQ(Error(Whole(body("[]"))), "");
  EXPECT_EQ(Error(Whole(body("{}"))), "the body: held is of another type");
  EXPECT_EQ(Error(Whole(body("[1]"))), "server 1: is not an object");
  EXPECT_EQ(Error(Whole(body(server("b", 0)))), "server 1 \"b\": port is 0, 1 to 65535 is needed");
  EXPECT_EQ(Error(Whole(body(server("a", 1)))), "server 1 \"a\": the name is there twice")
      << "listed and held";
  PoolRecord both = Small();
  both.held = {Server("b"), both.servers[0]};
  EXPECT_EQ(Encode("p", both).status().message(), "server 2 \"a\": the name is there twice");
}

TEST(StateRecord, ABodyThatIsNoRecordIsRefused) {
  EXPECT_EQ(Error(Whole("")), "the body is not JSON");
  EXPECT_EQ(Error(Whole("{")), "the body is not JSON");
  EXPECT_EQ(Error(Whole("7")), "the body: is not an object");
  EXPECT_EQ(Error(Whole("{}")), "the body: pool is missing");
  EXPECT_EQ(Error(Whole(R"({"pool":"p","has_list":1})")),
            "the body: has_list is neither true nor false");
  EXPECT_EQ(Error(Whole(std::string(1'000'000, '['))), "the body is not JSON");
  EXPECT_NE(Error(Whole(std::string(500'000, '[') + std::string(500'000, ']'))), "");
}

TEST(StateRecord, WhatDecodeWouldRefuseIsNotWritten) {
  PoolRecord twice = Small();
  twice.servers.push_back(twice.servers[0]);
  EXPECT_EQ(Encode("p", twice).status().message(), "server 2 \"a\": the name is there twice");
  PoolRecord listless = Small();
  listless.has_list = false;
  EXPECT_EQ(Encode("p", listless).status().message(), "servers without has_list");
  PoolRecord large = Small();
  large.updater = std::string(kMaxFileBytes, 'x');
  EXPECT_THAT(std::string(Encode("p", large).status().message()), HasSubstr("8388608 is the most"));
}

TEST(StateRecord, TheLargestListOfTheNetworkFits) {
  PoolRecord record;
  record.has_list = true;
  for (int i = 0; i < 4096; ++i) {
    record.servers.push_back(Server(fmt::format("{:0>253}", i), std::string(253, 'h')));
    record.servers.back().zone = std::string(253, 'z');
  }
  const absl::StatusOr<std::string> file = Encode("p", record);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(*Decode("p", *file), record);
}

TEST(StateFileName, IsPlainForPlainPools) {
  EXPECT_EQ(FileName("cache_1-a.b"), "cache_1-a.b.state");
}

TEST(StateFileName, IsSafeAndDistinctForAnyPool) {
  std::set<std::string> names;
  std::vector<std::string> pools = {"", ".", "..", "../../etc/passwd", "%", "%2E", "a/b", "a%2Fb"};
  for (int byte = 0; byte < 256; ++byte) pools.emplace_back(1, static_cast<char>(byte));
  for (const size_t size : {59, 60, 61, 100, 175, 180, 181, 182, 300, 100'000}) {
    pools.emplace_back(size, 'x');
    pools.emplace_back(size, '\xff');
    pools.push_back(std::string(size, '\xff') + "y");
  }
  for (const std::string& pool : std::set<std::string>(pools.begin(), pools.end())) {
    const std::string name = FileName(pool);
    EXPECT_THAT(name,
                AllOf(Not(StartsWith(".")), Not(HasSubstr("/")), testing::EndsWith(".state")));
    EXPECT_LE(name.size(), 200u);
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

}  // namespace
}  // namespace cashew::state

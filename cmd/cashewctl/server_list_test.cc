#include "cmd/cashewctl/server_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>

namespace cashew::ctl {
namespace {

using testing::HasSubstr;

std::string Show(const Server& server) {
  std::string text = server.name() + "=" + server.address();
  if (server.has_weight()) text += ":" + std::to_string(server.weight());
  if (!server.zone().empty()) text += " zone " + server.zone();
  if (server.state() != 0) text += " " + membership::v1::ServerState_Name(server.state());
  return text;
}

std::string Show(const absl::StatusOr<ServerList>& list) {
  if (!list.ok()) return std::string(list.status().message());
  std::string text;
  for (const Server& server : *list) text += (text.empty() ? "" : ", ") + Show(server);
  return text;
}

std::string Argument(std::string_view text) {
  const auto server = ParseServerArgument(text);
  return server.ok() ? Show(*server) : std::string(server.status().message());
}

TEST(ServerList, ArgumentsAreNameAddressAndMaybeAWeight) {
  EXPECT_EQ(Argument("a=10.0.0.1:11211"), "a=10.0.0.1:11211");
  EXPECT_EQ(Argument("a=cache-0.cache:11211:3"), "a=cache-0.cache:11211:3");
  EXPECT_EQ(Argument("a=[fd00::1]:11211"), "a=[fd00::1]:11211");
  EXPECT_EQ(Argument("a=[fd00::1]:11211:2"), "a=[fd00::1]:11211:2");
  EXPECT_EQ(Argument("10.0.0.1:1=10.0.0.1:1"), "10.0.0.1:1=10.0.0.1:1");
}

TEST(ServerList, AWrongArgumentIsExplained) {
  EXPECT_THAT(Argument("10.0.0.1:11211"), HasSubstr("has no name; write NAME=HOST:PORT"));
  EXPECT_THAT(Argument("a=10.0.0.1"), HasSubstr("address \"10.0.0.1\""));
  EXPECT_THAT(Argument("a=10.0.0.1:0"), HasSubstr("address"));
  EXPECT_THAT(Argument("a=10.0.0.1:70000"), HasSubstr("address"));
  EXPECT_THAT(Argument("a=10.0.0.1:1:0"), HasSubstr("weight \"0\""));
  EXPECT_THAT(Argument("a=10.0.0.1:1:x"), HasSubstr("weight \"x\""));
  EXPECT_THAT(Argument("a=fd00::1:11211"), HasSubstr("in brackets"));
  EXPECT_THAT(Argument("=10.0.0.1:1"), HasSubstr("name"));
  EXPECT_THAT(Argument("a="), HasSubstr("address"));
  EXPECT_THAT(Argument("a=[::1"), HasSubstr("address"));
  EXPECT_THAT(Argument(std::string(256, 'n') + "=h:1"), HasSubstr("1 to 255 bytes"));
}

TEST(ServerList, ANameGivenTwiceIsRefused) {
  EXPECT_EQ(Show(ParseServerArguments({"a=h:1", "b=h:2"})), "a=h:1, b=h:2");
  EXPECT_THAT(Show(ParseServerArguments({"a=h:1", "a=h:2"})), HasSubstr("\"a\" is given twice"));
}

TEST(ServerList, AFileOfLinesTakesOursAndThoseOfAConfiguration) {
  EXPECT_EQ(Show(ParseServerFile("# all of them\n"
                                 "a=10.0.0.1:11211:2  # the big one\r\n"
                                 "\n"
                                 "10.0.0.2:11211:1 b\n"
                                 "[fd00::1]:11212:4 c#1\n",
                                 "list")),
            "a=10.0.0.1:11211:2, b=10.0.0.2:11211:1, c#1=[fd00::1]:11212:4");
}

TEST(ServerList, AFaultInAFileNamesItsLine) {
  EXPECT_THAT(Show(ParseServerFile("a=h:1\nb=h\n", "list")), HasSubstr("list:2: \"b=h\""));
  EXPECT_THAT(Show(ParseServerFile("a=h:1\na=h:2\n", "list")), HasSubstr("list:2: the name"));
  EXPECT_THAT(Show(ParseServerFile("nonsense\n", "list")), HasSubstr("list:1: "));
  EXPECT_THAT(Show(ParseServerFile("/run/m.sock:1 a\n", "list")), HasSubstr("unix socket"));
}

TEST(ServerList, YamlAndJsonHoldLinesOrMappings) {
  const std::string want = "a=h:1, b=h:2:3 zone z1 SERVER_STATE_DRAINING";
  EXPECT_EQ(Show(ParseServerFile("- a=h:1\n"
                                 "- {name: b, address: 'h:2', weight: 3, zone: z1, "
                                 "state: draining}\n",
                                 "list")),
            want);
  EXPECT_EQ(Show(ParseServerFile("servers:\n  - name: a\n    address: h:1\n    weight: null\n"
                                 "  - name: b\n    address: h:2\n    weight: 3\n    zone: z1\n"
                                 "    state: draining\n",
                                 "list")),
            want);
  EXPECT_EQ(Show(ParseServerFile(R"({"servers": ["a=h:1", {"name": "b", "address": "h:2",
                                     "weight": 3, "zone": "z1", "state": "draining"}]})",
                                 "-")),
            want);
}

TEST(ServerList, WhatServersPrintsAsJsonCanBeSetAgain) {
  EXPECT_EQ(Show(ParseServerFile(
                R"({"name": "cache", "version": 7, "servers": [
                    {"server": {"name": "a", "address": "h:1", "weight": null, "zone": "",
                                "state": "ready"}, "ip": "10.0.0.1", "held": false},
                    {"server": {"name": "gone", "address": "h:2", "weight": 1, "zone": "",
                                "state": "ready"}, "ip": "", "held": true}]})",
                "pool.json")),
            "a=h:1 SERVER_STATE_READY");
}

TEST(ServerList, WrongYamlIsExplained) {
  const auto fault = [](std::string_view text) { return Show(ParseServerFile(text, "l.yml")); };
  EXPECT_THAT(fault("- {name: a, adress: 'h:1'}\n"), HasSubstr("l.yml:1: \"adress\" is no key"));
  EXPECT_THAT(fault("- {name: a}\n"), HasSubstr("at least a name and an address"));
  EXPECT_THAT(fault("- a=h:1\n- {name: b, address: 'h:1', state: sleepy}\n"),
              HasSubstr("l.yml:2: state \"sleepy\": give ready, down or draining"));
  EXPECT_THAT(fault("- {name: a, address: 'h:1', weight: [1]}\n"), HasSubstr("give one value"));
  EXPECT_THAT(fault("- [a]\n"), HasSubstr("a line or a mapping"));
  EXPECT_THAT(fault("name: a\n"), HasSubstr("no list of servers"));
  EXPECT_THAT(fault("- {\n"), HasSubstr("l.yml:"));
}

membership::v1::Pool PoolOf(const std::vector<std::string>& servers) {
  membership::v1::Pool pool;
  for (const std::string& server : servers) {
    *pool.add_servers()->mutable_server() = *ParseServerArgument(server);
  }
  return pool;
}

TEST(ServerList, AddKeepsWhatIsThereAndRefusesToMoveIt) {
  ServerList list = ListOf(PoolOf({"a=h:1", "b=h:2:5"}));
  EXPECT_TRUE(AddServers(*ParseServerArguments({"c=h:3", "a=h:1:1"}), false, &list).ok());
  EXPECT_EQ(Show(list), "a=h:1, b=h:2:5, c=h:3");
  const absl::Status moved = AddServers(*ParseServerArguments({"b=h:9"}), false, &list);
  EXPECT_TRUE(absl::IsAlreadyExists(moved));
  EXPECT_THAT(std::string(moved.message()), HasSubstr("at h:2 with weight 5"));
  EXPECT_TRUE(AddServers(*ParseServerArguments({"b=h:9"}), true, &list).ok());
  EXPECT_EQ(Show(list), "a=h:1, b=h:9:5, c=h:3");
}

TEST(ServerList, RemoveNamesWhatIsNotThere) {
  ServerList list = ListOf(PoolOf({"a=h:1", "b=h:2", "c=h:3"}));
  EXPECT_TRUE(RemoveServers({"b"}, &list).ok());
  EXPECT_EQ(Show(list), "a=h:1, c=h:3");
  const absl::Status missing = RemoveServers({"b"}, &list);
  EXPECT_TRUE(absl::IsNotFound(missing));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("it has: a, c"));
}

TEST(ServerList, AHeldServerIsNoMemberOfTheList) {
  membership::v1::Pool pool = PoolOf({"a=h:1", "b=h:2"});
  pool.mutable_servers(1)->set_held(true);
  EXPECT_EQ(Show(ListOf(pool)), "a=h:1");
}

}  // namespace
}  // namespace cashew::ctl

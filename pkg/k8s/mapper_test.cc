#include "pkg/k8s/mapper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fmt/format.h"

#include "pkg/k8s/slice_store.h"

namespace cashew::k8s {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A slice as a real API server sends it.
std::string SliceJson(
    const std::string& name, const std::string& endpoints, const std::string& type = "IPv4",
    const std::string& ports = R"([{"name":"memcached","port":11211,"protocol":"TCP"}])") {
  return fmt::format(
      R"({{"type":"ADDED","object":{{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1",)"
      R"("metadata":{{"name":"{}","namespace":"demo","resourceVersion":"1","labels":)"
      R"({{"kubernetes.io/service-name":"mc","service.kubernetes.io/headless":""}}}},)"
      R"("addressType":"{}","ports":{},"endpoints":{}}}}})",
      name, type, ports, endpoints);
}

std::string Pod(const std::string& name, const std::string& ip, const std::string& uid,
                const std::string& conditions) {
  return fmt::format(
      R"({{"addresses":["{}"],"conditions":{},"hostname":"{}","nodeName":"node-1",)"
      R"("zone":"zone-a","targetRef":{{"kind":"Pod","namespace":"demo","name":"{}","uid":"{}"}}}})",
      ip, conditions, name, name, uid);
}

constexpr char kReady[] = R"({"ready":true,"serving":true,"terminating":false})";
constexpr char kGoing[] = R"({"ready":false,"serving":true,"terminating":true})";
constexpr char kStarting[] = R"({"ready":false,"serving":false,"terminating":false})";

class MapperTest : public ::testing::Test {
 protected:
  void Take(const std::string& event) {
    auto parsed = ParseSliceEvent(event);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    ASSERT_TRUE(store_.Apply(std::move(parsed->object)).ok());
  }

  MapResult Map(MapOptions options = {.port = "memcached"}) {
    return MapSlices(store_.Snapshot("1"), options);
  }

  // "name address STATE" each.
  std::vector<std::string> Lines(MapOptions options = {.port = "memcached"}) {
    std::vector<std::string> lines;
    for (const MappedServer& server : Map(options).servers) {
      lines.push_back(
          fmt::format("{} {} {}", server.name, server.address, StateName(server.state)));
    }
    return lines;
  }

  SliceStore store_;
};

TEST_F(MapperTest, PodsOfManySlicesComeInNaturalOrderOfTheirNames) {
  Take(SliceJson("mc-b", "[" + Pod("mc-10", "10.77.1.10", "j", kReady) + "," +
                             Pod("mc-1", "10.77.1.3", "b", kReady) + "]"));
  Take(SliceJson("mc-a", "[" + Pod("mc-2", "10.77.1.4", "c", kReady) + "]"));
  EXPECT_THAT(Lines(), ElementsAre("mc-1 10.77.1.3:11211 READY", "mc-2 10.77.1.4:11211 READY",
                                   "mc-10 10.77.1.10:11211 READY"));
  EXPECT_EQ(Map().servers[0].zone, "zone-a");
  EXPECT_THAT(Map().warnings, IsEmpty());
}

TEST_F(MapperTest, RestartOfAPodIsFourStatesUnderOneName) {
  Take(SliceJson("mc", "[" + Pod("mc-1", "10.77.1.3", "b", kGoing) + "]"));
  EXPECT_THAT(Lines(), ElementsAre("mc-1 10.77.1.3:11211 DRAINING"));
  Take(SliceJson("mc", "[]"));
  EXPECT_THAT(Lines(), IsEmpty());
  Take(SliceJson("mc", "[" + Pod("mc-1", "10.77.1.9", "c", kStarting) + "]"));
  EXPECT_THAT(Lines(), ElementsAre("mc-1 10.77.1.9:11211 DOWN"));
  Take(SliceJson("mc", "[" + Pod("mc-1", "10.77.1.9", "c", kReady) + "]"));
  EXPECT_THAT(Lines(), ElementsAre("mc-1 10.77.1.9:11211 READY"));
}

TEST_F(MapperTest, ServiceWithoutPodsYetHasNullEndpointsAndNullPorts) {
  Take(SliceJson("mc", "null", "IPv4", "null"));
  const MapResult result = Map();
  EXPECT_THAT(result.servers, IsEmpty());
  EXPECT_THAT(result.warnings, IsEmpty());
  EXPECT_EQ(result.endpoints, 0U);
}

TEST_F(MapperTest, MissingConditionsFollowTheApisRules) {
  const auto state = [](std::optional<bool> ready, std::optional<bool> serving,
                        std::optional<bool> terminating) {
    return StateOf({.ready = ready, .serving = serving, .terminating = terminating});
  };
  EXPECT_EQ(state({}, {}, {}), ServerState::kReady) << "unset ready is true";
  EXPECT_EQ(state(false, {}, {}), ServerState::kDown) << "unset serving is as ready";
  EXPECT_EQ(state({}, false, {}), ServerState::kDown);
  EXPECT_EQ(state(true, false, {}), ServerState::kDown) << "publishNotReadyAddresses";
  EXPECT_EQ(state(false, true, true), ServerState::kDraining);
  EXPECT_EQ(state(false, false, true), ServerState::kDown);
}

TEST_F(MapperTest, OfTwoEntriesOfAPodTheOneNotTerminatingWins) {
  Take(SliceJson("new", "[" + Pod("mc-1", "10.77.1.9", "new", kStarting) + "]"));
  Take(SliceJson("old", "[" + Pod("mc-1", "10.77.1.3", "old", kGoing) + "]"));
  EXPECT_THAT(Lines(), ElementsAre("mc-1 10.77.1.9:11211 DOWN"));
}

TEST_F(MapperTest, OfTwoEntriesOfAPodTheUidSeenLastWins) {
  Take(SliceJson("a", "[" + Pod("mc-1", "10.77.1.3", "first", kReady) + "]"));
  Take(SliceJson("b", "[" + Pod("mc-1", "10.77.1.9", "second", kReady) + "]"));
  Take(SliceJson("a", "[" + Pod("mc-1", "10.77.1.3", "first", kReady) + "]"));
  EXPECT_THAT(Lines(), ElementsAre("mc-1 10.77.1.9:11211 READY"));
}

TEST_F(MapperTest, OneFamilyOfADualStackPodIsTaken) {
  Take(SliceJson("v4", "[" + Pod("mc-0", "10.77.1.2", "a", kReady) + "]"));
  Take(SliceJson(
      "v6",
      "[" + Pod("mc-0", "fd00::2", "a", kReady) + "," + Pod("mc-1", "fd00::3", "b", kReady) + "]",
      "IPv6"));
  EXPECT_THAT(Lines(), ElementsAre("mc-0 10.77.1.2:11211 READY", "mc-1 [fd00::3]:11211 READY"));
  EXPECT_THAT(Lines({.port = "memcached", .prefer = IpFamily::kIpv6}),
              ElementsAre("mc-0 [fd00::2]:11211 READY", "mc-1 [fd00::3]:11211 READY"));
}

TEST_F(MapperTest, EndpointWithoutAPodIsCalledByHostnameOrAddress) {
  Take(SliceJson("mc", R"([{"addresses":["192.0.2.7"],"hostname":"cache-a"},)"
                       R"({"addresses":["192.0.2.8"],"targetRef":{"kind":"Node","name":"n"}}])"));
  EXPECT_THAT(Lines(), ElementsAre("192.0.2.8:11211 192.0.2.8:11211 READY",
                                   "cache-a 192.0.2.7:11211 READY"));
}

TEST_F(MapperTest, PortIsFoundByNameNumberOrBeingTheOnlyOne) {
  const std::string two = R"([{"name":"memcached","port":11211},{"name":"metrics","port":9150},)"
                          R"({"name":"memcached","port":11211,"protocol":"UDP"}])";
  Take(SliceJson("mc", "[" + Pod("mc-0", "10.77.1.2", "a", kReady) + "]", "IPv4", two));
  EXPECT_THAT(Lines({.port = "metrics"}), ElementsAre("mc-0 10.77.1.2:9150 READY"));
  EXPECT_THAT(Lines({.port = "6379"}), ElementsAre("mc-0 10.77.1.2:6379 READY"));
  EXPECT_THAT(Map({.port = ""}).warnings, ElementsAre(HasSubstr("say which one")));
  Take(SliceJson("mc", "[" + Pod("mc-0", "10.77.1.2", "a", kReady) + "]", "IPv4",
                 R"([{"name":"","port":11299,"protocol":"TCP"}])"));
  EXPECT_THAT(Lines({.port = ""}), ElementsAre("mc-0 10.77.1.2:11299 READY"));
}

TEST_F(MapperTest, MissingPortIsToldFromAServiceWithoutPods) {
  Take(SliceJson("mc", "[" + Pod("mc-0", "10.77.1.2", "a", kReady) + "]"));
  const MapResult result = Map({.port = "redis"});
  EXPECT_THAT(result.servers, IsEmpty());
  EXPECT_EQ(result.endpoints, 1U);
  EXPECT_THAT(result.warnings,
              ElementsAre(HasSubstr("has no TCP port \"redis\"; it has: \"memcached\"")));
}

TEST_F(MapperTest, FqdnSlicesAndWrongAddressesAreLeftOutWithAWarning) {
  Take(SliceJson("names", R"([{"addresses":["cache.example.com"]}])", "FQDN"));
  Take(SliceJson("wrong", R"([{"addresses":["10.0.0.1\n"]},{"addresses":null},{}])"));
  const MapResult result = Map();
  EXPECT_THAT(result.servers, IsEmpty());
  EXPECT_EQ(result.endpoints, 4U);
  EXPECT_THAT(result.warnings, SizeIs(3));
}

TEST_F(MapperTest, PodsAnnotationsSayWeightAndName) {
  Take(SliceJson("mc", "[" + Pod("mc-0", "10.77.1.2", "a", kReady) + "," +
                           Pod("mc-1", "10.77.1.3", "b", kReady) + "]"));
  const PodNotes notes{{"mc-0", {.name = "mc-0", .weight = "3", .server_name = "cache-a"}},
                       {"mc-9", {.name = "mc-9", .weight = "5"}}};
  const MapResult result = MapSlices(store_.Snapshot("1"), {.port = "memcached"}, &notes);
  ASSERT_THAT(result.servers, SizeIs(2));
  EXPECT_EQ(result.servers[0].name, "cache-a");
  EXPECT_EQ(result.servers[0].weight, 3U);
  EXPECT_EQ(result.servers[1].name, "mc-1");
  EXPECT_EQ(result.servers[1].weight, 1U);
  EXPECT_THAT(result.warnings, IsEmpty());
}

TEST_F(MapperTest, AnnotationsThatAreNoValuesAreWarnedOf) {
  for (const std::string weight : {"0", "1001", "-1", "two", "1.5", "4294967297"}) {
    SCOPED_TRACE(weight);
    Take(SliceJson("mc", "[" + Pod("mc-0", "10.77.1.2", "a", kReady) + "]"));
    const PodNotes notes{{"mc-0", {.name = "mc-0", .weight = weight, .server_name = "a b"}}};
    const MapResult result = MapSlices(store_.Snapshot("1"), {.port = "memcached"}, &notes);
    ASSERT_THAT(result.servers, SizeIs(1));
    EXPECT_EQ(result.servers[0].weight, 1U);
    EXPECT_EQ(result.servers[0].name, "mc-0");
    EXPECT_THAT(
        result.warnings,
        ElementsAre(HasSubstr(R"(pod "mc-0": annotation cashew/name "a b" is no name)"),
                    HasSubstr(fmt::format(
                        R"(annotation cashew/weight "{}" is no number from 1 to 1000)", weight))));
  }
}

TEST_F(MapperTest, PodsOfOneNameSucceedEachOtherAndAreWarnedOfSideBySide) {
  const PodNotes notes{{"web-x", {.name = "web-x", .server_name = "cache-a"}},
                       {"web-y", {.name = "web-y", .server_name = "cache-a"}}};
  const auto map = [&] { return MapSlices(store_.Snapshot("1"), {.port = "memcached"}, &notes); };
  Take(SliceJson("mc", "[" + Pod("web-x", "10.77.1.2", "a", kGoing) + "," +
                           Pod("web-y", "10.77.1.3", "b", kReady) + "]"));
  ASSERT_THAT(map().servers, SizeIs(1));
  EXPECT_EQ(map().servers[0].address, "10.77.1.3:11211");
  EXPECT_THAT(map().warnings, IsEmpty());
  Take(SliceJson("mc", "[" + Pod("web-x", "10.77.1.2", "a", kReady) + "," +
                           Pod("web-y", "10.77.1.3", "b", kReady) + "]"));
  ASSERT_THAT(map().servers, SizeIs(1));
  EXPECT_THAT(map().warnings, ElementsAre(HasSubstr(R"(have the name "cache-a" both)")));
}

TEST_F(MapperTest, OfPodsThatShareAnAnnotatedNameTheOneThatServesIsTheServer) {
  const PodNotes notes{{"web-x", {.name = "web-x", .server_name = "cache-a"}},
                       {"web-y", {.name = "web-y", .server_name = "cache-a"}}};
  const auto address_with = [&](const char* old_pod, const char* new_pod) {
    Take(SliceJson("mc", "[" + Pod("web-x", "10.77.1.2", "a", old_pod) + "," +
                             Pod("web-y", "10.77.1.3", "b", new_pod) + "]"));
    const MapResult result = MapSlices(store_.Snapshot("1"), {.port = "memcached"}, &notes);
    EXPECT_THAT(result.warnings, IsEmpty());
    return result.servers.at(0).address;
  };
  EXPECT_EQ(address_with(kReady, kStarting), "10.77.1.2:11211") << "a roll's surge pod starts";
  EXPECT_EQ(address_with(kGoing, kStarting), "10.77.1.2:11211") << "deleted, and served until gone";
  EXPECT_EQ(address_with(kGoing, kReady), "10.77.1.3:11211");
  EXPECT_EQ(address_with(kStarting, kStarting), "10.77.1.3:11211") << "the uid seen last";
}

TEST_F(MapperTest, WeightsThatLeaveNothingToOthersAreWarnedOf) {
  Take(SliceJson("mc", "[" + Pod("mc-0", "10.77.1.2", "a", kReady) + "," +
                           Pod("mc-1", "10.77.1.3", "b", kReady) + "]"));
  const auto warnings_with = [&](const char* weight) {
    const PodNotes notes{{"mc-0", {.name = "mc-0", .weight = weight}}};
    return MapSlices(store_.Snapshot("1"), {.port = "memcached"}, &notes).warnings;
  };
  EXPECT_THAT(warnings_with("79"), IsEmpty());
  EXPECT_THAT(warnings_with("80"),
              ElementsAre(HasSubstr(R"(server "mc-1" has so small a weight, 1 of 81)")));
}

TEST(SliceStore, RefusesMoreEndpointsThanItMayHold) {
  SliceStore store;
  EndpointSlice slice;
  slice.name = "a";
  slice.endpoints.resize(SliceStore::kMaxEndpoints + 1);
  EXPECT_FALSE(store.Apply(slice).ok());
  EXPECT_THAT(store.Snapshot("1").slices, IsEmpty());
  slice.endpoints.resize(3);
  EXPECT_TRUE(store.Apply(slice).ok());
  EXPECT_EQ(store.size(), 3U);
  slice.endpoints.resize(1);
  EXPECT_TRUE(store.Replace({slice, slice}).ok());
  EXPECT_EQ(store.size(), 1U) << "one of a repeated slice counts";
}

TEST(NaturalLess, ComparesRunsOfDigitsAsNumbers) {
  EXPECT_TRUE(NaturalLess("mc-2", "mc-10"));
  EXPECT_FALSE(NaturalLess("mc-10", "mc-2"));
  EXPECT_TRUE(NaturalLess("mc", "mc-0"));
  EXPECT_TRUE(NaturalLess("mc-007", "mc-8"));
  EXPECT_TRUE(NaturalLess("mc-01", "mc-1")) << "equal numbers: any order, but one";
  EXPECT_FALSE(NaturalLess("mc-1", "mc-01"));
  EXPECT_FALSE(NaturalLess("a", "a"));
}

}  // namespace
}  // namespace cashew::k8s

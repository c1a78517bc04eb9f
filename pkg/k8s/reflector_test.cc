#include "pkg/k8s/reflector.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pkg/k8s/slice_store.h"
#include "pkg/k8s/test_api_server.h"

namespace cashew::k8s {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Connection = TestApiServer::Connection;

std::string Slice(const std::string& name, const std::string& ip, const std::string& version) {
  return fmt::format(
      R"({{"metadata":{{"name":"{}","resourceVersion":"{}","managedFields":[{{"x":1}}]}},)"
      R"("addressType":"IPv4","ports":[{{"name":"memcached","port":11211,"protocol":"TCP"}}],)"
      R"("endpoints":[{{"addresses":["{}"],"conditions":{{"ready":true}}}}]}})",
      name, version, ip);
}

std::string ListOf(const std::string& items, const std::string& version,
                   const std::string& continue_token = "") {
  return fmt::format(
      R"({{"kind":"EndpointSliceList","metadata":{{"resourceVersion":"{}","continue":"{}"}},)"
      R"("items":[{}]}})",
      version, continue_token, items);
}

std::string Event(const std::string& type, const std::string& object) {
  return fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, object);
}

std::string Bookmark(const std::string& version) {
  return Event("BOOKMARK", fmt::format(R"({{"kind":"EndpointSlice","metadata":{{)"
                                       R"("resourceVersion":"{}","creationTimestamp":null}},)"
                                       R"("endpoints":null,"ports":null}})",
                                       version));
}

std::string GoneStatus() {
  return R"({"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"})";
}

TestApiServer::Answer Json(int code, std::string body, std::string headers = "") {
  return [=](Connection& connection) { connection.Answer(code, body, headers); };
}

// Events in one watch that then stays open.
TestApiServer::Answer OpenWatch(std::string events) {
  return [=](Connection& connection) {
    connection.BeginChunked();
    connection.Chunk(events);
    connection.Hold();
  };
}

// Events in one watch that the server then ends, as it does when timeoutSeconds are over.
TestApiServer::Answer EndedWatch(std::string events) {
  return [=](Connection& connection) {
    connection.BeginChunked();
    connection.Chunk(events);
    connection.EndChunked();
  };
}

uint32_t Crc32(std::string_view bytes) {
  uint32_t crc = ~0U;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1)));
  }
  return ~crc;
}

// gzip's format with one stored block.
std::string Gzip(const std::string& text) {
  const auto little = [](uint32_t number, int bytes) {
    std::string out;
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(number >> (8 * i));
    return out;
  };
  const auto size = static_cast<uint32_t>(text.size());
  return std::string("\x1f\x8b\x08\0\0\0\0\0\0\xff\x01", 11) + little(size, 2) + little(~size, 2) +
         text + little(Crc32(text), 4) + little(size, 4);
}

class ReflectorTest : public ::testing::Test {
 protected:
  void Start(std::vector<TestApiServer::Answer> script) {
    server_ = std::make_unique<TestApiServer>(std::move(script));
    access_.server = server_->url();
    options_.resource = {.group = "discovery.k8s.io",
                         .plural = "endpointslices",
                         .name_space = "demo",
                         .label_selector = "kubernetes.io/service-name=mc",
                         .source = "demo/mc"};
    options_.backoff = {.first_ms = 1, .max_ms = 5};
    reflector_ = std::make_unique<Reflector>(options_, access_, base::RealClock(),
                                             metrics_.ForSource("demo/mc"), slices_,
                                             [this](const std::string& version) {
                                               std::lock_guard lock(mutex_);
                                               ++changes_;
                                               last_ = store_.Snapshot(version);
                                               changed_.notify_all();
                                             });
    reflector_->Start();
  }

  void TearDown() override {
    if (reflector_) reflector_->Stop();
  }

  // First addresses of all slices, once `version` is the state's.
  std::vector<std::string> AddressesAt(const std::string& version) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20),
                                  [&] { return last_.resource_version == version; }))
        << "version " << last_.resource_version << ", not " << version;
    std::vector<std::string> addresses;
    for (const auto& slice : last_.slices) {
      for (const Endpoint& endpoint : slice->endpoints) {
        addresses.push_back(endpoint.addresses.at(0));
      }
    }
    return addresses;
  }

  int changes() {
    std::lock_guard lock(mutex_);
    return changes_;
  }

  Metrics metrics_;
  ReflectorOptions options_;
  ApiAccess access_;
  std::unique_ptr<TestApiServer> server_;
  SliceStore store_;
  CollectionOf<EndpointSlice, SliceStore> slices_{store_, &ParseSliceList, &ParseSliceEvent};
  std::unique_ptr<Reflector> reflector_;
  std::mutex mutex_;
  std::condition_variable changed_;
  SliceSnapshot last_;
  int changes_ = 0;
};

TEST_F(ReflectorTest, ListsAllPagesThenWatchesFromTheListsVersion) {
  Start({Json(200, ListOf(Slice("a", "10.0.0.1", "5"), "7", "next page")),
         Json(200, ListOf(Slice("b", "10.0.0.2", "6"), "7")),
         OpenWatch(Event("MODIFIED", Slice("b", "10.0.0.3", "8")) +
                   Event("DELETED", Slice("a", "10.0.0.1", "9")))});
  EXPECT_THAT(AddressesAt("9"), ElementsAre("10.0.0.3"));
  const auto requests = server_->WaitForRequests(3);
  EXPECT_THAT(requests[0],
              HasSubstr("GET /apis/discovery.k8s.io/v1/namespaces/demo/endpointslices?"
                        "labelSelector=kubernetes.io%2Fservice-name%3Dmc&limit=500 HTTP/1.1"));
  EXPECT_THAT(requests[1], HasSubstr("&limit=500&continue=next%20page"));
  EXPECT_THAT(requests[2], HasSubstr("&watch=1&allowWatchBookmarks=true&timeoutSeconds="));
  EXPECT_THAT(requests[2], HasSubstr("&resourceVersion=7 "));
  EXPECT_EQ(changes(), 3) << "a list and two events";
}

TEST_F(ReflectorTest, WatchThatTheServerEndsGoesOnFromTheLastBookmark) {
  Start({Json(200, ListOf(Slice("a", "10.0.0.1", "5"), "7")), EndedWatch(Bookmark("40")),
         OpenWatch(Event("ADDED", Slice("b", "10.0.0.2", "41")))});
  EXPECT_THAT(AddressesAt("41"), ElementsAre("10.0.0.1", "10.0.0.2"));
  EXPECT_THAT(server_->WaitForRequests(3)[2], HasSubstr("&resourceVersion=40 "));
  EXPECT_EQ(changes(), 2) << "a bookmark is no change";
}

TEST_F(ReflectorTest, GoneInMidStreamListsAgain) {
  Start({Json(200, ListOf(Slice("a", "10.0.0.1", "5"), "7")),
         OpenWatch(Event("ERROR", GoneStatus())),
         Json(200, ListOf(Slice("c", "10.0.0.9", "80"), "90"))});
  EXPECT_THAT(AddressesAt("90"), ElementsAre("10.0.0.9"));
}

TEST_F(ReflectorTest, GoneAsAnAnswerListsAgain) {
  Start({Json(200, ListOf(Slice("a", "10.0.0.1", "5"), "7")), Json(410, GoneStatus()),
         Json(200, ListOf(Slice("c", "10.0.0.9", "80"), "90"))});
  EXPECT_THAT(AddressesAt("90"), ElementsAre("10.0.0.9"));
  EXPECT_THAT(server_->WaitForRequests(3)[2], Not(HasSubstr("watch=1")));
}

TEST_F(ReflectorTest, ListThatExpiresBetweenPagesStartsOverAndShowsNothingOfItself) {
  Start({Json(200, ListOf(Slice("a", "10.0.0.1", "5"), "7", "token")), Json(410, GoneStatus()),
         Json(200, ListOf(Slice("c", "10.0.0.9", "80"), "90"))});
  EXPECT_THAT(AddressesAt("90"), ElementsAre("10.0.0.9"));
  EXPECT_EQ(changes(), 1);
  EXPECT_THAT(server_->WaitForRequests(3)[2], Not(HasSubstr("continue=")));
}

TEST_F(ReflectorTest, VersionThatTheServerDoesNotKnowEndsInAList) {
  const std::string timeout =
      R"({"kind":"Status","code":504,"reason":"Timeout","message":"Too large resource version"})";
  Start({Json(200, ListOf(Slice("a", "10.0.0.1", "5"), "700")), Json(504, timeout),
         Json(504, timeout), Json(504, timeout),
         Json(200, ListOf(Slice("a", "10.0.0.1", "5"), "90"))});
  AddressesAt("90");
  EXPECT_THAT(server_->WaitForRequests(5)[3], HasSubstr("watch=1"));
}

TEST_F(ReflectorTest, LineThatIsCutIsDroppedAndTheWatchTakenUpBeforeIt) {
  Start({Json(200, ListOf(Slice("a", "10.0.0.1", "5"), "7")),
         [](Connection& connection) {
           connection.BeginChunked();
           connection.Chunk(Event("MODIFIED", Slice("a", "10.0.0.2", "8")));
           connection.Chunk(Event("MODIFIED", Slice("a", "10.0.0.3", "9")).substr(0, 60));
           // … and the connection ends within a chunked body.
         },
         OpenWatch(Event("MODIFIED", Slice("a", "10.0.0.4", "10")))});
  EXPECT_THAT(AddressesAt("10"), ElementsAre("10.0.0.4"));
  EXPECT_THAT(server_->WaitForRequests(3)[2], HasSubstr("&resourceVersion=8 "));
}

TEST_F(ReflectorTest, EventMayComeInPiecesOfOneByte) {
  Start({Json(200, ListOf("", "7")), [](Connection& connection) {
           connection.BeginChunked();
           for (const char c : Event("ADDED", Slice("a", "10.0.0.2", "8"))) {
             connection.Chunk(std::string(1, c));
           }
           connection.Hold();
         }});
  EXPECT_THAT(AddressesAt("8"), ElementsAre("10.0.0.2"));
}

TEST_F(ReflectorTest, RetryAfterIsWaitedFor) {
  const int64_t start_ns = base::RealClock().NowNs();
  Start({Json(429, R"({"kind":"Status","code":429,"message":"slow down"})", "Retry-After: 1\r\n"),
         Json(200, ListOf("", "7"))});
  AddressesAt("7");
  EXPECT_GE(base::RealClock().NowNs() - start_ns, base::kNsPerSec);
}

TEST_F(ReflectorTest, StopDoesNotWaitForRetryAfter) {
  Start({Json(503, "", "Retry-After: 100\r\n")});
  server_->WaitForRequests(1);
  const int64_t start_ns = base::RealClock().NowNs();
  reflector_->Stop();
  EXPECT_LT(base::RealClock().NowNs() - start_ns, 5 * base::kNsPerSec);
}

TEST_F(ReflectorTest, StopEndsAWatchThatIsOpen) {
  Start({Json(200, ListOf("", "7"))});
  server_->WaitForRequests(2);
  const int64_t start_ns = base::RealClock().NowNs();
  reflector_->Stop();
  EXPECT_LT(base::RealClock().NowNs() - start_ns, 5 * base::kNsPerSec);
}

TEST_F(ReflectorTest, GzipIsUnderstood) {
  Start({Json(200, Gzip(ListOf(Slice("a", "10.0.0.1", "5"), "7")), "Content-Encoding: gzip\r\n")});
  EXPECT_THAT(AddressesAt("7"), ElementsAre("10.0.0.1"));
  EXPECT_THAT(server_->WaitForRequests(1)[0], HasSubstr("Accept-Encoding: gzip"));
}

TEST_F(ReflectorTest, SilentWatchIsCutAndOpenedAgain) {
  options_.min_watch_s = 1;
  options_.watch_grace_ms = 0;
  Start({Json(200, ListOf("", "7")),
         [](Connection& connection) {
           connection.BeginChunked();
           connection.Hold();  // ends when the client goes away
         },
         OpenWatch(Event("ADDED", Slice("a", "10.0.0.2", "8")))});
  EXPECT_THAT(AddressesAt("8"), ElementsAre("10.0.0.2"));
}

TEST_F(ReflectorTest, RefusedTokenIsReadAgainAtOnce) {
  const auto file =
      std::filesystem::temp_directory_path() / fmt::format("cashew-token-{}", getpid());
  std::ofstream(file) << "old\n";
  access_.token_file = file;
  Start({[&](Connection& connection) {
           std::ofstream(file) << "new\n";
           connection.Answer(401, "{}");
         },
         Json(200, ListOf("", "7"))});
  AddressesAt("7");
  const auto requests = server_->WaitForRequests(2);
  EXPECT_THAT(requests[0], HasSubstr("Authorization: Bearer old\r\n"));
  EXPECT_THAT(requests[1], HasSubstr("Authorization: Bearer new\r\n"));
  std::filesystem::remove(file);
}

TEST_F(ReflectorTest, ForbiddenIsCountedAndTriedAgain) {
  Start({Json(403, R"({"kind":"Status","code":403,"reason":"Forbidden","message":"no"})"),
         Json(200, ListOf("", "7"))});
  AddressesAt("7");
  EXPECT_THAT(metrics_.Text(),
              HasSubstr("cashew_sidecar_source_forbidden_total{source=\"demo/mc\"} 1"));
}

TEST_F(ReflectorTest, WhatCannotBeReadChangesNothing) {
  Start({Json(200, "{"), Json(200, "[1,2]"), Json(200, R"({"kind":"Status"})"),
         Json(200, ListOf(R"({"metadata":{"name":"a"},"endpoints":5})", "6")),
         Json(200, ListOf(Slice("a", "10.0.0.1", "5"), "7")), OpenWatch("{not json}\n"),
         Json(200, ListOf(Slice("a", "10.0.0.2", "5"), "8"))});
  EXPECT_THAT(AddressesAt("8"), ElementsAre("10.0.0.2"));
  EXPECT_EQ(changes(), 2) << "the two good lists";
}

TEST_F(ReflectorTest, ListOf50MegabytesIsRefused) {
  Start({[](Connection& connection) {
           connection.BeginChunked();
           const std::string mebibyte(1 << 20, ' ');
           for (int i = 0; i < 50; ++i) connection.Chunk(mebibyte);
           connection.EndChunked();
         },
         Json(200, ListOf("", "7"))});
  AddressesAt("7");
  EXPECT_EQ(changes(), 1);
}

TEST_F(ReflectorTest, EndlessLineEndsTheWatch) {
  options_.max_line_bytes = 1000;
  Start(
      {Json(200, ListOf("", "7")), OpenWatch(std::string(2000, 'x')), Json(200, ListOf("", "8"))});
  AddressesAt("8");
}

TEST_F(ReflectorTest, PagesWithoutEndAreRefused) {
  options_.max_list_bytes = 1000;
  std::vector<TestApiServer::Answer> script;
  for (int i = 0; i < 20; ++i) script.push_back(Json(200, ListOf("", "6", "again")));
  Start(std::move(script));
  EXPECT_THAT(server_->WaitForRequests(15)[14], HasSubstr("limit=500"));
  EXPECT_EQ(changes(), 0);
}

}  // namespace
}  // namespace cashew::k8s

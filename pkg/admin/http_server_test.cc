#include "pkg/admin/http_server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdexcept>
#include <thread>
#include <vector>

#include "pkg/admin/pages.h"
#include "pkg/admin/test_client.h"

namespace cashew::admin {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::unique_ptr<HttpServer> Serve(HttpRoutes routes) {
  auto server = HttpServer::Start({.address = "127.0.0.1:0"}, std::move(routes));
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

std::unique_ptr<HttpServer> ServePages(std::vector<std::string> not_ready = {}) {
  return Serve(AdminRoutes({.metrics = [] { return "cashew_build_info 1\n"; },
                            .pools_json = [] { return "{\"pools\":[]}"; },
                            .config_text = [] { return "alpha:\n  hash: md5\n"; },
                            .status_json = [] { return "{}"; },
                            .not_ready_reasons = [not_ready] { return not_ready; },
                            .version = "1.2.3"}));
}

std::string Ask(int port, const std::string& method, const std::string& path,
                const std::string& headers = "Host: localhost\r\n") {
  TestClient client(port);
  client.Write(fmt::format("{} {} HTTP/1.1\r\n{}Connection: close\r\n\r\n", method, path, headers));
  return client.ReadToEnd();
}

TEST(HttpServer, ServesEachPageInItsMediaType) {
  auto server = ServePages();
  EXPECT_THAT(Ask(server->port(), "GET", "/metrics"),
              AllOf(StartsWith("HTTP/1.1 200 "),
                    HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
                    EndsWith("\r\n\r\ncashew_build_info 1\n")));
  EXPECT_THAT(
      Ask(server->port(), "GET", "/pools"),
      AllOf(HasSubstr("Content-Type: application/json\r\n"), EndsWith("\r\n\r\n{\"pools\":[]}")));
  EXPECT_THAT(Ask(server->port(), "GET", "/config"), EndsWith("\r\n\r\nalpha:\n  hash: md5\n"));
  EXPECT_THAT(Ask(server->port(), "GET", "/livez"), EndsWith("\r\n\r\nok\n"));
}

TEST(HttpServer, IgnoresTheQuery) {
  auto server = ServePages();
  EXPECT_THAT(Ask(server->port(), "GET", "/livez?verbose=1"), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, IndexLinksEveryPage) {
  auto server = ServePages();
  const std::string index = Ask(server->port(), "GET", "/");
  EXPECT_THAT(index, HasSubstr("cashew 1.2.3"));
  for (const char* page : {"/status", "/metrics", "/livez", "/readyz", "/pools", "/config"}) {
    EXPECT_THAT(index, HasSubstr(fmt::format("<a href=\"{}\">", page)));
    EXPECT_THAT(Ask(server->port(), "GET", page), StartsWith("HTTP/1.1 200 "));
  }
}

TEST(HttpServer, ReadyzGivesTheReasonsOneALine) {
  auto ready = ServePages();
  EXPECT_THAT(Ask(ready->port(), "GET", "/readyz"),
              AllOf(StartsWith("HTTP/1.1 200 "), EndsWith("\r\n\r\nok\n")));
  auto waiting = ServePages({"pool alpha has no servers", "draining"});
  EXPECT_THAT(Ask(waiting->port(), "GET", "/readyz"),
              AllOf(StartsWith("HTTP/1.1 503 "),
                    EndsWith("\r\n\r\npool alpha has no servers\ndraining\n")));
}

TEST(HttpServer, HeadHasTheHeadersOfGetAndNoBody) {
  auto server = ServePages();
  EXPECT_THAT(
      Ask(server->port(), "HEAD", "/livez"),
      AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("Content-Length: 3\r\n"), EndsWith("\r\n\r\n")));
}

TEST(HttpServer, CompressesLargePagesForThoseWhoAcceptIt) {
  auto server = Serve({{"/large", [] {
                          return HttpResponse{200, "text/plain", std::string(100'000, 'x')};
                        }}});
  const int port = server->port();
  const std::string zipped = Ask(port, "GET", "/large", "Host: x\r\nAccept-Encoding: gzip\r\n");
  EXPECT_THAT(zipped,
              AllOf(HasSubstr("Content-Encoding: gzip\r\n"), HasSubstr("\r\n\r\n\x1f\x8b")));
  EXPECT_LT(zipped.size(), 2000u);
  const std::string plain = Ask(port, "GET", "/large", "Host: x\r\n");
  EXPECT_THAT(plain, AllOf(Not(HasSubstr("Content-Encoding")), HasSubstr("Vary: Accept-Encoding")));
  EXPECT_GT(plain.size(), 100'000u);
}

TEST(HttpServer, EveryAnswerForbidsForeignScripts) {
  auto server = ServePages();
  for (const char* path : {"/", "/status", "/nothing"}) {
    EXPECT_THAT(Ask(server->port(), "GET", path),
                AllOf(HasSubstr("Content-Security-Policy: default-src 'none'"),
                      HasSubstr("X-Content-Type-Options: nosniff\r\n")))
        << path;
  }
  EXPECT_THAT(Ask(server->port(), "GET", "/status"),
              AllOf(Not(HasSubstr("<style")), Not(HasSubstr(" style=")), Not(HasSubstr("onload"))));
}

// A page of evil.example, whose name was made to mean 127.0.0.1, reads what its browser may.
TEST(HttpServer, ConfigAndStatusAreForThisMachineUnderItsOwnName) {
  auto server = ServePages();
  for (const char* path : {"/config", "/status", "/status.json"}) {
    for (const char* host : {"evil.example", "evil.example:9151", "localhost.evil.example"}) {
      EXPECT_THAT(Ask(server->port(), "GET", path, fmt::format("Host: {}\r\n", host)),
                  AllOf(StartsWith("HTTP/1.1 403 "), HasSubstr("admin_public")))
          << path << " as " << host;
    }
    for (const char* host : {"localhost", "localhost:9151", "127.0.0.1:9151", "[::1]:9151"}) {
      EXPECT_THAT(Ask(server->port(), "GET", path, fmt::format("Host: {}\r\n", host)),
                  StartsWith("HTTP/1.1 200 "))
          << path << " as " << host;
    }
  }
  EXPECT_THAT(Ask(server->port(), "GET", "/metrics", "Host: cashew.example\r\n"),
              StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, AdminPublicShowsAllToEveryone) {
  AdminSources sources;
  sources.config_text = [] { return "alpha:\n"; };
  sources.show_all_to_everyone = true;
  auto server = Serve(AdminRoutes(sources));
  EXPECT_THAT(Ask(server->port(), "GET", "/config", "Host: cashew.example\r\n"),
              StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, RefusesOtherMethodsAndNamesThoseItKnows) {
  auto server = ServePages();
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "BREW"}) {
    EXPECT_THAT(Ask(server->port(), method, "/livez"),
                AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("Allow: GET, HEAD\r\n")))
        << method;
  }
}

TEST(HttpServer, UnknownPathListsWhatExists) {
  auto server = ServePages();
  EXPECT_THAT(Ask(server->port(), "GET", "/nothing"),
              AllOf(StartsWith("HTTP/1.1 404 "), HasSubstr("\n/livez\n"), HasSubstr("\n/pools\n")));
}

TEST(HttpServer, AnswersSeveralRequestsOfOneConnection) {
  auto server = ServePages();
  TestClient client(server->port());
  client.Write("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  client.Write("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.ReadToEnd(), AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("HTTP/1.1 404 ")));
}

TEST(HttpServer, ACallbackThatThrowsIsA500) {
  auto server = Serve({{"/bad", []() -> HttpResponse { throw std::runtime_error("no disk"); }}});
  EXPECT_THAT(Ask(server->port(), "GET", "/bad"),
              AllOf(StartsWith("HTTP/1.1 500 "), HasSubstr("no disk")));
}

TEST(HttpServer, DoesNotReadARequestBody) {
  auto server = ServePages();
  TestClient client(server->port());
  client.Write("POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nbytes");
  EXPECT_THAT(client.ReadToEnd(), StartsWith("HTTP/1.1 405 "));
  TestClient chunked(server->port());
  chunked.Write("GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n");
  EXPECT_THAT(chunked.ReadToEnd(), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, GivesUpOnHeadersThatAreTooLarge) {
  auto server = ServePages();
  TestClient client(server->port());
  client.Write("GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: " + std::string(100 * 1024, 'x') +
               "\r\n\r\n");
  EXPECT_THAT(client.ReadToEnd(), Not(HasSubstr(" 200 ")));
  EXPECT_THAT(Ask(server->port(), "GET", "/livez"), StartsWith("HTTP/1.1 200 "));
}

// Holds `count` connections, each in the middle of its request line.
std::vector<std::unique_ptr<TestClient>> Stall(int port, int count) {
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<TestClient>(port));
    clients.back()->Write("GET /liv");
  }
  return clients;
}

TEST(HttpServer, AnswersWithinASecondWhile64ClientsStall) {
  auto server = ServePages();
  const auto stalled = Stall(server->port(), 64);
  const Stopwatch watch;
  EXPECT_THAT(Ask(server->port(), "GET", "/livez"), StartsWith("HTTP/1.1 200 "));
  EXPECT_LT(watch.Seconds(), 1);
}

TEST(HttpServer, AnswersWithinASecondWhileMoreClientsStallThanItHasRoomFor) {
  auto server = ServePages();
  const auto stalled = Stall(server->port(), 600);
  const Stopwatch watch;
  EXPECT_THAT(Ask(server->port(), "GET", "/livez"), StartsWith("HTTP/1.1 200 "));
  EXPECT_LT(watch.Seconds(), 1);
}

TEST(HttpServer, AClientThatReadsNothingHoldsUpNobody) {
  auto server = Serve({{"/large",
                        [] {
                          return HttpResponse{200, "text/plain", std::string(512 * 1024, 'x')};
                        }},
                       {"/livez", [] {
                          return HttpResponse{200, "text/plain", "ok\n"};
                        }}});
  TestClient lazy(server->port(), 4096);
  lazy.Write("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  const Stopwatch watch;
  EXPECT_THAT(Ask(server->port(), "GET", "/livez"), EndsWith("ok\n"));
  EXPECT_LT(watch.Seconds(), 1);
}

TEST(HttpServer, ClosesASilentConnectionAfterItsTimeout) {
  auto server = ServePages();
  TestClient client(server->port());
  client.Write("GET /liv");
  const Stopwatch watch;
  client.ReadToEnd(15);
  EXPECT_GE(watch.Seconds(), 3);
}

TEST(HttpServer, StopsAtOnceWithOpenConnections) {
  auto server = ServePages();
  const auto stalled = Stall(server->port(), 16);
  const int port = server->port();
  const Stopwatch watch;
  server.reset();
  EXPECT_LT(watch.Seconds(), 2);
  EXPECT_FALSE(TestClient(port).connected());
}

TEST(HttpServer, ServesOnAnAdoptedSocket) {
  auto bound = Listen({.address = "127.0.0.1:0"});
  ASSERT_TRUE(bound.ok());
  const int port = BoundPort(bound->get());
  auto server = HttpServer::Start({.adopted_fd = bound->release()},
                                  {{"/x", [] {
                                      return HttpResponse{200, "text/plain", "y"};
                                    }}});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->port(), port);
  EXPECT_EQ(BoundPort((*server)->listen_fd()), port);
  EXPECT_THAT(Ask(port, "GET", "/x"), EndsWith("\r\n\r\ny"));
}

TEST(HttpServer, SaysWhichAddressCannotBeHad) {
  auto server = ServePages();
  const std::string address = fmt::format("127.0.0.1:{}", server->port());
  auto second = HttpServer::Start({.address = address}, {});
  EXPECT_THAT(second.status().ToString(),
              AllOf(HasSubstr(address), HasSubstr("Address already in use")));
}

}  // namespace
}  // namespace cashew::admin

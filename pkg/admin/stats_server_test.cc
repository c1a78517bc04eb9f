#include "pkg/admin/stats_server.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <vector>

#include "pkg/admin/test_client.h"

namespace cashew::admin {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// More than the kernel takes for a client that does not read, and little enough
// that sending it to one that does takes no time worth measuring.
constexpr size_t kLarge = 256 * 1024;

constexpr char kText[] = "{\"service\":\"nutcracker\"}\n";

std::unique_ptr<StatsServer> Serve(std::string text = kText) {
  auto server = StatsServer::Listen({.address = "127.0.0.1:0"}, [text] { return text; });
  EXPECT_TRUE(server.ok()) << server.status();
  (*server)->Start();
  return *std::move(server);
}

TEST(StatsServer, SendsTheTextUnaskedAndEndsTheConnection) {
  auto server = Serve();
  TestClient client(server->port());
  EXPECT_EQ(client.ReadToEnd(), kText);
  EXPECT_FALSE(client.was_reset());
}

TEST(StatsServer, ServesClientsThatAreThereAtOnce) {
  auto server = Serve();
  TestClient first(server->port()), second(server->port());
  EXPECT_EQ(second.ReadToEnd(), kText);
  EXPECT_EQ(first.ReadToEnd(), kText);
}

TEST(StatsServer, RendersAnewForWhoeverComesLater) {
  int renders = 0;
  auto server = StatsServer::Listen({.address = "127.0.0.1:0"},
                                    [&renders] { return fmt::format("{}\n", ++renders); });
  ASSERT_TRUE(server.ok());
  (*server)->Start();
  EXPECT_EQ(TestClient((*server)->port()).ReadToEnd(), "1\n");
  EXPECT_EQ(TestClient((*server)->port()).ReadToEnd(), "2\n");
}

TEST(StatsServer, IgnoresWhatAClientSendsAndEndsWithoutAReset) {
  auto server = Serve();
  TestClient client(server->port());
  client.Write("GET / HTTP/1.0\r\n\r\n");
  client.WriteSome(std::string(256 * 1024, 'x'));
  EXPECT_EQ(client.ReadToEnd(), kText);
  EXPECT_FALSE(client.was_reset());
}

TEST(StatsServer, SendsALargeTextWhole) {
  auto server = Serve(std::string(8 << 20, 'x'));
  EXPECT_EQ(TestClient(server->port(), 4096).ReadToEnd().size(), size_t{8 << 20});
}

TEST(StatsServer, SendsTheTextWholeToAClientThatClosedItsSide) {
  auto server = Serve(std::string(kLarge, 'x'));
  TestClient client(server->port(), 4096);
  client.CloseWriting();
  EXPECT_EQ(client.ReadToEnd().size(), kLarge);
}

TEST(StatsServer, WaitsForAClientThatPausesForLessThanTheLimit) {
  auto server = Serve(std::string(kLarge, 'x'));
  TestClient slow(server->port(), 4096);
  EXPECT_EQ(TestClient(server->port()).ReadToEnd().size(), kLarge);
  poll(nullptr, 0, 1500);
  EXPECT_EQ(slow.ReadToEnd().size(), kLarge);
}

TEST(StatsServer, AClientThatSendsALotAndNeverReadsHoldsUpNobody) {
  auto server = Serve(std::string(kLarge, 'x'));
  TestClient rude(server->port(), 4096);
  rude.WriteSome(std::string(4 << 20, 'x'));
  const Stopwatch watch;
  EXPECT_EQ(TestClient(server->port()).ReadToEnd().size(), kLarge);
  EXPECT_LT(watch.Seconds(), 1);
}

TEST(StatsServer, ClosesAClientThatDoesNotRead) {
  auto server = Serve(std::string(kLarge, 'x'));
  TestClient rude(server->port(), 4096);
  const Stopwatch watch;
  while (rude.Write("x") && watch.Seconds() < 20) poll(nullptr, 0, 20);
  EXPECT_GT(watch.Seconds(), 4);
  EXPECT_LT(watch.Seconds(), 10);
}

TEST(StatsServer, ServesWithinASecondWhileMoreClientsStallThanItHasRoomFor) {
  auto server = Serve(std::string(kLarge, 'x'));
  std::vector<std::unique_ptr<TestClient>> stalled;
  for (int i = 0; i < 400; ++i) {
    stalled.push_back(std::make_unique<TestClient>(server->port(), 4096));
  }
  const Stopwatch watch;
  EXPECT_EQ(TestClient(server->port()).ReadToEnd().size(), kLarge);
  EXPECT_LT(watch.Seconds(), 1);
}

TEST(StatsServer, StopsSoonWithOpenConnections) {
  auto server = Serve(std::string(kLarge, 'x'));
  TestClient rude(server->port(), 4096);
  TestClient polite(server->port());
  EXPECT_EQ(polite.ReadToEnd().size(), kLarge);
  const Stopwatch watch;
  server->Stop();
  EXPECT_LT(watch.Seconds(), 2);
  server->Stop();
}

TEST(StatsServer, HasNoThreadUntilItIsStarted) {
  bool rendered = false;
  auto server = StatsServer::Listen({.address = "127.0.0.1:0"}, [&rendered] {
    rendered = true;
    return std::string(kText);
  });
  ASSERT_TRUE(server.ok());
  TestClient early((*server)->port());  // waits in the backlog
  EXPECT_TRUE(early.connected());
  EXPECT_FALSE(rendered);
  (*server)->Start();
  EXPECT_EQ(early.ReadToEnd(), kText);
}

TEST(StatsServer, MayBeDestroyedWithoutHavingBeenStarted) {
  auto server = StatsServer::Listen({.address = "127.0.0.1:0"}, [] { return std::string(); });
  ASSERT_TRUE(server.ok());
  const int port = (*server)->port();
  server->reset();
  EXPECT_FALSE(TestClient(port).connected());
}

TEST(StatsServer, ServesOnAnAdoptedSocket) {
  auto bound = Listen({.address = "127.0.0.1:0"});
  ASSERT_TRUE(bound.ok());
  const int port = BoundPort(bound->get());
  auto server =
      StatsServer::Listen({.adopted_fd = bound->release()}, [] { return std::string(kText); });
  ASSERT_TRUE(server.ok()) << server.status();
  (*server)->Start();
  EXPECT_EQ((*server)->port(), port);
  EXPECT_EQ(TestClient(port).ReadToEnd(), kText);
}

TEST(StatsServer, SaysWhichAddressCannotBeHad) {
  auto server = Serve();
  const std::string address = fmt::format("127.0.0.1:{}", server->port());
  auto second = StatsServer::Listen({.address = address}, [] { return std::string(); });
  EXPECT_THAT(second.status().ToString(),
              AllOf(HasSubstr(address), HasSubstr("Address already in use")));
}

}  // namespace
}  // namespace cashew::admin

#include "pkg/dns/resolver.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "fmt/format.h"

#include "pkg/dns/fake_server.h"

namespace cashew::dns {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Kind = FakeServer::Kind;
using Query = FakeServer::Query;
using Record = FakeServer::Record;
using Reply = FakeServer::Reply;
using Type = FakeServer::Type;

constexpr auto kPatience = std::chrono::seconds(20);

Reply Addresses(const std::vector<std::string>& ips, uint32_t ttl = 60) {
  Reply reply;
  for (const std::string& ip : ips) {
    const bool v6 = ip.find(':') != std::string::npos;
    reply.records.push_back({v6 ? Type::kAaaa : Type::kA, ip, ttl});
  }
  return reply;
}

FakeServer::Script Always(Reply reply) {
  return [reply = std::move(reply)](const Query&) { return reply; };
}

// The answers of a resolver, by name.
class Answers {
 public:
  Resolver::OnAnswer Sink() {
    return [this](const std::string& host, const Answer& answer) {
      const std::lock_guard lock(mu_);
      all_[host].push_back(answer);
      changed_.notify_all();
    };
  }

  // The first answer from the `skip`th on that `wanted` accepts.
  template <typename Wanted>
  Answer Await(const std::string& host, Wanted wanted, size_t skip = 0) {
    std::unique_lock lock(mu_);
    Answer found;
    const bool came = changed_.wait_for(lock, kPatience, [&] {
      const std::vector<Answer>& answers = all_[host];
      for (size_t i = skip; i < answers.size(); ++i) {
        found = answers[i];
        if (wanted(found)) return true;
      }
      return false;
    });
    EXPECT_TRUE(came) << host << " got " << all_[host].size() << " answers, the last "
                      << found.status;
    return found;
  }

  Answer Nth(const std::string& host, size_t n = 0) {
    return Await(
        host, [](const Answer&) { return true; }, n);
  }
  Answer FirstGood(const std::string& host) {
    return Await(host, [](const Answer& answer) { return answer.status.ok(); });
  }
  size_t Count(const std::string& host) {
    const std::lock_guard lock(mu_);
    return all_[host].size();
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  std::map<std::string, std::vector<Answer>> all_;
};

// Short times, so that a test sees many look-ups.
Resolver::Options Hasty(const FakeServer& server) {
  Resolver::Options options;
  options.servers = server.address();
  options.min_ttl_ms = 10;
  options.retry_ms = 10;
  options.max_retry_new_ms = 20;
  options.max_retry_known_ms = 40;
  options.timeout_ms = 100;
  options.tries = 2;
  return options;
}

Resolver::Options Usual(const FakeServer& server) {
  Resolver::Options options;
  options.servers = server.address();
  return options;
}

// --- What an answer holds ------------------------------------------------------------------

TEST(Resolver, AnswersWithTheAddressesOfAName) {
  FakeServer server(Always(Addresses({"10.0.0.10", "10.0.0.9", "10.0.0.10"}, 30)));
  Answers answers;
  Resolver resolver(Usual(server), answers.Sink());
  resolver.Watch("cache.test");
  const Answer answer = answers.Nth("cache.test");
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_THAT(answer.ips, ElementsAre("10.0.0.9", "10.0.0.10"));
  EXPECT_EQ(answer.ttl_ms, 30'000);
}

TEST(Resolver, AnswersWithBothFamilies) {
  FakeServer server(Always(Addresses({"127.0.0.1", "2001:db8::2", "2001:db8::1"})));
  Answers answers;
  Resolver resolver(Usual(server), answers.Sink());
  resolver.Watch("both.test");
  std::vector<std::string> ips = answers.Nth("both.test").ips;
  ASSERT_EQ(ips.size(), 3u);
  // Which family is first depends on what this host can reach; the rest does not.
  if (ips[0] == "127.0.0.1") std::rotate(ips.begin(), ips.begin() + 1, ips.end());
  EXPECT_THAT(ips, ElementsAre("2001:db8::1", "2001:db8::2", "127.0.0.1"));
}

TEST(Resolver, HoldsTtlsWithinBounds) {
  FakeServer server([](const Query& query) {
    const uint32_t ttl = query.name == "zero.test" ? 0 : query.name == "week.test" ? 604800 : ~0u;
    return Addresses({"10.0.0.1"}, ttl);
  });
  Answers answers;
  Resolver resolver(Usual(server), answers.Sink());
  for (const char* host : {"zero.test", "week.test", "negative.test"}) resolver.Watch(host);
  EXPECT_EQ(answers.Nth("zero.test").ttl_ms, 5'000);
  EXPECT_EQ(answers.Nth("week.test").ttl_ms, 60'000);
  EXPECT_EQ(answers.Nth("negative.test").ttl_ms, 5'000);
}

TEST(Resolver, FollowsAliasesAndTakesTheShortestTtl) {
  FakeServer server([](const Query& query) {
    Reply reply;
    reply.records = {{Type::kCname, "b.test", 20},
                     {Type::kCname, "c.test", 50, "b.test"},
                     {Type::kA, "10.0.0.3", 40, "c.test"}};
    if (query.type != Type::kA) reply.records.pop_back();
    return reply;
  });
  Answers answers;
  Resolver resolver(Usual(server), answers.Sink());
  resolver.Watch("a.test");
  const Answer answer = answers.Nth("a.test");
  EXPECT_THAT(answer.ips, ElementsAre("10.0.0.3")) << answer.status;
  EXPECT_EQ(answer.ttl_ms, 20'000);
}

TEST(Resolver, AsksOverTcpWhatIsTruncated) {
  std::vector<std::string> many;
  for (int i = 1; i <= 200; ++i) many.push_back(fmt::format("10.0.1.{}", i));
  FakeServer server([&](const Query& query) {
    if (!query.tcp) return Reply{Kind::kTruncated};
    return Addresses(many);
  });
  Answers answers;
  Resolver resolver(Usual(server), answers.Sink());
  resolver.Watch("many.test");
  EXPECT_EQ(answers.Nth("many.test").ips, many);
}

TEST(Resolver, HoldsThirtyAddresses) {
  std::vector<std::string> thirty;
  for (int i = 1; i <= 30; ++i) thirty.push_back(fmt::format("10.0.2.{}", i));
  FakeServer server([&](const Query&) {
    std::vector<std::string> shuffled = thirty;
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(7));
    return Addresses(shuffled);
  });
  Answers answers;
  Resolver resolver(Usual(server), answers.Sink());
  resolver.Watch("thirty.test");
  EXPECT_EQ(answers.Nth("thirty.test").ips, thirty);
}

TEST(Resolver, HonoursTheHostsFile) {
  FakeServer server(Always({Kind::kNxDomain}));
  Answers answers;
  Resolver resolver(Usual(server), answers.Sink());
  resolver.Watch("localhost");
  const Answer answer = answers.Nth("localhost");
  EXPECT_THAT(answer.ips, testing::Contains("127.0.0.1")) << answer.status;
  EXPECT_EQ(answer.ttl_ms, 5'000);
  EXPECT_EQ(server.Count("localhost"), 0);
}

TEST(Resolver, AnswersANumericAddressWithItself) {
  FakeServer server(Always({Kind::kNxDomain}));
  Answers answers;
  Resolver resolver(Hasty(server), answers.Sink());
  for (const char* ip : {"10.1.2.3", "2001:db8::1"}) {
    resolver.Watch(ip);
    EXPECT_THAT(answers.Nth(ip).ips, ElementsAre(ip));
    resolver.Refresh(ip);
    EXPECT_EQ(server.Count(ip), 0);
  }
}

TEST(Resolver, RefusesWhatCannotBeAName) {
  FakeServer server(Always(Addresses({"10.0.0.1"})));
  Answers answers;
  Resolver resolver(Hasty(server), answers.Sink());
  const std::string nul("a\0.test", 7);
  for (const std::string& host : {std::string(), std::string(300, 'x'), nul}) {
    resolver.Watch(host);
    EXPECT_TRUE(absl::IsInvalidArgument(answers.Nth(host).status));
  }
  for (const std::string& host : {std::string("a..b"), std::string(64, 'x') + ".test",
                                  std::string("\xff\x80 \n.test"), std::string("\\.\\")}) {
    resolver.Watch(host);
    (void)answers.Nth(host);  // whatever it is
  }
}

// --- Over time -----------------------------------------------------------------------------

TEST(Resolver, RotatingAnswersAreOneAnswerInAStableOrder) {
  FakeServer server([](const Query& query) {
    std::vector<std::string> ips = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};
    std::rotate(ips.begin(), ips.begin() + query.count % 3, ips.end());
    return Addresses(ips, 0);
  });
  Answers answers;
  Resolver resolver(Hasty(server), answers.Sink());
  resolver.Watch("rotating.test");
  std::string address;
  for (size_t i = 0; i < 7; ++i) {
    const Answer answer = answers.Nth("rotating.test", i);
    EXPECT_THAT(answer.ips, ElementsAre("10.0.0.1", "10.0.0.2", "10.0.0.3"));
    address = Keep(address, answer);
    EXPECT_EQ(address, "10.0.0.1");
  }
}

TEST(Resolver, SeesThatAnAddressChanged) {
  FakeServer server(Always(Addresses({"10.0.0.1"}, 0)));
  Answers answers;
  Resolver resolver(Hasty(server), answers.Sink());
  resolver.Watch("moving.test");
  EXPECT_THAT(answers.Nth("moving.test").ips, ElementsAre("10.0.0.1"));
  server.Use(Always(Addresses({"10.0.0.2"}, 0)));
  answers.Await("moving.test",
                [](const Answer& a) { return a.ips == std::vector<std::string>{"10.0.0.2"}; });
}

TEST(Resolver, ANameThatDoesNotResolveYetIsTriedUntilItDoes) {
  FakeServer server([](const Query& query) {
    return query.count < 4 ? Reply{Kind::kNxDomain} : Addresses({"10.0.0.1"});
  });
  Answers answers;
  Resolver resolver(Hasty(server), answers.Sink());
  resolver.Watch("late.test");
  const Answer first = answers.Nth("late.test");
  EXPECT_TRUE(absl::IsNotFound(first.status)) << first.status;
  EXPECT_THAT(std::string(first.status.message()), HasSubstr("name \"late.test\": "));
  EXPECT_THAT(first.ips, IsEmpty());
  EXPECT_THAT(answers.FirstGood("late.test").ips, ElementsAre("10.0.0.1"));
}

TEST(Resolver, BacksOffAndLongerForANameThatOnceResolved) {
  FakeServer server([](const Query& query) {
    const bool good = query.name == "known.test" && query.count == 0;
    return good ? Addresses({"10.0.0.1"}, 0) : Reply{Kind::kNxDomain};
  });
  Answers answers;
  Resolver resolver(Hasty(server), answers.Sink());
  resolver.Watch("new.test");
  resolver.Watch("known.test");
  std::vector<int64_t> waits;
  for (size_t i = 0; i < 4; ++i) waits.push_back(answers.Nth("new.test", i).ttl_ms);
  EXPECT_THAT(waits, ElementsAre(10, 20, 20, 20));
  waits.clear();
  answers.Nth("known.test");
  for (size_t i = 1; i < 5; ++i) waits.push_back(answers.Nth("known.test", i).ttl_ms);
  EXPECT_THAT(waits, ElementsAre(10, 20, 40, 40));
}

TEST(Resolver, SilenceAndServerFailureSayNothingOfTheName) {
  FakeServer server([](const Query& query) {
    if (query.name == "silent.test") return Reply{Kind::kSilence};
    return Reply{Kind::kServFail};
  });
  Answers answers;
  Resolver resolver(Hasty(server), answers.Sink());
  resolver.Watch("silent.test");
  resolver.Watch("failing.test");
  for (const char* host : {"silent.test", "failing.test"}) {
    const Answer answer = answers.Nth(host);
    EXPECT_TRUE(absl::IsUnavailable(answer.status)) << answer.status;
    EXPECT_EQ(Keep("10.0.0.1", answer), "10.0.0.1");
  }
  server.Use(Always(Addresses({"10.0.0.1"})));
  EXPECT_TRUE(answers.FirstGood("silent.test").status.ok());
  EXPECT_TRUE(answers.FirstGood("failing.test").status.ok());
}

TEST(Resolver, NoServerAtAllIsAnAnswerToo) {
  Resolver::Options options;
  {
    FakeServer gone(Always({}));
    options = Hasty(gone);
  }
  Answers answers;
  Resolver resolver(options, answers.Sink());
  resolver.Watch("any.test");
  EXPECT_TRUE(absl::IsUnavailable(answers.Nth("any.test").status));
}

TEST(Resolver, SurvivesGarbage) {
  std::mt19937 random(3);
  FakeServer server([&](const Query& query) {
    if (query.count > 30) return Addresses({"10.0.0.1"});
    Reply reply{Kind::kBytes};
    // A plausible header now and then, so that more is parsed.
    if (random() % 2 == 0)
      reply.bytes = std::string("\x81\x80\x00\x01\x00\x09\x00\x00\x00\x00", 10);
    for (size_t i = random() % 200; i > 0; --i) reply.bytes += static_cast<char>(random());
    return reply;
  });
  Answers answers;
  Resolver::Options options = Hasty(server);
  options.timeout_ms = 10;
  options.max_retry_new_ms = 10;
  options.tries = 1;
  Resolver resolver(options, answers.Sink());
  resolver.Watch("garbage.test");
  EXPECT_THAT(answers.FirstGood("garbage.test").ips, ElementsAre("10.0.0.1"));
}

TEST(Resolver, RefreshLooksUpBeforeTheTtlEnds) {
  FakeServer server(Always(Addresses({"10.0.0.1"}, 60)));
  Answers answers;
  Resolver resolver(Hasty(server), answers.Sink());
  resolver.Watch("fresh.test");
  answers.Nth("fresh.test", 0);
  server.Use(Always(Addresses({"10.0.0.2"}, 60)));
  resolver.Refresh("fresh.test");
  EXPECT_THAT(answers.Nth("fresh.test", 1).ips, ElementsAre("10.0.0.2"));
  resolver.Refresh("not watched");
}

TEST(Resolver, AFloodOfRefreshesIsAFewLookups) {
  FakeServer server(Always(Addresses({"10.0.0.1"})));
  Answers answers;
  Resolver::Options options = Usual(server);
  options.retry_ms = 3'600'000;
  Resolver resolver(options, answers.Sink());
  resolver.Watch("flood.test");
  answers.Nth("flood.test");
  for (int i = 0; i < 10'000; ++i) resolver.Refresh("flood.test");
  resolver.Watch("other.test");
  answers.Nth("other.test");
  EXPECT_EQ(server.Count("flood.test"), 1);
}

// --- Who watches ---------------------------------------------------------------------------

TEST(Resolver, EveryWatchIsAnsweredAndTheLastUnwatchEndsIt) {
  FakeServer server(Always(Addresses({"10.0.0.1"}, 0)));
  Answers answers;
  Resolver resolver(Hasty(server), answers.Sink());
  resolver.Watch("shared.test");
  answers.Nth("shared.test");
  resolver.Watch("shared.test");
  resolver.Unwatch("shared.test");
  const size_t before = answers.Count("shared.test");
  answers.Nth("shared.test", before + 3);  // one still watches
  resolver.Unwatch("shared.test");
  resolver.Unwatch("shared.test");
  resolver.Unwatch("never watched");
  // Commands are obeyed in order: once this is answered, the name above is forgotten.
  resolver.Watch("after.test");
  answers.Nth("after.test");
  const int asked = server.Count("shared.test");
  answers.Nth("after.test", 5);
  EXPECT_LE(server.Count("shared.test"), asked + 1) << "but for one on its way";
}

TEST(Resolver, ANumericAddressIsAnsweredToEachWatch) {
  FakeServer server(Always({}));
  Answers answers;
  Resolver resolver(Usual(server), answers.Sink());
  resolver.Watch("10.0.0.1");
  resolver.Watch("10.0.0.1");
  EXPECT_TRUE(answers.Nth("10.0.0.1", 1).status.ok());
}

TEST(Resolver, ThousandsOfNamesAreLookedUpAFewAtATime) {
  constexpr int kNames = 3000;
  FakeServer server([](const Query& query) {
    return query.count == 0 && query.name[1] == '7' ? Reply{Kind::kSilence}
                                                    : Addresses({"10.0.0.1"});
  });
  Answers answers;
  Resolver::Options options = Usual(server);
  options.timeout_ms = 50;
  Resolver resolver(options, answers.Sink());
  for (int i = 0; i < kNames; ++i) resolver.Watch(fmt::format("n{}.test", i));
  for (int i = 0; i < kNames; ++i) {
    EXPECT_TRUE(answers.FirstGood(fmt::format("n{}.test", i)).status.ok());
  }
}

TEST(Resolver, AtMostSoManyLookupsAreOnTheirWay) {
  FakeServer server(Always({Kind::kSilence}));
  Answers answers;
  Resolver::Options options = Usual(server);
  options.timeout_ms = 60'000;
  options.max_lookups = 4;
  Resolver resolver(options, answers.Sink());
  std::vector<std::string> hosts;
  for (int i = 0; i < 20; ++i) hosts.push_back(fmt::format("n{}.test", i));
  for (const std::string& host : hosts) resolver.Watch(host);
  const auto asked = [&] {
    return std::count_if(hosts.begin(), hosts.end(),
                         [&](const std::string& host) { return server.Count(host) > 0; });
  };
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (asked() < 4 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  resolver.Watch("10.0.0.1");
  answers.Nth("10.0.0.1");  // the resolver went round again
  EXPECT_EQ(asked(), 4);
}

TEST(Resolver, CanBeDestroyedWhileLookupsAreOnTheirWay) {
  FakeServer server(Always({Kind::kSilence}));
  for (int round = 0; round < 20; ++round) {
    Answers answers;
    Resolver resolver(Usual(server), answers.Sink());
    for (int i = 0; i < 10; ++i) resolver.Watch(fmt::format("n{}.test", i));
    resolver.Watch("10.0.0.1");
    answers.Nth("10.0.0.1");
    resolver.Unwatch("n3.test");
  }
}

TEST(Resolver, TakesCommandsFromManyThreadsAndFromItsOwn) {
  FakeServer server(Always(Addresses({"10.0.0.1"}, 0)));
  Answers answers;
  Resolver* self = nullptr;
  const Resolver::OnAnswer sink = answers.Sink();
  Resolver resolver(Hasty(server), [&](const std::string& host, const Answer& answer) {
    if (host == "first.test") {
      self->Unwatch("first.test");
      self->Watch("second.test");
    }
    sink(host, answer);
  });
  self = &resolver;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        resolver.Watch("busy.test");
        resolver.Refresh("busy.test");
        resolver.Unwatch("busy.test");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  resolver.Watch("first.test");
  EXPECT_TRUE(answers.FirstGood("second.test").status.ok());
  resolver.Watch("busy.test");
  EXPECT_TRUE(answers.FirstGood("busy.test").status.ok());
}

// --- resolv.conf ---------------------------------------------------------------------------

class ResolvConf : public testing::Test {
 protected:
  ResolvConf() {
    char pattern[] = "/tmp/cashew-dns-XXXXXX";
    dir_ = mkdtemp(pattern);
    path_ = dir_ / "resolv.conf";
  }
  ~ResolvConf() override { std::filesystem::remove_all(dir_); }

  // resolv.conf has no ports: the second server is on another address of loopback.
  void Write(const char* ip, const std::string& more = "") {
    std::ofstream(dir_ / "new") << "nameserver " << ip << "\n" << more;
    std::filesystem::rename(dir_ / "new", path_);
  }

  Resolver::Options Options(const FakeServer& server) {
    Resolver::Options options = Hasty(server);
    options.servers.clear();
    options.resolv_conf = path_;
    options.port = server.port();
    return options;
  }

  std::filesystem::path dir_;
  std::filesystem::path path_;
};

TEST_F(ResolvConf, ItsServersAndSearchDomainsAreUsed) {
  FakeServer server([](const Query& query) {
    return query.name == "cache.svc.test" ? Addresses({"10.0.0.1"}) : Reply{Kind::kNxDomain};
  });
  Write("127.0.0.1", "search other.test svc.test\noptions ndots:5\n");
  Answers answers;
  Resolver resolver(Options(server), answers.Sink());
  resolver.Watch("cache");
  EXPECT_THAT(answers.Nth("cache").ips, ElementsAre("10.0.0.1"));
}

TEST_F(ResolvConf, AReplacedOneIsTakenUp) {
  FakeServer before(Always(Addresses({"10.0.0.1"}, 0)));
  FakeServer after(Always(Addresses({"10.0.0.2"}, 0)), "127.0.0.2", before.port());
  Write("127.0.0.1");
  Answers answers;
  Resolver resolver(Options(before), answers.Sink());
  resolver.Watch("cache.test");
  EXPECT_THAT(answers.Nth("cache.test").ips, ElementsAre("10.0.0.1"));
  Write("127.0.0.2");
  answers.Await("cache.test",
                [](const Answer& a) { return a.ips == std::vector<std::string>{"10.0.0.2"}; });
}

TEST_F(ResolvConf, LookupsThatWaitForTheOldServersAskTheNewOnes) {
  FakeServer dead(Always({Kind::kSilence}));
  FakeServer alive(Always(Addresses({"10.0.0.2"}, 0)), "127.0.0.2", dead.port());
  Write("127.0.0.1");
  Answers answers;
  Resolver::Options options = Options(dead);
  options.timeout_ms = 600'000;  // nothing would come of waiting
  Resolver resolver(options, answers.Sink());
  for (int i = 0; i < 10; ++i) resolver.Watch(fmt::format("n{}.test", i));
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (dead.Count("n9.test") == 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  Write("127.0.0.2");
  resolver.Watch("new.test");  // whose look-up sees the new file
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(answers.FirstGood(fmt::format("n{}.test", i)).status.ok());
  }
}

TEST_F(ResolvConf, AMissingOneIsTakenUpWhenItComes) {
  FakeServer server(Always(Addresses({"10.0.0.1"})), "127.0.0.2");
  Answers answers;
  Resolver resolver(Options(server), answers.Sink());
  resolver.Watch("cache.test");
  EXPECT_FALSE(answers.Nth("cache.test").status.ok());
  Write("127.0.0.2");
  EXPECT_THAT(answers.FirstGood("cache.test").ips, ElementsAre("10.0.0.1"));
}

// --- Keep ----------------------------------------------------------------------------------

TEST(Resolver, SleepsWhenThereIsNothingToAsk) {
  FakeServer server(Always(Addresses({"10.0.0.1"}, 60)));
  Answers answers;
  Resolver resolver(Usual(server), answers.Sink());
  resolver.Watch("cache.test");
  answers.Nth("cache.test");
  const std::clock_t before = std::clock();  // CPU of the process
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(std::clock() - before, CLOCKS_PER_SEC / 20);
}

TEST(Keep, StaysWhileTheAddressIsInTheAnswer) {
  const Answer answer = {absl::OkStatus(), {"10.0.0.1", "10.0.0.2"}, 1000};
  EXPECT_EQ(Keep("10.0.0.2", answer), "10.0.0.2");
  EXPECT_EQ(Keep("10.0.0.3", answer), "10.0.0.1");
  EXPECT_EQ(Keep("", answer), "10.0.0.1");
}

TEST(Keep, StaysWhenNothingBetterIsKnown) {
  const Answer failed = {absl::NotFoundError(""), {}, 1000};
  EXPECT_EQ(Keep("10.0.0.2", failed), "10.0.0.2");
  EXPECT_EQ(Keep("", failed), "");
}

}  // namespace
}  // namespace cashew::dns

#include "pkg/protocol/redis/request_parser.h"

#include <algorithm>
#include <ctime>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fmt/format.h"

#include "pkg/protocol/memcached/parse_stream.h"
#include "pkg/protocol/redis/reply_parser.h"
#include "pkg/protocol/redis/test_client.h"

namespace cashew::protocol::redis {
namespace {

using memcached::RandomCuts;
using std::string_view_literals::operator""sv;

TEST(RedisRequestParser, AForwardedCommandGoesOnAsItCame) {
  Client client;
  for (const std::vector<std::string>& words : {std::vector<std::string>{"get", "k"},
                                                {"SeT", "k", std::string("\0\r\n$5", 5)},
                                                {"hset", "k", "f", ""},
                                                {"eval", "return 1", "1", "k", "x"},
                                                {"xread", "streams", "k", "0"},
                                                {"OBJECT", "Encoding", "k"}}) {
    const Seen seen = client.Ask(words);
    EXPECT_EQ(seen.action, Action::kForward);
    EXPECT_EQ(seen.key, "k");
    EXPECT_EQ(seen.sent, Encode(words));
    EXPECT_EQ(seen.lease, Lease::kShared);
  }
  EXPECT_EQ(client.Ask({"eval", "return 1", "0"}).key, "placeholder");
}

TEST(RedisRequestParser, AnyCutGivesTheSame) {
  const std::string stream =
      Encode({"SET", "a", "v\r\n*1\r\n"}) + Encode({"MGET", "a", "b", "a"}) + "PING\r\n\r\n*0\r\n" +
      Encode({"MULTI"}) + Encode({"GET", "{t}x"}) + Encode({"NOSUCH", "x"}) + Encode({"EXEC"}) +
      Encode({"BLPOP", "q", "1"}) + Encode({"MSET", "a", "1", "b", ""}) + Encode({"HELLO", "2"}) +
      "ping\n" + Encode({"GET"}) + Encode({"DEL", "x"});
  const auto no_ids = [](std::vector<Seen> all) {
    for (Seen& s : all) {
      if (const size_t at = s.answer.find("id\r\n:"); at != std::string::npos) s.answer.resize(at);
    }
    return all;
  };
  const std::vector<Seen> whole = no_ids(Client().Send(stream));
  ASSERT_EQ(whole.size(), 13u);
  for (size_t cut = 1; cut < stream.size(); ++cut) {
    Client client;
    std::vector<Seen> seen = client.Send(std::string_view(stream).substr(0, cut));
    for (Seen& s : client.Send(std::string_view(stream).substr(cut))) seen.push_back(std::move(s));
    ASSERT_EQ(no_ids(std::move(seen)), whole) << cut;
  }
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<size_t> cuts = RandomCuts(random, stream.size());
    std::sort(cuts.begin(), cuts.end());
    cuts.push_back(stream.size());
    Client client;
    std::vector<Seen> seen;
    size_t begin = 0;
    for (const size_t cut : cuts) {
      for (Seen& s : client.Send(std::string_view(stream).substr(begin, cut - begin))) {
        seen.push_back(std::move(s));
      }
      begin = cut;
    }
    ASSERT_EQ(no_ids(std::move(seen)), whole);
  }
}

TEST(RedisRequestParser, OutOfStepIsAnErrorAndTheEnd) {
  for (const std::string_view bytes :
       {"*2147483647\r\n"sv, "*1048577\r\n"sv, "*-1\r\n"sv, "*x\r\n"sv, "*01\r\n"sv, "*1\n"sv,
        "*1\r\n$-1\r\n"sv, "*1\r\n$-2\r\n"sv, "*1\r\n$+3\r\n"sv, "*1\r\n$03\r\n"sv,
        "*1\r\n$536870913\r\n"sv, "*2\r\n$3\r\nGETx\r\n"sv, "*2\r\n$3\r\nGET\r\n:1\r\n"sv,
        "*1\r\n*1\r\n"sv, "\x04\r\n"sv, "GET / HTTP/1.1\r\n"sv, "PING x\r\n"sv, "get a\r\n"sv,
        "*11111111111111111111111111111111111"sv}) {
    Client client;
    const std::vector<Seen> seen = client.Send(Encode({"GET", "a"}) + std::string(bytes) + "rest");
    ASSERT_EQ(seen.size(), 2u) << bytes;
    EXPECT_EQ(seen[0].key, "a");
    EXPECT_TRUE(seen[1].close) << bytes;
    EXPECT_EQ(seen[1].answer.substr(0, 20), "-ERR Protocol error:") << bytes;
    Client strict(Strict());
    EXPECT_EQ(strict.Send(bytes).size(), 0u);
    EXPECT_TRUE(strict.closed());
  }
}

TEST(RedisRequestParser, AnnouncingMuchTakesNoMemory) {
  Client client;
  EXPECT_EQ(client.Send("*1000000\r\n$3\r\nSET\r\n").size(), 0u);
  Codec::Limits limits;
  const auto parser = RedisCodec().NewRequestParser(limits);
  Command command;
  const ParseResult result = parser->Parse("*2\r\n$3\r\nGET\r\n$60000000\r\nx", &command);
  EXPECT_EQ(result.status, ParseStatus::kNeedMore);
  EXPECT_EQ(result.consumed, 0u);
  EXPECT_EQ(result.wanted, 24u + 60000000u + 2u);
}

TEST(RedisRequestParser, TooLargeIsPassedOverAndAnsweredOnce) {
  Codec::Limits limits;
  limits.max_value = 1000;
  const std::string large =
      Encode({"MSET", "a", std::string(900, 'x'), "b", std::string(900, '\n')});
  for (size_t cut : {size_t{1}, size_t{30}, size_t{500}, size_t{970}, large.size() - 1}) {
    Client client(limits);
    std::vector<Seen> seen = client.Send(large.substr(0, cut));
    for (Seen& s : client.Send(large.substr(cut) + Encode({"PING"}))) seen.push_back(std::move(s));
    ASSERT_EQ(seen.size(), 2u) << cut;
    EXPECT_NE(seen[0].answer.find("client_max_buffer"), std::string::npos);
    EXPECT_EQ(seen[1].answer, "+PONG\r\n");
  }
  Codec::Limits usual;
  const auto parser = RedisCodec().NewRequestParser(usual);
  Command command;
  const std::string set = Encode({"SET", "a", std::string(900, 'x')});
  ASSERT_EQ(parser->Parse(set.substr(0, 100), &command).status, ParseStatus::kNeedMore);
  EXPECT_EQ(parser->SkipMessage(), Quiet::kNo);
  size_t taken = 0;
  const std::string more = set + Encode({"PING"});
  ParseResult result;
  while ((result = parser->Parse(std::string_view(more).substr(taken), &command)).status !=
         ParseStatus::kDone) {
    ASSERT_GT(result.consumed, 0u);
    taken += result.consumed;
  }
  EXPECT_EQ(taken, set.size()) << "nobody answers for it again";
  EXPECT_EQ(command.answer, "+PONG\r\n");
}

TEST(RedisRequestParser, SplitsCarryEachKeysOwnBytes) {
  Client client;
  const Seen mget = client.Ask({"MGET", "a", "", "c"});
  EXPECT_EQ(mget.action, Action::kSplit);
  EXPECT_EQ(mget.merge, Merge::kBlocks);
  EXPECT_EQ(mget.part, Encode({"mget", "a", "", "c"}));
  EXPECT_EQ(mget.keys, (std::vector<std::string>{"a", "", "c"}));
  const Seen mset = client.Ask({"mset", "a", "1\r\n", "b", ""});
  EXPECT_EQ(mset.merge, Merge::kAgree);
  EXPECT_EQ(mset.part, Encode({"mset", "a", "1\r\n", "b", ""}));
  EXPECT_EQ(client.Ask({"DEL", "a", "b"}).merge, Merge::kSum);
  EXPECT_EQ(client.Ask({"DEL", "a"}).action, Action::kForward);
  EXPECT_EQ(client.Answer({"MSET", "a", "1", "b"}),
            "-ERR wrong number of arguments for 'mset' command\r\n");
}

TEST(RedisRequestParser, KeysThatMustShareAServerAreAllNamed) {
  Client client;
  EXPECT_EQ(client.Ask({"RENAME", "a", "b"}).keys, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(client.Ask({"ZUNIONSTORE", "d", "2", "a", "b", "WEIGHTS", "1", "2"}).keys,
            (std::vector<std::string>{"d", "a", "b"}));
  EXPECT_EQ(client.Ask({"SORT", "a", "LIMIT", "0", "1", "STORE", "d"}).keys,
            (std::vector<std::string>{"a", "d"}));
  EXPECT_EQ(
      client.Ask({"XREADGROUP", "GROUP", "streams", "streams", "STREAMS", "a", "b", ">", ">"}).keys,
      (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(client.Ask({"EVAL", "x", "2", "a", "b", "c"}).keys,
            (std::vector<std::string>{"a", "b"}));
  EXPECT_NE(client.Answer({"EVAL", "x", "3", "a", "b"}).find("can't be greater"),
            std::string::npos);
  EXPECT_NE(client.Answer({"EVAL", "x", "-1", "a"}).find("can't be negative"), std::string::npos);
  EXPECT_NE(client.Answer({"EVAL", "x", "y", "a"}).find("not an integer"), std::string::npos);
  EXPECT_NE(client.Answer({"XREAD", "STREAMS", "a", "b", "0"}).find("syntax"), std::string::npos);
}

TEST(RedisRequestParser, BlockingCommandsNeedAConnectionAndTheirTime) {
  Client client;
  const Seen blpop = client.Ask({"BLPOP", "a", "1.5"});
  EXPECT_TRUE(blpop.alone && blpop.barrier);
  EXPECT_EQ(blpop.lease, Lease::kOnce);
  EXPECT_EQ(blpop.wait_ms, 1500);
  EXPECT_EQ(client.Ask({"BLMPOP", "2", "1", "a", "LEFT"}).wait_ms, 2000);
  EXPECT_EQ(client.Ask({"XREAD", "BLOCK", "70", "STREAMS", "a", "0"}).wait_ms, 70);
  EXPECT_EQ(client
                .Ask({"XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "BLOCK", "70", "NOACK",
                      "STREAMS", "a", ">"})
                .wait_ms,
            70);
  EXPECT_EQ(client.Ask({"XREAD", "STREAMS", "a", "0"}).lease, Lease::kShared);
  EXPECT_EQ(client.Ask({"XREAD", "STREAMS", "block", "0"}).lease, Lease::kShared);
  EXPECT_EQ(client.Ask({"XREADGROUP", "GROUP", "block", "block", "STREAMS", "a", ">"}).lease,
            Lease::kShared);
  EXPECT_EQ(client.Ask({"BLPOP", "a", "x"}).wait_ms, 0) << "the server says what is wrong";
}

TEST(RedisRequestParser, ATransactionWaitsAndIsSentInOnePiece) {
  Client client;
  EXPECT_EQ(client.Answer({"MULTI"}), "+OK\r\n");
  EXPECT_EQ(client.Answer({"SET", "a", "1"}), "+QUEUED\r\n");
  EXPECT_EQ(client.Answer({"BLPOP", "b", "0"}), "+QUEUED\r\n");
  EXPECT_EQ(client.Answer({"PING"}), "+QUEUED\r\n");
  EXPECT_GT(client.parser().held_bytes(), 60u);
  const Seen exec = client.Ask({"EXEC"});
  EXPECT_EQ(exec.action, Action::kForward);
  EXPECT_EQ(exec.interim, 4u);
  EXPECT_EQ(exec.keys, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(exec.sent, Encode({"MULTI"}) + Encode({"SET", "a", "1"}) + Encode({"BLPOP", "b", "0"}) +
                           Encode({"PING"}) + Encode({"EXEC"}));
  EXPECT_EQ(exec.lease, Lease::kShared);
  EXPECT_EQ(client.parser().held_bytes(), 0u);
  EXPECT_EQ(client.Answer({"EXEC"}), "-ERR EXEC without MULTI\r\n");
  client.Ask({"MULTI"});
  EXPECT_EQ(client.Answer({"EXEC"}), "*0\r\n");
  client.Ask({"MULTI"});
  client.Ask({"SUBSCRIBE", "x"});
  EXPECT_EQ(client.Answer({"EXEC"}).substr(0, 10), "-EXECABORT");
  client.Ask({"MULTI"});
  EXPECT_EQ(client.Answer({"RESET"}), "+RESET\r\n");
  EXPECT_EQ(client.Answer({"DISCARD"}), "-ERR DISCARD without MULTI\r\n");
}

TEST(RedisRequestParser, ATransactionHasASizeLimit) {
  Codec::Limits limits;
  limits.max_value = 1000;
  Client client(limits);
  client.Ask({"MULTI"});
  for (int i = 0; i < 100; ++i) client.Ask({"SET", "a", std::string(50, 'x')});
  EXPECT_LT(client.parser().held_bytes(), 1100u + 100 * sizeof(Word)) << "keys are counted, too";
  EXPECT_EQ(client.Answer({"EXEC"}).substr(0, 10), "-EXECABORT");
}

TEST(RedisRequestParser, WatchTakesAConnectionAndExecGivesItBack) {
  Client client;
  const Seen watch = client.Ask({"WATCH", "a", "b"});
  EXPECT_TRUE(watch.alone && watch.barrier);
  EXPECT_EQ(watch.lease, Lease::kBegin);
  EXPECT_EQ(watch.keys.size(), 2u);
  client.Ask({"MULTI"});
  EXPECT_EQ(client.Answer({"WATCH", "c"}), "-ERR WATCH inside MULTI is not allowed\r\n");
  client.Ask({"GET", "a"});
  const Seen exec = client.Ask({"EXEC"});
  EXPECT_TRUE(exec.alone && exec.barrier);
  EXPECT_EQ(exec.lease, Lease::kEnd);
  for (const char* end : {"UNWATCH", "RESET"}) {
    client.Ask({"WATCH", "a"});
    EXPECT_EQ(client.Ask({end}).lease, Lease::kEnd);
    EXPECT_EQ(client.Ask({"UNWATCH"}).lease, Lease::kShared) << "nothing to give back";
  }
  client.Ask({"WATCH", "a"});
  client.Ask({"MULTI"});
  EXPECT_EQ(client.Ask({"DISCARD"}).lease, Lease::kEnd);
}

TEST(RedisRequestParser, PasswordsAreAskedForDelayedAndCounted) {
  Codec::Limits limits;
  limits.password = base::Secret("sekret");
  limits.user = "app";
  Client client(limits);
  EXPECT_FALSE(client.parser().trusted());
  EXPECT_EQ(client.Answer({"GET", "a"}), "-NOAUTH Authentication required\r\n");
  int64_t last = 0;
  for (int i = 0; i < 8; ++i) {
    const Seen wrong = client.Ask({"AUTH", i % 2 == 0 ? "sekre" : "sekrets"});
    EXPECT_EQ(wrong.answer, "-ERR invalid password\r\n");
    EXPECT_TRUE(wrong.login_failed && wrong.barrier);
    EXPECT_TRUE(wrong.delay_ms > last || wrong.delay_ms == 2000) << wrong.delay_ms;
    last = wrong.delay_ms;
  }
  EXPECT_EQ(client.Answer({"AUTH", "other", "sekret"}).substr(0, 10), "-WRONGPASS");
  EXPECT_EQ(client.Answer({"AUTH", "app", "sekret"}), "+OK\r\n");
  EXPECT_TRUE(client.parser().trusted());
  EXPECT_EQ(client.Ask({"GET", "a"}).action, Action::kForward);
  client.Ask({"AUTH", "bad"});
  EXPECT_FALSE(client.parser().trusted()) << "a wrong one after the right one revokes";
  EXPECT_EQ(Client(limits).Send("*11\r\n")[0].answer.substr(0, 37),
            "-ERR Protocol error: unauthenticated ");
  EXPECT_EQ(Client(limits).Send("*2\r\n$20000\r\n").size(), 1u);
}

TEST(RedisRequestParser, HelloChangesTheGroupOfServerConnections) {
  Client client;
  EXPECT_EQ(client.Ask({"GET", "a"}).group, 0);
  const Seen hello = client.Ask({"HELLO", "3", "SETNAME", "me"});
  EXPECT_EQ(hello.answer.substr(0, 4), "%7\r\n");
  EXPECT_TRUE(hello.barrier);
  EXPECT_EQ(hello.group, 1);
  EXPECT_EQ(client.Ask({"GET", "a"}).group, 1);
  EXPECT_EQ(client.Answer({"CLIENT", "GETNAME"}), "$2\r\nme\r\n");
  EXPECT_EQ(client.Answer({"HELLO", "9"}).substr(0, 8), "-NOPROTO");
  EXPECT_EQ(client.parser().RefuseGroup().substr(0, 8), "-NOPROTO");
  EXPECT_EQ(client.Ask({"GET", "a"}).group, 0);
}

TEST(RedisRequestParser, StrictHangsUpWhereNutcrackerDoes) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"SELECT", "0"},
                                                {"GET"},
                                                {"GET", "a", "b"},
                                                {"PING", "x"},
                                                {"AUTH", "u", "p"},
                                                {"EVAL", "x", "0"},
                                                {"MSET", "a"},
                                                {"NOSUCH"},
                                                {""},
                                                {"HELLO"},
                                                {"XLEN", "a"}}) {
    Client strict(Strict());
    EXPECT_EQ(strict.Send(Encode(words)).size(), 0u) << words[0];
    EXPECT_TRUE(strict.closed()) << words[0];
  }
  Client strict(Strict());
  EXPECT_EQ(strict.Ask({"SUNION", "a", "b"}).keys.size(), 0u) << "by the first key alone";
}

TEST(RedisRequestParser, EveryLocalRowHasAHandler) {
  for (const CommandSpec& spec : Commands()) {
    const bool local = spec.handling == Handling::kLocal ||
                       (spec.handling == Handling::kTransaction && spec.name != "watch");
    EXPECT_EQ(RedisRequestParser::IsLocal(spec.name), local) << spec.name;
  }
}

TEST(RedisRequestParser, RefusalsHaveAReason) {
  for (const CommandSpec& spec : Commands()) {
    const bool refused = spec.handling == Handling::kRefused;
    EXPECT_EQ(refused, spec.refusal.size() > 10) << spec.name;
    EXPECT_EQ(FindCommand(spec.name.substr(0, spec.name.find('|')),
                          spec.name.find('|') == std::string_view::npos
                              ? std::string_view()
                              : spec.name.substr(spec.name.find('|') + 1)),
              &spec)
        << spec.name << " is there twice, or is not found";
  }
  Client client;
  EXPECT_EQ(client.Answer({"NOSUCH\r\n", "a\nb"}),
            "-ERR unknown command 'NOSUCH  ', with args beginning with: 'a b' \r\n");
  EXPECT_NE(client.Answer({"client|id", "x"}).find("unknown command"), std::string::npos);
  EXPECT_NE(client.Answer({"CLIENT", "NOSUCH"}).find("unknown subcommand"), std::string::npos);
}

// ---- inline commands, and nothing to do ---------------------------------------------

TEST(RedisRequestParser, HealthCheckersAndEmptyLinesAreTaken) {
  Client client;
  const std::vector<Seen> seen =
      client.Send("\r\n\n*0\r\nPING\r\nping\nPing\r\n*0\r\n\r\nqUiT\nPING\n");
  ASSERT_EQ(seen.size(), 4u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)].answer, "+PONG\r\n");
  EXPECT_EQ(seen[3].action, Action::kQuit);
  EXPECT_EQ(seen[3].answer, "+OK\r\n");
  EXPECT_TRUE(client.closed());
  for (const std::string_view bytes : {"PING\r\n"sv, "QUIT\r\n"sv, "\r\n"sv, "*0\r\n"sv}) {
    Client strict(Strict());
    EXPECT_EQ(strict.Send(bytes).size(), 0u);
    EXPECT_TRUE(strict.closed()) << bytes;
  }
}

TEST(RedisRequestParser, ACommandWithoutANameIsAnError) {
  Client client;
  EXPECT_EQ(client.Answer({""}), "-ERR unknown command '', with args beginning with: \r\n");
  EXPECT_EQ(client.Answer({"", "x"}), "-ERR unknown command '', with args beginning with: \r\n");
  EXPECT_EQ(client.Answer({"PING"}), "+PONG\r\n") << "still in step";
}

TEST(RedisRequestParser, ErrorsShowOnlyAsMuchAsRedisDoes) {
  Client client;
  const std::string long_word(10'000, 'x');
  EXPECT_EQ(client.Answer({long_word, long_word, long_word}),
            fmt::format("-ERR unknown command '{0}', with args beginning with: '{0}' \r\n",
                        std::string(128, 'x')));
  EXPECT_LT(client.Answer({"CLIENT", long_word}).size(), 300u);
  EXPECT_LT(client.Answer({"CLIENT", "SETINFO", long_word, "x"}).size(), 400u);
}

TEST(RedisRequestParser, AHalfGigabyteMayBeAnnouncedAndIsPassedOver) {
  Codec::Limits limits;
  const auto parser = RedisCodec().NewRequestParser(limits);
  Command command;
  const std::string begin = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870912\r\nabc";
  const ParseResult result = parser->Parse(begin, &command);
  EXPECT_EQ(result.status, ParseStatus::kNeedMore);
  EXPECT_EQ(result.consumed, begin.size()) << "nothing is kept of what is too large";
  EXPECT_EQ(result.wanted, 0u);
}

TEST(RedisRequestParser, AStrictPoolAnswersWhatIsTooLargeToo) {
  Codec::Limits limits = Strict();
  limits.max_value = 100;
  Client client(limits);
  const std::string large = Encode({"SET", "a", std::string(200, 'x')});
  const std::vector<Seen> seen = client.Send(large + Encode({"GET", "a"}));
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_NE(seen[0].answer.find("(100 bytes)"), std::string::npos) << seen[0].answer;
  EXPECT_EQ(seen[1].key, "a");
}

// ---- forwarding ------------------------------------------------------------------------

TEST(RedisRequestParser, WhatACommandIsToTheServersIsInItsRow) {
  Client client;
  const Seen get = client.Ask({"GET", "a"});
  EXPECT_TRUE(get.is_read && get.expires && !get.shed_when_full && !get.barrier && !get.alone);
  EXPECT_EQ(get.wait_ms, -1);
  const Seen set = client.Ask({"SET", "a", "1"});
  EXPECT_TRUE(!set.is_read && set.shed_when_full);
  const Seen mget = client.Ask({"MGET", "a", "b"});
  EXPECT_TRUE(mget.is_read && !mget.shed_when_full);
  const Seen mset = client.Ask({"MSET", "a", "1", "b", "2"});
  EXPECT_TRUE(!mset.is_read && mset.shed_when_full);
  client.Ask({"HELLO", "3"});
  for (const std::vector<std::string>& words : {std::vector<std::string>{"MGET", "a", "b"},
                                                {"DEL", "a", "b"},
                                                {"BLPOP", "a", "1"},
                                                {"WATCH", "a"},
                                                {"LOLWUT"}}) {
    EXPECT_EQ(client.Ask(words).group, 1) << words[0];
  }
}

TEST(RedisRequestParser, EverySplitCommandHasStretchesOfItsMessage) {
  Client client;
  for (const char* name : {"MGET", "Del", "UNLINK", "exists", "TOUCH"}) {
    const Seen seen = client.Ask({name, "a", "", "\r\n", "a"});
    ASSERT_EQ(seen.action, Action::kSplit) << name;
    EXPECT_EQ(seen.keys, (std::vector<std::string>{"a", "", "\r\n", "a"}));
    EXPECT_EQ(seen.stretches, (std::vector<std::string>{"$1\r\na\r\n", "$0\r\n\r\n",
                                                        "$2\r\n\r\n\r\n", "$1\r\na\r\n"}));
  }
  const Seen mset = client.Ask({"MSET", "a", "", "", "b\r\n"});
  ASSERT_EQ(mset.action, Action::kSplit);
  EXPECT_EQ(mset.stretches,
            (std::vector<std::string>{"$1\r\na\r\n$0\r\n\r\n", "$0\r\n\r\n$3\r\nb\r\n\r\n"}));
  EXPECT_EQ(client.Ask({"MSET", "a", "1"}).action, Action::kForward);
  EXPECT_EQ(client.Ask({"MGET", "a"}).reply_kind, static_cast<uint8_t>(ReplyKind::kAny));
  EXPECT_EQ(client.Answer({"MGET"}), "-ERR wrong number of arguments for 'mget' command\r\n");
}

TEST(RedisRequestParser, ARequestOfVeryManyKeysIsSplitWhole) {
  std::vector<std::string> words = {"MGET"};
  for (int i = 0; i < 100'000; ++i) words.push_back(fmt::format("k{}", i));
  Client client;
  const Seen seen = client.Ask(words);
  EXPECT_EQ(seen.keys.size(), 100'000u);
  words[0] = "mget";
  EXPECT_EQ(seen.part, Encode(words));
}

TEST(RedisRequestParser, WhatAsksEveryServerNeedsItsSetting) {
  Client client;
  EXPECT_NE(client.Answer({"DBSIZE"}).find("cluster_commands: true"), std::string::npos);
  EXPECT_NE(client.Answer({"FLUSHALL"}).find("dangerous_commands: true"), std::string::npos);
  Codec::Limits limits;
  limits.cluster_commands = true;
  Client cluster(limits);
  const Seen size = cluster.Ask({"DBSIZE"});
  EXPECT_EQ(size.action, Action::kBroadcast);
  EXPECT_EQ(size.merge, Merge::kSum);
  EXPECT_EQ(size.sent, Encode({"DBSIZE"}));
  EXPECT_EQ(cluster.Ask({"SCRIPT", "LOAD", "x"}).reply_kind,
            static_cast<uint8_t>(ReplyKind::kSame));
  EXPECT_NE(cluster.Answer({"KEYS", "*"}).find("dangerous_commands"), std::string::npos);
  limits.dangerous_commands = true;
  Client dangerous(limits);
  EXPECT_EQ(dangerous.Ask({"FLUSHALL", "ASYNC"}).sent, Encode({"FLUSHDB"}))
      << "a pool is one database of its servers";
  EXPECT_EQ(dangerous.Ask({"FLUSHDB", "ASYNC"}).sent, Encode({"FLUSHDB", "ASYNC"}));
  EXPECT_EQ(dangerous.Ask({"KEYS", "*"}).merge, Merge::kWhole);
}

TEST(RedisRequestParser, AWalkGoesOnWhereItsCursorSays) {
  Codec::Limits limits;
  limits.cluster_commands = true;
  Client client(limits);
  const Seen first = client.Ask({"SCAN", "0", "MATCH", "*"});
  EXPECT_EQ(first.action, Action::kForward);
  EXPECT_TRUE(first.scan);
  EXPECT_EQ(first.scan_at, 0u);
  EXPECT_EQ(first.scan_check, 0u);
  EXPECT_EQ(first.sent, Encode({"SCAN", "0", "MATCH", "*"}));
  const std::string begin = RedisCodec().ScanBegin(2, 3, 77, 123456);
  const std::string cursor = begin.substr(begin.find('\n', 4) + 1);
  const Seen next = client.Ask({"SCAN", cursor.substr(0, cursor.size() - 2), "COUNT", "5"});
  EXPECT_EQ(next.scan_at, 2u);
  EXPECT_EQ(next.scan_check, 77u);
  EXPECT_EQ(next.sent, Encode({"SCAN", "123456", "COUNT", "5"}));
  for (const char* bad : {"x", "-1", "5", ""}) {
    EXPECT_EQ(client.Answer({"SCAN", bad}), "-ERR invalid cursor\r\n") << bad;
  }
}

// ---- alone: not before the client's earlier requests are answered ----------------------

TEST(RedisRequestParser, WhatMustBeAloneIsGivenTwice) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"WATCH", "a"},
                                                {"BLPOP", "a", "0"},
                                                {"XREAD", "BLOCK", "0", "STREAMS", "a", "$"}}) {
    Codec::Limits limits;
    const auto parser = RedisCodec().NewRequestParser(limits);
    Command command;
    const std::string text = Encode(words) + Encode({"GET", "b"});
    const ParseResult first = parser->Parse(text, &command);
    EXPECT_EQ(first.status, ParseStatus::kNeedMore);
    EXPECT_TRUE(first.alone);
    EXPECT_EQ(first.consumed, 0u);
    EXPECT_EQ(first.wanted, 0u);
    // The bytes may have moved meanwhile.
    const std::vector<char> moved(text.begin(), text.end());
    const std::string_view again(moved.data(), moved.size());
    const ParseResult second = parser->Parse(again, &command);
    EXPECT_EQ(second.status, ParseStatus::kDone);
    EXPECT_EQ(second.consumed, Encode(words).size());
    EXPECT_EQ(command.key, "a");
    EXPECT_EQ(command.body, Encode(words));
    EXPECT_TRUE(command.barrier);
    const ParseResult third = parser->Parse(again.substr(second.consumed), &command);
    EXPECT_EQ(third.status, ParseStatus::kDone);
    EXPECT_EQ(command.key, "b");
    EXPECT_TRUE(parser->Parse(text, &command).alone) << "each time anew";
  }
}

TEST(RedisRequestParser, WaitingForEverDoesNotExpire) {
  Client client;
  const Seen for_ever = client.Ask({"BLPOP", "a", "0"});
  EXPECT_EQ(for_ever.wait_ms, 0);
  EXPECT_FALSE(for_ever.expires);
  const Seen a_while = client.Ask({"BRPOPLPUSH", "a", "b", "0.05"});
  EXPECT_EQ(a_while.wait_ms, 50);
  EXPECT_TRUE(a_while.expires);
  EXPECT_EQ(a_while.keys, (std::vector<std::string>{"a", "b"}));
}

// ---- transactions ------------------------------------------------------------------------

TEST(RedisTransactions, MultiDoesNotNestAndThatSpoilsNothing) {
  Client client;
  EXPECT_EQ(client.Answer({"MULTI"}), "+OK\r\n");
  EXPECT_EQ(client.Answer({"MULTI"}), "-ERR MULTI calls can not be nested\r\n");
  EXPECT_EQ(client.Answer({"WATCH", "a"}), "-ERR WATCH inside MULTI is not allowed\r\n");
  EXPECT_EQ(client.Answer({"INCR", "a"}), "+QUEUED\r\n");
  EXPECT_EQ(client.Ask({"EXEC"}).interim, 2u);
  EXPECT_EQ(client.Answer({"DISCARD"}), "-ERR DISCARD without MULTI\r\n");
}

TEST(RedisTransactions, EveryRefusedCommandSpoilsThem) {
  const std::string huge(2000, 'x');
  for (const std::vector<std::string>& words : {std::vector<std::string>{"NOSUCH"},
                                                {""},
                                                {"GET"},
                                                {"CLIENT", "NOSUCH"},
                                                {"SUBSCRIBE", "x"},
                                                {"SELECT", "0"},
                                                {"HELLO", "3"},
                                                {"AUTH", "x"},
                                                {"UNWATCH"},
                                                {"DBSIZE"},
                                                {"EVAL", "x", "2", "a"},
                                                {"MSET", "a", "1", "b"},
                                                {"XREAD", "STREAMS", "a", "b", "0"},
                                                {"EXEC", "x"},
                                                {"MULTI", "x"},
                                                {"SET", "a", huge}}) {
    Codec::Limits limits;
    limits.max_value = 1000;
    limits.cluster_commands = true;
    Client client(limits);
    client.Ask({"MULTI"});
    client.Ask({"SET", "a", "1"});
    EXPECT_EQ(client.Answer(words)[0], '-') << words[0];
    EXPECT_EQ(client.Answer({"SET", "b", "1"}), "+QUEUED\r\n") << words[0];
    EXPECT_EQ(client.Answer({"EXEC"}),
              "-EXECABORT Transaction discarded because of previous errors.\r\n")
        << words[0];
    EXPECT_EQ(client.Answer({"EXEC"}), "-ERR EXEC without MULTI\r\n");
    EXPECT_EQ(client.parser().held_bytes(), 0u);
  }
}

TEST(RedisTransactions, AMessageThatTheSessionGaveUpSpoilsThem) {
  Codec::Limits limits;
  const auto parser = RedisCodec().NewRequestParser(limits);
  Command command;
  const std::string begin = Encode({"MULTI"}) + Encode({"SET", "a", "1"});
  std::string_view in = begin;
  while (!in.empty()) in.remove_prefix(parser->Parse(in, &command).consumed);
  const std::string large = Encode({"SET", "b", std::string(100'000, 'x')});
  ASSERT_GT(parser->Parse(large.substr(0, 1000), &command).wanted, 0u);
  parser->SkipMessage();
  EXPECT_EQ(parser->Parse(large, &command).consumed, large.size());
  EXPECT_EQ(parser->Parse(Encode({"EXEC"}), &command).status, ParseStatus::kDone);
  EXPECT_EQ(command.answer.substr(0, 10), "-EXECABORT") << "all of it or nothing";
}

TEST(RedisTransactions, WhatIsQueuedGoesOnByteForByte) {
  Client client;
  client.Ask({"mUlTi"});
  const std::vector<std::vector<std::string>> commands = {
      {"mget", "{t}a", "{t}b"},
      {"MSET", "{t}a", "\r\n", "", "x"},
      {"DEL", "{t}c", "{t}d"},
      {"EVAL", "return 1", "1", "{t}e"},
      {"ECHO", "hello"},
      {"time"},
      {"XREAD", "BLOCK", "0", "STREAMS", "{t}s", "0"},
  };
  std::string sent = Encode({"MULTI"});
  for (const std::vector<std::string>& words : commands) {
    const Seen seen = client.Ask(words);
    EXPECT_EQ(seen.answer, "+QUEUED\r\n") << words[0];
    EXPECT_FALSE(seen.alone || seen.barrier) << "nothing blocks in a transaction";
    sent += Encode(words);
  }
  const Seen exec = client.Ask({"exec"});
  EXPECT_EQ(exec.sent, sent + Encode({"EXEC"}));
  EXPECT_EQ(exec.interim, commands.size() + 1);
  EXPECT_EQ(exec.keys,
            (std::vector<std::string>{"{t}a", "{t}b", "{t}a", "", "{t}c", "{t}d", "{t}e", "{t}s"}));
  EXPECT_EQ(exec.key, "{t}a");
  EXPECT_EQ(exec.lease, Lease::kShared);
  EXPECT_FALSE(exec.barrier || exec.alone);
  EXPECT_TRUE(exec.shed_when_full);
}

TEST(RedisTransactions, TheirKeysAreHeldToo) {
  Client client;
  client.Ask({"MULTI"});
  std::vector<std::string> words(1001, "");
  words[0] = "DEL";
  client.Ask(words);
  EXPECT_GE(client.parser().held_bytes(), Encode(words).size() + 1000 * sizeof(Word));
}

TEST(RedisTransactions, OneWithoutKeysGoesSomewhere) {
  Client client;
  client.Ask({"MULTI"});
  client.Ask({"PING", "x"});
  const Seen exec = client.Ask({"EXEC"});
  EXPECT_EQ(exec.action, Action::kForward);
  EXPECT_EQ(exec.key, "placeholder");
  EXPECT_TRUE(exec.keys.empty());
}

TEST(RedisTransactions, QuitAndResetEndThem) {
  Client quits;
  quits.Ask({"MULTI"});
  quits.Ask({"GET", "a"});
  const Seen quit = quits.Ask({"QUIT"});
  EXPECT_EQ(quit.action, Action::kQuit);
  EXPECT_EQ(quit.answer, "+OK\r\n");
  Client resets;
  resets.Ask({"WATCH", "a"});
  resets.Ask({"MULTI"});
  resets.Ask({"GET", "a"});
  const Seen reset = resets.Ask({"RESET"});
  EXPECT_EQ(reset.answer, "+RESET\r\n");
  EXPECT_EQ(reset.lease, Lease::kEnd);
  EXPECT_TRUE(reset.barrier);
  EXPECT_EQ(resets.parser().held_bytes(), 0u);
  EXPECT_EQ(resets.Ask({"GET", "a"}).action, Action::kForward);
}

TEST(RedisTransactions, ExecOfAWatchingClientAlwaysAsksTheServer) {
  Client client;
  client.Ask({"WATCH", "a"});
  client.Ask({"MULTI"});
  const Seen empty = client.Ask({"EXEC"});
  EXPECT_EQ(empty.action, Action::kForward) << "only the server knows whether `a` changed";
  EXPECT_EQ(empty.interim, 1u);
  EXPECT_EQ(empty.sent, Encode({"MULTI"}) + Encode({"EXEC"}));
  EXPECT_EQ(empty.lease, Lease::kEnd);
  client.Ask({"WATCH", "a"});
  client.Ask({"MULTI"});
  client.Ask({"NOSUCH"});
  const Seen aborted = client.Ask({"EXEC"});
  EXPECT_EQ(aborted.action, Action::kAnswer);
  EXPECT_EQ(aborted.lease, Lease::kEnd) << "the connection goes back all the same";
  client.Ask({"MULTI"});
  EXPECT_EQ(client.Answer({"EXEC"}), "*0\r\n") << "it watches no more";
}

TEST(RedisTransactions, WatchMayBeSaidAgain) {
  Client client;
  EXPECT_EQ(client.Ask({"WATCH", "a"}).lease, Lease::kBegin);
  EXPECT_EQ(client.Ask({"WATCH", "b"}).lease, Lease::kBegin);
  EXPECT_EQ(client.Ask({"UNWATCH"}).lease, Lease::kEnd);
  EXPECT_EQ(client.Answer({"WATCH"}), "-ERR wrong number of arguments for 'watch' command\r\n");
  EXPECT_EQ(client.Ask({"UNWATCH"}).lease, Lease::kShared) << "the refused one took nothing";
}

// ---- what the proxy answers itself ---------------------------------------------------

struct LocalCase {
  std::vector<std::string> words;
  std::string resp2;
  std::string resp3 = "";  // empty: the same
};

const LocalCase kLocalCases[] = {
    {{"PING"}, "+PONG\r\n"},
    {{"ping", "x\r\ny"}, "$4\r\nx\r\ny\r\n"},
    {{"PING", "x", "y"}, "-ERR wrong number of arguments for 'ping' command\r\n"},
    {{"ECHO", ""}, "$0\r\n\r\n"},
    {{"ECHO"}, "-ERR wrong number of arguments for 'echo' command\r\n"},
    {{"READONLY"}, "+OK\r\n"},
    {{"READWRITE"}, "+OK\r\n"},
    {{"AUTH", "x"}, "-ERR Client sent AUTH, but no password is set\r\n"},
    {{"AUTH", "x", "y"}, "-ERR Client sent AUTH, but no password is set\r\n"},
    {{"AUTH", "x", "y", "z"}, "-ERR syntax error\r\n"},
    {{"AUTH"}, "-ERR wrong number of arguments for 'auth' command\r\n"},
    {{"SELECT", "0"}, "+OK\r\n"},
    {{"SELECT", "1"}, "-ERR this pool serves database 0 alone (its redis_db)\r\n"},
    {{"SELECT", "x"}, "-ERR invalid DB index\r\n"},
    {{"SELECT", "-1"}, "-ERR invalid DB index\r\n"},
    {{"SELECT", ""}, "-ERR invalid DB index\r\n"},
    {{"SELECT", "99999999999"}, "-ERR invalid DB index\r\n"},
    {{"CLIENT", "GETNAME"}, "$-1\r\n", "_\r\n"},
    {{"CLIENT", "SETNAME", "with space"},
     "-ERR Client names cannot contain spaces, newlines or special characters.\r\n"},
    {{"CLIENT", "SETINFO", "lib-name", "x"}, "+OK\r\n"},
    {{"CLIENT", "SETINFO", "LIB-VER", "1.0"}, "+OK\r\n"},
    {{"CLIENT", "SETINFO", "LIB-VER", "1 0"},
     "-ERR LIB-VER cannot contain spaces, newlines or special characters.\r\n"},
    {{"CLIENT", "SETINFO", "other", "x"}, "-ERR Unrecognized option 'other'\r\n"},
    {{"CLIENT", "NO-EVICT", "On"}, "+OK\r\n"},
    {{"CLIENT", "NO-TOUCH", "off"}, "+OK\r\n"},
    {{"CLIENT", "NO-TOUCH", "x"}, "-ERR syntax error\r\n"},
    {{"CLIENT", "GETREDIR"}, ":-1\r\n"},
    {{"CLIENT"}, "-ERR wrong number of arguments for 'CLIENT' command\r\n"},
    {{"COMMAND", "DOCS", "get"}, "*0\r\n", "%0\r\n"},
    {{"COMMAND", "INFO", "get", "nosuch", "subscribe", "client|id"},
     "*4\r\n*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n*-1\r\n*-1\r\n*-1\r\n",
     "*4\r\n*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n_\r\n_\r\n_\r\n"},
    {{"COMMAND", "LIST", "FILTERBY", "MODULE", "x"}, "-ERR COMMAND LIST takes no filter here\r\n"},
    {{"COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"}, "*2\r\n$1\r\na\r\n$1\r\nb\r\n"},
    {{"COMMAND", "GETKEYS", "object", "encoding", "a"}, "*1\r\n$1\r\na\r\n"},
    {{"COMMAND", "GETKEYS", "NOSUCH", "a"}, "-ERR Invalid command specified\r\n"},
    {{"COMMAND", "GETKEYS", "GET"}, "-ERR Invalid number of arguments specified for command\r\n"},
    {{"COMMAND", "GETKEYS", "EVAL", "x", "0"}, "*0\r\n"},
    {{"COMMAND", "GETKEYS", "ZUNION", "9", "a"},
     "-ERR Invalid arguments specified for command\r\n"},
    {{"COMMAND", "GETKEYS", "PING"}, "-ERR The command has no key arguments\r\n"},
    {{"COMMAND", "NOSUCH"},
     "-ERR unknown subcommand 'NOSUCH' of 'COMMAND', or not one for a proxy\r\n"},
};

// Rows whose answers are looked at in tests of their own.
const std::set<std::string_view> kAnswersElsewhere = {
    "quit",        "reset",       "hello",   "time",          "info",         "client|id",
    "client|info", "client|list", "command", "command|count", "command|list",
};

TEST(RedisLocalCommands, AnswerInTheClientsVersionOfTheProtocol) {
  std::set<std::string_view> seen = kAnswersElsewhere;
  for (const LocalCase& c : kLocalCases) {
    const CommandSpec* spec = FindCommand(c.words[0], c.words.size() > 1 ? c.words[1] : "");
    if (spec != nullptr) seen.insert(spec->name);
    Client resp2;
    EXPECT_EQ(resp2.Answer(c.words), c.resp2) << c.words[0];
    Client resp3;
    resp3.Ask({"HELLO", "3"});
    EXPECT_EQ(resp3.Answer(c.words), c.resp3.empty() ? c.resp2 : c.resp3) << c.words[0];
  }
  for (const CommandSpec& spec : Commands()) {
    if (spec.handling != Handling::kLocal || spec.name == "client|setname") continue;
    EXPECT_TRUE(seen.contains(spec.name)) << "give the new command a case: " << spec.name;
  }
}

// True when `reply` is one value of RESP2 or RESP3, and nothing behind it.
bool IsOneReply(std::string_view reply, bool resp3) {
  RedisReplyParser parser(resp3);
  Expectation expect;
  const auto result = parser.Parse(reply, &expect, nullptr);
  return result.status == ParseStatus::kDone && result.consumed == reply.size();
}

TEST(RedisLocalCommands, EveryAnswerIsOneReply) {
  for (const bool resp3 : {false, true}) {
    for (const CommandSpec& spec : Commands()) {
      Client client;
      client.Ask({"HELLO", resp3 ? "3" : "2"});
      const std::string name(spec.name);
      const size_t bar = name.find('|');
      std::vector<std::string> words = {name.substr(0, bar)};
      if (bar != std::string::npos) words.push_back(name.substr(bar + 1));
      for (size_t n = 0; n < 4; ++n) {
        const std::vector<Seen> seen = client.Send(Encode(words));
        ASSERT_EQ(seen.size(), 1u) << name;
        if (seen[0].action == Action::kAnswer) {
          EXPECT_TRUE(IsOneReply(seen[0].answer, resp3)) << name << ": " << seen[0].answer;
        }
        if (client.closed()) break;
        client.Send(Encode({"RESET"}) + Encode({"HELLO", resp3 ? "3" : "2"}));
        words.push_back("x");
      }
    }
  }
}

TEST(RedisLocalCommands, CommandListsWhatAClientMayUse) {
  Client client;
  const std::string count = client.Answer({"COMMAND", "COUNT"});
  const std::string n = count.substr(1, count.size() - 3);
  EXPECT_GT(std::stoi(n), 250);
  const std::string list = client.Answer({"COMMAND", "LIST"});
  const std::string all = client.Answer({"COMMAND"});
  EXPECT_EQ(list.substr(0, n.size() + 3), "*" + n + "\r\n");
  EXPECT_EQ(all.substr(0, n.size() + 3), "*" + n + "\r\n");
  EXPECT_EQ(client.Answer({"COMMAND", "INFO"}), all);
  EXPECT_NE(list.find("\r\nmget\r\n"), std::string::npos);
  EXPECT_EQ(list.find("\r\nsubscribe\r\n"), std::string::npos);
  EXPECT_NE(all.find("*6\r\n$4\r\nmset\r\n:-3\r\n*1\r\n+write\r\n:1\r\n:-1\r\n:2\r\n"),
            std::string::npos);
  EXPECT_NE(
      all.find("*6\r\n$4\r\neval\r\n:-3\r\n*2\r\n+write\r\n+movablekeys\r\n:0\r\n:0\r\n:0\r\n"),
      std::string::npos);
}

TEST(RedisLocalCommands, TimeIsTheProxys) {
  Client client;
  const int64_t before = time(nullptr);
  const std::string answer = client.Answer({"TIME"});
  ASSERT_EQ(answer.substr(0, 9), "*2\r\n$10\r\n");
  const int64_t told = std::stoll(answer.substr(9));
  EXPECT_LE(before, told);
  EXPECT_LE(told, time(nullptr));
  EXPECT_TRUE(IsOneReply(answer, false));
}

TEST(RedisLocalCommands, InfoIsThePools) {
  Client client;
  EXPECT_EQ(client.Ask({"INFO"}).action, Action::kStats);
  EXPECT_EQ(client.Ask({"info", "server", "clients"}).action, Action::kStats);
}

TEST(RedisLocalCommands, EachClientHasANumberAndItsName) {
  Client one;
  Client other;
  const std::string id = one.Answer({"CLIENT", "ID"});
  EXPECT_NE(id, other.Answer({"CLIENT", "ID"}));
  EXPECT_EQ(one.Answer({"CLIENT", "SETNAME", "me"}), "+OK\r\n");
  EXPECT_EQ(one.Answer({"CLIENT", "GETNAME"}), "$2\r\nme\r\n");
  EXPECT_EQ(other.Answer({"CLIENT", "GETNAME"}), "$-1\r\n");
  one.Ask({"WATCH", "a"});
  for (const char* subcommand : {"INFO", "LIST"}) {
    const std::string info = one.Answer({"CLIENT", subcommand});
    const std::string wanted =
        fmt::format("id={} name=me db=0 multi=-1 watch=1 resp=2\n", id.substr(1, id.size() - 3));
    EXPECT_EQ(info, fmt::format("${}\r\n{}\r\n", wanted.size(), wanted));
  }
  EXPECT_EQ(one.Answer({"CLIENT", "SETNAME", ""}), "+OK\r\n");
  EXPECT_EQ(one.Answer({"CLIENT", "GETNAME"}), "$-1\r\n") << "an empty name is none";
  EXPECT_EQ(one.Answer({"CLIENT", "SETNAME", std::string(257, 'x')})[0], '-');
  EXPECT_EQ(one.Answer({"CLIENT", "SETNAME", "a\nb"})[0], '-');
}

TEST(RedisLocalCommands, HelloTellsWhoItIs) {
  for (const std::string version : {"2", "3"}) {
    Client client;
    const std::string id = client.Answer({"CLIENT", "ID"});
    const Seen hello = client.Ask({"HELLO", version});
    EXPECT_EQ(hello.answer,
              (version == "3" ? "%7" : "*14") +
                  fmt::format("\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"
                              "$5\r\nproto\r\n:{}\r\n$2\r\nid\r\n{}$4\r\nmode\r\n$10\r\nstandalone"
                              "\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
                              version, id));
    EXPECT_TRUE(hello.barrier);
    EXPECT_EQ(hello.group, version == "3" ? 1 : 0);
    EXPECT_EQ(client.Answer({"HELLO"}), hello.answer) << "without a number it asks";
  }
}

TEST(RedisLocalCommands, AHelloThatIsRefusedChangesNothing) {
  Client client;
  client.Ask({"CLIENT", "SETNAME", "me"});
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"HELLO", "1"},
        {"HELLO", "4"},
        {"HELLO", "x"},
        {"HELLO", "03"},
        {"HELLO", "3", "NOSUCH"},
        {"HELLO", "3", "SETNAME"},
        {"HELLO", "3", "SETNAME", "a b"},
        {"HELLO", "3", "AUTH", "x"},
        {"HELLO", "3", "SETNAME", "you", "AUTH", "x", "y"}}) {
    EXPECT_EQ(client.Answer(words)[0], '-');
    EXPECT_EQ(client.Ask({"GET", "a"}).group, 0);
    EXPECT_EQ(client.Answer({"CLIENT", "GETNAME"}), "$2\r\nme\r\n");
  }
  EXPECT_EQ(client.Answer({"HELLO", "3", "NOSUCH"}), "-ERR Syntax error in HELLO option\r\n");
  EXPECT_EQ(client.Answer({"HELLO", "4"}), "-NOPROTO unsupported protocol version\r\n");
}

TEST(RedisLocalCommands, ResetIsANewConnection) {
  Codec::Limits limits;
  limits.password = base::Secret("pw");
  Client client(limits);
  client.Ask({"HELLO", "3", "AUTH", "default", "pw", "SETNAME", "me"});
  EXPECT_EQ(client.Ask({"GET", "a"}).group, 1);
  const Seen reset = client.Ask({"RESET"});
  EXPECT_EQ(reset.answer, "+RESET\r\n");
  EXPECT_TRUE(reset.barrier);
  EXPECT_EQ(reset.group, 0);
  EXPECT_FALSE(client.parser().trusted());
  EXPECT_EQ(client.Answer({"GET", "a"}), "-NOAUTH Authentication required\r\n");
  client.Ask({"AUTH", "pw"});
  EXPECT_EQ(client.Answer({"CLIENT", "GETNAME"}), "$-1\r\n");
  EXPECT_EQ(client.Ask({"GET", "a"}).group, 0);
}

TEST(RedisLocalCommands, SelectKnowsThePoolsDatabaseAlone) {
  Codec::Limits limits;
  limits.database = 7;
  Client client(limits);
  EXPECT_EQ(client.Answer({"SELECT", "7"}), "+OK\r\n");
  EXPECT_EQ(client.Answer({"SELECT", "0"}),
            "-ERR this pool serves database 7 alone (its redis_db)\r\n");
  EXPECT_EQ(client.Answer({"SELECT", "07"})[0], '-');
}

// ---- logins ---------------------------------------------------------------------------

Codec::Limits Locked() {
  Codec::Limits limits;
  limits.password = base::Secret("sekret");
  limits.user = "app";
  return limits;
}

TEST(RedisLogin, EveryFormLogsIn) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"AUTH", "sekret"},
        {"auth", "default", "sekret"},
        {"AUTH", "app", "sekret"},
        {"HELLO", "3", "AUTH", "app", "sekret"},
        {"HELLO", "2", "setname", "x", "auth", "default", "sekret"}}) {
    Client client(Locked());
    EXPECT_NE(client.Answer(words)[0], '-') << words[0];
    EXPECT_TRUE(client.parser().trusted());
    EXPECT_EQ(client.Ask({"GET", "a"}).action, Action::kForward);
  }
}

TEST(RedisLogin, EveryWrongFormIsDelayedAndCounted) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"AUTH", ""},
                                                {"AUTH", "Sekret"},
                                                {"AUTH", "sekretsekret"},
                                                {"AUTH", "App", "sekret"},
                                                {"AUTH", "", "sekret"},
                                                {"AUTH", "app", "app"},
                                                {"HELLO", "3", "AUTH", "app", "wrong"},
                                                {"HELLO", "3", "AUTH", "nobody", "sekret"}}) {
    Client client(Locked());
    const Seen seen = client.Ask(words);
    EXPECT_EQ(seen.answer[0], '-') << words[0];
    EXPECT_TRUE(seen.login_failed && seen.barrier && !seen.close) << words[0];
    EXPECT_EQ(seen.delay_ms, 100);
    EXPECT_FALSE(client.parser().trusted());
    EXPECT_EQ(seen.answer.find("sekret"), std::string::npos);
  }
}

TEST(RedisLogin, DelaysDoubleUpToTwoSecondsAndBeginAnewAfterTheRightPassword) {
  Client client(Locked());
  for (const int64_t delay : {100, 200, 400, 800, 1600, 2000, 2000, 2000}) {
    EXPECT_EQ(client.Ask({"AUTH", "wrong"}).delay_ms, delay);
  }
  const Seen right = client.Ask({"AUTH", "sekret"});
  EXPECT_EQ(right.answer, "+OK\r\n");
  EXPECT_EQ(right.delay_ms, 0);
  EXPECT_EQ(client.Ask({"AUTH", "wrong"}).delay_ms, 100);
  for (int i = 0; i < 100; ++i) EXPECT_LE(client.Ask({"AUTH", "wrong"}).delay_ms, 2000);
}

TEST(RedisLogin, ResettingTheConnectionDoesNotResetTheDelay) {
  Client client(Locked());
  client.Ask({"AUTH", "wrong"});
  client.Ask({"RESET"});
  EXPECT_EQ(client.Ask({"AUTH", "wrong"}).delay_ms, 200);
}

TEST(RedisLogin, BeforeItLittleIsAnswered) {
  Client client(Locked());
  for (const std::vector<std::string>& words : {std::vector<std::string>{"PING"},
                                                {"COMMAND"},
                                                {"CLIENT", "ID"},
                                                {"INFO"},
                                                {"NOSUCH"},
                                                {"GET"},
                                                {""},
                                                {"SUBSCRIBE", "x"},
                                                {"MULTI"},
                                                {"WATCH", "a"},
                                                {"BLPOP", "a", "0"}}) {
    const Seen seen = client.Ask(words);
    EXPECT_EQ(seen.answer, "-NOAUTH Authentication required\r\n") << words[0];
    EXPECT_FALSE(seen.alone || seen.login_failed);
  }
  EXPECT_EQ(client.Answer({"HELLO", "3"}).substr(0, 13), "-NOAUTH HELLO");
  EXPECT_EQ(client.Answer({"AUTH"}).substr(0, 10), "-ERR wrong");
  EXPECT_EQ(client.Answer({"RESET"}), "+RESET\r\n");
  EXPECT_EQ(client.Ask({"QUIT"}).action, Action::kQuit);
}

TEST(RedisLogin, BeforeItRequestsAreSmall) {
  Client words(Locked());
  EXPECT_EQ(words.Ask({"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}).answer.substr(0, 7),
            "-NOAUTH");
  EXPECT_EQ(words.Send("*11\r\n")[0].answer,
            "-ERR Protocol error: unauthenticated multibulk length\r\n");
  EXPECT_TRUE(words.closed());
  Client length(Locked());
  EXPECT_TRUE(length.Ask({"AUTH", std::string(16 * 1024, 'x')}).login_failed);
  EXPECT_EQ(length.Send("*2\r\n$4\r\nAUTH\r\n$16385\r\n")[0].answer,
            "-ERR Protocol error: unauthenticated bulk length\r\n");
  EXPECT_TRUE(length.closed());
  Client later(Locked());
  later.Ask({"AUTH", "sekret"});
  EXPECT_EQ(later.Ask({"SET", "a", std::string(100'000, 'x')}).action, Action::kForward);
}

TEST(RedisLogin, ANewPasswordDoesNotEndOldConnections) {
  Codec::Limits limits = Locked();
  const auto parser = RedisCodec().NewRequestParser(limits);
  Command command;
  EXPECT_FALSE(parser->trusted());
  parser->Parse(Encode({"AUTH", "sekret"}), &command);
  EXPECT_TRUE(parser->trusted());
  limits.password = base::Secret("other");
  EXPECT_TRUE(parser->trusted());
  const auto stranger = RedisCodec().NewRequestParser(limits);
  EXPECT_FALSE(stranger->trusted());
  limits.password = base::Secret();
  EXPECT_TRUE(stranger->trusted()) << "a pool that lost its password asks for none";
}

TEST(RedisLogin, StrictPoolsAnswerAsNutcrackerDoes) {
  Codec::Limits limits = Locked();
  limits.strict = true;
  Client client(limits);
  const Seen wrong = client.Ask({"AUTH", "wrong"});
  EXPECT_EQ(wrong.answer, "-ERR invalid password\r\n");
  EXPECT_EQ(wrong.delay_ms, 0);
  EXPECT_TRUE(wrong.login_failed);
  EXPECT_FALSE(wrong.barrier);
  EXPECT_EQ(client.Answer({"GET", "a"}), "-NOAUTH Authentication required\r\n");
  EXPECT_EQ(client.Answer({"AUTH", "sekret"}), "+OK\r\n");
  EXPECT_EQ(client.Ask({"GET", "a"}).action, Action::kForward);
  const Seen quit = client.Ask({"QUIT"});
  EXPECT_EQ(quit.action, Action::kQuit);
  EXPECT_EQ(quit.answer, "") << "it hangs up without a word";
}

TEST(RedisRequestParser, StrictSendsWhatNutcrackerSendsWhole) {
  Client strict(Strict());
  const Seen exists = strict.Ask({"EXISTS", "a", "b"});
  EXPECT_EQ(exists.action, Action::kForward);
  EXPECT_EQ(exists.key, "a");
  EXPECT_TRUE(exists.keys.empty());
  EXPECT_EQ(strict.Ask({"MGET", "a", "b"}).action, Action::kSplit);
  EXPECT_EQ(strict.Ask({"EVAL", "x", "9", "a", "b"}).key, "a")
      << "the server says that there are not so many keys";
  EXPECT_EQ(strict.Ask({"LOLWUT"}).key, "placeholder");
  EXPECT_EQ(strict.Answer({"PING"}), "+PONG\r\n");
}

}  // namespace
}  // namespace cashew::protocol::redis

#include "pkg/protocol/redis/request_parser.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "fmt/format.h"

#include "pkg/protocol/memcached/parse_stream.h"

namespace cashew::protocol::redis {
namespace {

using memcached::RandomCuts;
using std::string_view_literals::operator""sv;

std::string Encode(const std::vector<std::string>& words) {
  std::string text = fmt::format("*{}\r\n", words.size());
  for (const std::string& word : words) text += fmt::format("${}\r\n{}\r\n", word.size(), word);
  return text;
}

// What a session sees of one request; its bytes are its own.
struct Seen {
  Action action = Action::kAnswer;
  Merge merge = Merge::kBlocks;
  Lease lease = Lease::kShared;
  bool close = false, barrier = false, login_failed = false, alone = false;
  uint8_t group = 0;
  uint32_t interim = 0;
  int64_t wait_ms = -1, delay_ms = 0;
  std::string key, sent, answer, part;
  std::vector<std::string> keys;
  bool operator==(const Seen&) const = default;
};

Codec::Limits Strict() {
  Codec::Limits limits;
  limits.strict = true;
  return limits;
}

// A client's connection: bytes in, requests out.
class Client {
 public:
  explicit Client(Codec::Limits limits = {})
      : limits_(std::move(limits)), parser_(RedisCodec().NewRequestParser(limits_)) {}

  std::vector<Seen> Send(std::string_view bytes) {
    pending_ += bytes;
    std::vector<Seen> seen;
    bool alone = false;
    while (!pending_.empty() && !closed_) {
      const std::vector<char> exact(pending_.begin(), pending_.end());
      const ParseResult result = parser_->Parse({exact.data(), exact.size()}, &command_);
      EXPECT_LE(result.consumed, exact.size());
      if (result.status == ParseStatus::kDone) {
        seen.push_back(See(alone));
        closed_ = command_.close_after || command_.action == Action::kQuit;
      }
      pending_.erase(0, result.consumed);
      if (result.status == ParseStatus::kInvalid) closed_ = true;
      if (result.status == ParseStatus::kNeedMore && result.wanted != 0) {
        EXPECT_GT(result.wanted, exact.size());
      }
      const bool stuck = result.status == ParseStatus::kNeedMore && result.consumed == 0;
      if (stuck && !result.alone) break;
      EXPECT_FALSE(stuck && alone) << "it asked to be alone twice";
      alone = result.alone;
    }
    return seen;
  }
  Seen Ask(const std::vector<std::string>& words) {
    const std::vector<Seen> seen = Send(Encode(words));
    EXPECT_EQ(seen.size(), 1u) << words[0];
    return seen.empty() ? Seen() : seen[0];
  }
  std::string Answer(const std::vector<std::string>& words) {
    const Seen seen = Ask(words);
    EXPECT_TRUE(seen.action == Action::kAnswer || seen.action == Action::kQuit) << words[0];
    return seen.answer;
  }
  bool closed() const { return closed_; }
  RequestParser& parser() { return *parser_; }

 private:
  Seen See(bool alone) const {
    Seen s;
    s.action = command_.action;
    s.lease = command_.lease;
    s.alone = alone;
    s.barrier = command_.barrier;
    if (s.action == Action::kAnswer || s.action == Action::kQuit) {
      s.answer = command_.answer;
      s.close = command_.close_after;
      s.login_failed = command_.login_failed;
      s.delay_ms = command_.delay_ms;
      s.group = command_.group;
      return s;
    }
    s.group = command_.group;
    s.interim = command_.interim;
    s.wait_ms = command_.wait_ms;
    s.merge = command_.merge;
    s.key = command_.key;
    s.sent = std::string(command_.head) + std::string(command_.body);
    for (const std::string_view key : command_.keys) s.keys.emplace_back(key);
    if (s.action == Action::kSplit) {
      s.sent.clear();
      RedisCodec().EncodePart(command_, command_.stretches, &s.part);
    }
    return s;
  }

  const Codec::Limits limits_;
  std::unique_ptr<RequestParser> parser_;
  Command command_;
  std::string pending_;
  bool closed_ = false;
};

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
  EXPECT_LT(client.parser().held_bytes(), 1100u);
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

}  // namespace
}  // namespace cashew::protocol::redis

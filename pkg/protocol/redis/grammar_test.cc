// What the request parser lets through, told to a real redis. Server connections are
// shared by clients, so each request must have exactly one reply: no input that we accept
// may make a healthy server close, wait or answer twice.

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <memory>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "fmt/format.h"

#include "pkg/protocol/codec.h"
#include "pkg/protocol/memcached/parse_stream.h"
#include "pkg/protocol/redis/command_table.h"
#include "pkg/protocol/redis/reply_parser.h"
#include "pkg/protocol/redis/test_client.h"
#include "test/support/raw_client.h"
#include "test/support/server_process.h"

namespace cashew::protocol::redis {
namespace {

using memcached::Mutate;
using memcached::Scaled;
using Text = std::vector<std::string>;

// A command that waits for longer is not sent.
constexpr int64_t kLongestWaitMs = 20;

// ---- requests, most of them nearly right ------------------------------------------

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  std::string Next() {
    const CommandSpec* spec;
    do {
      spec = &Commands()[Below(Commands().size())];
    } while (spec->handling == Handling::kRefused || spec->handling == Handling::kLocal ||
             spec->handling == Handling::kTransaction);
    std::string request = Encode(Words(*spec));
    if (Below(10) == 0) Mutate(random_, &request);
    return request;
  }
  size_t Below(size_t n) { return random_() % n; }

 private:
  template <size_t N>
  std::string Pick(const std::string_view (&of)[N]) {
    return std::string(of[Below(N)]);
  }

  Text Words(const CommandSpec& spec) {
    // A negative count asks for so many, found or not.
    small_numbers_ = spec.name.find("rand") != std::string_view::npos;
    Text words = Name(spec);
    switch (spec.keys) {
      case KeySpec::kNumkeys:
      case KeySpec::kDestNumkeys:
      case KeySpec::kScript:
        Counted(spec, &words);
        break;
      case KeySpec::kStreams:
        Streams(spec, &words);
        break;
      default:
        break;
    }
    const auto fewest = static_cast<size_t>(std::abs(spec.arity));
    const auto first = static_cast<size_t>(std::max<int>(1, spec.first));
    while (words.size() < fewest) words.push_back(words.size() <= first ? Key() : Any());
    if (spec.arity < 0) {
      for (size_t n = Below(5); n > 0; --n) words.push_back(Any());
    }
    if (Below(12) == 0) words.pop_back();
    if (Below(12) == 0) words.push_back(Any());
    if (spec.handling == Handling::kBlocking && !words.empty()) {
      (spec.keys == KeySpec::kNumkeys && words.size() > 1 ? words[1] : words.back()) = Time();
    }
    return words;
  }

  Text Name(const CommandSpec& spec) {
    std::string name(spec.name);
    if (Below(2) == 0) {
      for (char& c : name) c = c >= 'a' && c <= 'z' && Below(2) == 0 ? c - 32 : c;
    }
    const size_t bar = name.find('|');
    if (bar == std::string::npos) return {name};
    return {name.substr(0, bar), name.substr(bar + 1)};
  }

  void Counted(const CommandSpec& spec, Text* words) {
    while (words->size() < static_cast<size_t>(spec.first)) {
      words->push_back(spec.keys == KeySpec::kScript && words->size() == 1 ? Script() : Key());
    }
    const size_t keys = Below(4);
    words->push_back(Below(10) == 0 ? Number() : std::to_string(keys));
    for (size_t n = keys * static_cast<size_t>(std::max<int>(1, spec.step)); n > 0; --n) {
      words->push_back(Key());
    }
  }

  void Streams(const CommandSpec& spec, Text* words) {
    if (spec.name == "xreadgroup") {
      for (const std::string& word : {std::string("GROUP"), Any(), Any()}) words->push_back(word);
    }
    for (size_t n = Below(3); n > 0; --n) {
      words->push_back(Below(2) == 0 ? "COUNT" : "BLOCK");
      words->push_back(Below(5) == 0 ? Any() : std::to_string(Below(5)));
    }
    if (Below(10) == 0) words->push_back(Any());
    words->push_back("STREAMS");
    const size_t streams = 1 + Below(3);
    for (size_t n = 0; n < streams; ++n) words->push_back(Key());
    for (size_t n = 0; n < streams; ++n) words->push_back(Pick(kIds));
  }

  std::string Key() {
    using std::string_view_literals::operator""sv;
    switch (Below(12)) {
      case 0:
        return "";
      case 1:
        return {static_cast<char>(Below(256)), static_cast<char>(Below(256))};
      case 2:
        return std::string("\r\n*1\r\n$4\r\nQUIT\r\n\0"sv);
      case 3:
        return std::string(Below(2'000), 'k');
      default:
        return fmt::format("key{}", Below(12));
    }
  }
  std::string Number() {
    static constexpr std::string_view kNumbers[] = {"-1",
                                                    "-2",
                                                    "007",
                                                    "65536",
                                                    "2147483647",
                                                    "2147483648",
                                                    "-2147483649",
                                                    "4294967296",
                                                    "9223372036854775807",
                                                    "9223372036854775808",
                                                    "-9223372036854775808",
                                                    "99999999999999999999999",
                                                    "+1",
                                                    "0x10",
                                                    "1.5",
                                                    "1e400",
                                                    "nan",
                                                    "-inf",
                                                    "",
                                                    " 1",
                                                    "x"};
    if (small_numbers_) return std::to_string(static_cast<int>(Below(10)) - 5);
    return Below(3) != 0 ? std::to_string(Below(100)) : Pick(kNumbers);
  }
  std::string Time() {
    static constexpr std::string_view kTimes[] = {"0.001", "0.0001", "1e-3", "0.01", "-1",
                                                  "nan",   "x",      "0",    "inf",  ""};
    return Below(2) == 0 ? "0.001" : Pick(kTimes);
  }
  // What a script may do, it does to the server's data, not to the connection.
  std::string Script() {
    static constexpr std::string_view kScripts[] = {
        "return 1",
        "return {1, 'a', {2, false}, {err='E x'}}",
        "return redis.call('get', KEYS[1])",
        "return redis.call('blpop', KEYS[1], 0)",
        "return redis.call('client', 'reply', 'off')",
        "return redis.call('select', 1)",
        "return redis.call('multi')",
        "return redis.call('subscribe', 'x')",
        "redis.setresp(3); return redis.call('hgetall', KEYS[1])",
        "return redis.status_reply('a\\r\\n+b')",
        "return redis.error_reply('a\\r\\n+b')",
        "return {double=1.5}",
        "return 1.5",
        "return redis.pcall('nosuch')",
        "syntax error",
        "",
    };
    return Pick(kScripts);
  }
  std::string Any() {
    static constexpr std::string_view kWords[] = {
        "NX",       "XX",        "EX",        "PX",         "KEEPTTL", "GET",     "LIMIT",
        "BY",       "STORE",     "COUNT",     "WITHSCORES", "ASC",     "ALPHA",   "LEFT",
        "RIGHT",    "MAXLEN",    "MINID",     "~",          "*",       "0-0",     "$",
        "[a",       "(1",        "+",         "-",          "m",       "km",      "IDX",
        "MATCH",    "FREQ",      "ABSTTL",    "REPLACE",    "GROUP",   "STREAMS", "MKSTREAM",
        "FULL",     "WEIGHTS",   "AGGREGATE", "SUM",        "FIELDS",  "BYTE",    "INCRBY",
        "u8",       "#1",        "AND",       "NOT",        "BEFORE",  "CH",      "FROMLONLAT",
        "BYRADIUS", "STOREDIST", "ANY",       "WITHVALUES", "SAMPLES", "field"};
    switch (Below(5)) {
      case 0:
        return Key();
      case 1:
      case 2:
        return Number();
      default:
        return Below(3) == 0 ? fmt::format("value{}", Below(10)) : Pick(kWords);
    }
  }

  static constexpr std::string_view kIds[] = {"0", "$", ">", "0-0", "1-1", "x", "", "+", "5"};
  std::mt19937 random_;
  bool small_numbers_ = false;
};

// ---- the server -------------------------------------------------------------------

Codec::Limits Everything() {
  Codec::Limits limits;
  limits.cluster_commands = limits.dangerous_commands = true;
  return limits;
}

class RedisGrammar : public testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    port_ = test::FreePort();
    // Strings of a megabyte at most: numbers here are offsets, now and then. Its clock ticks
    // fast: what waits for a millisecond waits for a tick.
    process_ = std::make_unique<test::Process>(
        Text{"redis-server", "--port", std::to_string(port_), "--bind", "127.0.0.1", "--save", "",
             "--proto-max-bulk-len", "1048576", "--hz", "500"});
    ASSERT_TRUE(test::WaitForPort(port_, 10'000)) << "install the package redis-server";
  }
  static void TearDownTestSuite() { process_.reset(); }

  void SetUp() override {
    server_ = std::make_unique<test::RawClient>(port_);
    ASSERT_TRUE(server_->connected());
    if (resp3()) {
      ASSERT_TRUE(server_->Send(Encode({"HELLO", "3"}) + Encode({"PING"})));
      std::string got;
      ASSERT_TRUE(server_->ReadUntil("+PONG\r\n", &got));
    }
  }

  static bool resp3() { return GetParam(); }

  // A client of the version that is tested.
  static std::unique_ptr<Client> NewClient() {
    auto client = std::make_unique<Client>(Everything());
    if (resp3()) client->Ask({"HELLO", "3"});
    return client;
  }

  // Sends `request` and a PING behind it: one reply, as `expect` says, then PONG. Returns
  // the outcome.
  Outcome ExpectOneReply(std::string_view request, Expectation expect) {
    const std::string shown = testing::PrintToString(request.substr(0, 3'000));
    std::string got;
    if (!server_->Send(std::string(request) + Encode({"PING"})) ||
        !server_->ReadUntil("+PONG\r\n", &got)) {
      ADD_FAILURE() << "the server hung up or says no more to " << shown << " after "
                    << testing::PrintToString(got);
      return Outcome::kDesync;
    }
    RedisReplyParser parser(resp3());
    std::vector<Block> blocks;
    std::string_view left = got;
    for (;;) {
      const auto result = parser.Parse(left, &expect, &blocks);
      if (result.status != ParseStatus::kDone) {
        ADD_FAILURE() << "no reply to " << shown << ": " << testing::PrintToString(got);
        return Outcome::kDesync;
      }
      left.remove_prefix(result.consumed);
      if (result.outcome == Outcome::kInterim) continue;
      EXPECT_EQ(left, "+PONG\r\n")
          << "not one reply to " << shown << ": " << testing::PrintToString(got);
      const bool list = expect.reply_kind == static_cast<uint8_t>(ReplyKind::kList);
      if (list && result.outcome == Outcome::kNormal) {
        EXPECT_EQ(blocks.size(), expect.count) << shown;
      }
      return result.outcome;
    }
  }

  // The keys go to three servers, all of which are this one.
  void AskParts(const Seen& seen) {
    Command command;
    command.verb = seen.verb;
    command.merge = seen.merge;
    std::vector<std::string_view> parts[3];
    for (size_t i = 0; i < seen.keys.size(); ++i) {
      parts[KeySignature(seen.keys[i]) % 3].push_back(seen.stretches[i]);
    }
    for (const auto& part : parts) {
      if (part.empty()) continue;
      std::string bytes;
      RedisCodec().EncodePart(command, part, &bytes);
      ExpectOneReply(bytes,
                     {.reply_kind = seen.reply_kind, .count = static_cast<uint32_t>(part.size())});
    }
  }

  // True when something was sent.
  bool Try(const std::string& request) {
    const auto client = NewClient();
    bool sent = false;
    for (const Seen& seen : client->Send(request)) {
      if (seen.action == Action::kSplit) {
        AskParts(seen);
        sent = true;
      }
      if (seen.action != Action::kForward && seen.action != Action::kBroadcast) continue;
      if (seen.lease == Lease::kOnce && (seen.wait_ms <= 0 || seen.wait_ms > kLongestWaitMs)) {
        continue;
      }
      normal_ += ExpectOneReply(seen.sent, {.reply_kind = seen.reply_kind}) == Outcome::kNormal;
      sent = true;
    }
    return sent;
  }

  int normal_ = 0;

 private:
  static uint16_t port_;
  static std::unique_ptr<test::Process> process_;
  std::unique_ptr<test::RawClient> server_;
};

uint16_t RedisGrammar::port_;
std::unique_ptr<test::Process> RedisGrammar::process_;

TEST_P(RedisGrammar, ARequestWithAnotherNumberOfRepliesWouldBeNoticed) {
  EXPECT_NONFATAL_FAILURE(ExpectOneReply("\r\n", {}), "not one reply");
  EXPECT_NONFATAL_FAILURE(ExpectOneReply(Encode({"MULTI"}) + Encode({"EXEC"}), {}),
                          "not one reply");
  EXPECT_NONFATAL_FAILURE(ExpectOneReply(Encode({"QUIT"}), {}), "hung up");
}

TEST_P(RedisGrammar, WhateverIsAcceptedHasExactlyOneReply) {
  int sent = 0;
  int refused = 0;
  for (int seed = 0; seed < Scaled(20); ++seed) {
    Generator generator(static_cast<unsigned>(seed));
    for (int i = 0; i < 1'000; ++i) {
      (Try(generator.Next()) ? sent : refused)++;
      ASSERT_FALSE(HasFailure()) << "seed " << seed << ", request " << i;
    }
  }
  EXPECT_GT(sent, refused) << "the generator should be nearly right";
  EXPECT_GT(normal_, sent / 8) << "and the server agree with it now and then";
}

TEST_P(RedisGrammar, ATransactionHasAsManyRepliesAsItSays) {
  int sent = 0;
  int normal = 0;
  for (int seed = 0; seed < Scaled(300); ++seed) {
    Generator generator(static_cast<unsigned>(seed));
    const auto client = NewClient();
    client->Send(Encode({"MULTI"}));
    for (size_t n = generator.Below(4); n > 0; --n) client->Send(generator.Next());
    if (generator.Below(3) == 0) client->Send(Encode({"PING", "x"}) + Encode({"TIME"}));
    for (const Seen& seen : client->Send(Encode({"EXEC"}))) {
      if (seen.action != Action::kForward) continue;
      ++sent;
      const Outcome outcome =
          ExpectOneReply(seen.sent, {.reply_kind = seen.reply_kind, .interim = seen.interim});
      normal += outcome == Outcome::kNormal;
      ASSERT_FALSE(HasFailure()) << "seed " << seed;
    }
  }
  EXPECT_GT(sent, Scaled(300) / 5);
  EXPECT_GT(normal, 0);
}

INSTANTIATE_TEST_SUITE_P(Protocol, RedisGrammar, testing::Bool(),
                         [](const auto& version) { return version.param ? "Resp3" : "Resp2"; });

}  // namespace
}  // namespace cashew::protocol::redis

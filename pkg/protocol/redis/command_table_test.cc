#include "pkg/protocol/redis/command_table.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "pkg/protocol/redis/keys.h"
#include "test/support/raw_client.h"
#include "test/support/server_process.h"

namespace cashew::protocol::redis {
namespace {

using Text = std::vector<std::string>;

// Sent on a connection that many clients share.
bool IsShared(const CommandSpec& spec) {
  return spec.handling == Handling::kForward || spec.handling == Handling::kSplitList ||
         spec.handling == Handling::kSplitSum || spec.handling == Handling::kSplitOk;
}

bool IsSent(const CommandSpec& spec) {
  return IsShared(spec) || spec.handling == Handling::kBlocking;
}

Text Split(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

std::string Upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return toupper(c); });
  return text;
}

TEST(RedisCommandTable, EachNameHasOneRowInLowerCase) {
  std::set<std::string_view> seen;
  for (const CommandSpec& spec : Commands()) {
    EXPECT_TRUE(seen.insert(spec.name).second) << spec.name;
    EXPECT_TRUE(std::none_of(spec.name.begin(), spec.name.end(), [](unsigned char c) {
      return isupper(c) || isspace(c);
    })) << spec.name;
  }
  EXPECT_GT(seen.size(), 400U);
}

TEST(RedisCommandTable, EveryRowIsFoundInAnyCase) {
  for (const CommandSpec& spec : Commands()) {
    const std::string name(spec.name);
    const size_t bar = std::min(name.find('|'), name.size());
    const std::string first = name.substr(0, bar);
    const std::string second = bar < name.size() ? name.substr(bar + 1) : "";
    bool container = false;
    EXPECT_EQ(FindCommand(first, second, &container), &spec) << name;
    EXPECT_EQ(FindCommand(Upper(first), Upper(second)), &spec) << name;
    if (!second.empty()) {
      EXPECT_TRUE(container) << name;
    }
  }
}

TEST(RedisCommandTable, OnlyContainersLookAtTheFirstArgument) {
  ASSERT_NE(FindCommand("get", "encoding"), nullptr);
  EXPECT_EQ(FindCommand("get", "encoding")->name, "get");
  bool container = true;
  EXPECT_NE(FindCommand("get", "k", &container), nullptr);
  EXPECT_FALSE(container);
  EXPECT_EQ(FindCommand("object", "nonsense", &container), nullptr);
  EXPECT_TRUE(container);
  EXPECT_EQ(FindCommand("object", "", &container), nullptr);
  EXPECT_TRUE(container);
  // One that is a command by itself, too.
  EXPECT_EQ(FindCommand("command", "")->name, "command");
  EXPECT_EQ(FindCommand("command", "count")->name, "command|count");
  EXPECT_EQ(FindCommand("command", "nonsense"), nullptr);
}

TEST(RedisCommandTable, WhatIsNotInTheTableIsNotFound) {
  bool container = true;
  for (const std::string& name :
       {std::string(), std::string("gett"), std::string("ge"), std::string("get\0", 4),
        std::string("\xff"), std::string(40, 'x'), std::string(41, 'x'),
        std::string(1 << 20, 'x')}) {
    EXPECT_EQ(FindCommand(name, "x", &container), nullptr) << name.substr(0, 50);
    EXPECT_FALSE(container);
  }
  EXPECT_EQ(FindCommand("object", std::string(34, 'x')), nullptr);
  EXPECT_EQ(FindCommand("object", std::string(1 << 20, 'x')), nullptr);
}

TEST(RedisCommandTable, SharedConnectionsTakeOnlyWhatDoesNothingToThem) {
  for (const CommandSpec& spec : Commands()) {
    if (IsShared(spec)) {
      EXPECT_EQ(spec.effect, Effect::kNone) << spec.name;
    }
    if (spec.handling == Handling::kBlocking) {
      EXPECT_EQ(spec.effect, Effect::kBlocks) << spec.name;
    }
    if (spec.handling == Handling::kTransaction) {
      EXPECT_EQ(spec.effect, Effect::kTransaction) << spec.name;
    }
  }
}

TEST(RedisCommandTable, WhatIsRefusedIsRefusedWithAReason) {
  for (const CommandSpec& spec : Commands()) {
    const bool refused = spec.handling == Handling::kRefused;
    EXPECT_EQ(refused, !spec.refusal.empty()) << spec.name;
    EXPECT_EQ(spec.refusal.find_first_of("\r\n"), std::string_view::npos) << spec.name;
    if (refused) {
      EXPECT_EQ(spec.nutcracker, kNutcrackerNo) << spec.name;
    }
  }
}

TEST(RedisCommandTable, WhatIsSentHasItsKeysWhereTheArityReaches) {
  for (const CommandSpec& spec : Commands()) {
    if (!IsSent(spec) || spec.name == "lolwut") continue;
    const int fewest = std::abs(spec.arity);
    EXPECT_NE(spec.keys, KeySpec::kNone) << spec.name;
    if (spec.keys == KeySpec::kRange) {
      EXPECT_GT(spec.first, 0) << spec.name;
      EXPECT_LT(spec.first, fewest) << spec.name;
      EXPECT_GT(spec.step, 0) << spec.name;
      EXPECT_TRUE(spec.last < 0 || (spec.last >= spec.first && spec.last < fewest)) << spec.name;
    } else if (spec.keys != KeySpec::kStreams) {
      EXPECT_LT(spec.first, fewest) << spec.name;
    }
    EXPECT_FALSE(spec.read && spec.value) << spec.name;
  }
}

// ---- nutcracker -----------------------------------------------------------------

// As recorded with nutcracker 0.5.0: how many arguments each command takes behind its key.
std::map<std::string, int> NutcrackersCommands() {
  const std::pair<int, const char*> kinds[] = {
      {0,
       "persist pttl ttl type dump decr get getdel incr strlen hgetall hkeys hlen hvals llen scard "
       "smembers zcard"},
      {1,
       "expire expireat pexpire pexpireat append decrby getbit getset incrby incrbyfloat setnx "
       "hexists hget hstrlen lindex rpoplpush sismember zrank zrevrank zscore"},
      {2,
       "getrange psetex setbit setex setrange hincrby hincrbyfloat hsetnx lrange lrem lset ltrim "
       "smove zcount zlexcount zincrby zremrangebylex zremrangebyrank zremrangebyscore"},
      {3, "linsert lmove"},
      {kNutcrackerAny,
       "sort copy bitcount bitpos bitfield exists getex set hdel hmget hmset hscan hset hrandfield "
       "lpush lpushx rpush rpushx lpop rpop lpos sadd sdiff sdiffstore sinter sinterstore srem "
       "sunion sunionstore srandmember sscan spop smismember pfadd pfmerge pfcount zadd zdiff "
       "zdiffstore zinter zinterstore zmscore zpopmax zpopmin zrandmember zrange zrangebylex "
       "zrangebyscore zrangestore zrem zrevrange zrevrangebylex zrevrangebyscore zscan zunion "
       "zunionstore geoadd geodist geohash geopos georadius georadiusbymember geosearch "
       "geosearchstore restore mget del unlink touch"},
      {kNutcrackerPairs, "mset"},
      {kNutcrackerScript, "eval evalsha"},
      {kNutcrackerAlone, "ping quit command"},
      {kNutcrackerFree, "lolwut"},
      {kNutcrackerOne, "auth"},
  };
  std::map<std::string, int> out;
  for (const auto& [kind, names] : kinds) {
    for (const std::string& name : Split(names)) out[name] = kind;
  }
  return out;
}

TEST(RedisCommandTable, KnowsWhatNutcrackerTakes) {
  std::map<std::string, int> wanted = NutcrackersCommands();
  for (const CommandSpec& spec : Commands()) {
    const auto row = wanted.find(std::string(spec.name));
    EXPECT_EQ(spec.nutcracker, row == wanted.end() ? kNutcrackerNo : row->second) << spec.name;
    if (row != wanted.end()) wanted.erase(row);
  }
  EXPECT_TRUE(wanted.empty()) << wanted.begin()->first;
}

bool Takes(const std::string& text) {
  const Text owned = Split(text);
  const std::vector<std::string_view> words(owned.begin(), owned.end());
  const CommandSpec* spec = FindCommand(words[0], words.size() > 1 ? words[1] : "");
  return spec != nullptr && NutcrackerTakes(*spec, words);
}

TEST(RedisCommandTable, NutcrackerCountsArguments) {
  EXPECT_TRUE(Takes("get k") && !Takes("get") && !Takes("get k k"));
  EXPECT_TRUE(Takes("expire k 1") && !Takes("expire k 1 NX"));
  EXPECT_TRUE(Takes("set k") && Takes("set k v EX 1") && !Takes("set"));
  EXPECT_TRUE(Takes("del k") && Takes("del k l") && !Takes("del"));
  EXPECT_TRUE(Takes("mset k v") && Takes("mset k v l w") && !Takes("mset k v l") && !Takes("mset"));
  EXPECT_TRUE(Takes("eval s 1 k") && Takes("eval s 9 k") && Takes("eval s 1 k a"));
  EXPECT_TRUE(!Takes("eval s 0 k") && !Takes("eval s -1 k") && !Takes("eval s 1"));
  EXPECT_TRUE(Takes("ping") && !Takes("ping x") && Takes("quit") && !Takes("quit x"));
  EXPECT_TRUE(Takes("auth p") && !Takes("auth u p") && !Takes("auth"));
  EXPECT_TRUE(Takes("lolwut") && Takes("lolwut VERSION 5"));
  EXPECT_TRUE(Takes("command") && !Takes("command count"));
  EXPECT_TRUE(!Takes("move k 1") && !Takes("multi") && !Takes("blpop k 0") && !Takes("rename k l"));
}

// ---- a real server --------------------------------------------------------------

// A RESP2 reply. `text` is a number's digits, too.
struct Reply {
  char kind = 0;
  std::string text;
  std::vector<Reply> items;

  int number() const { return std::stoi(text); }
};

Reply Decode(std::string_view* in) {
  const size_t end = in->find("\r\n");
  Reply out{in->front(), std::string(in->substr(1, end - 1)), {}};
  in->remove_prefix(end + 2);
  if (out.text == "-1") return out;
  if (out.kind == '$') {
    const size_t size = static_cast<size_t>(out.number());
    out.text = in->substr(0, size);
    in->remove_prefix(size + 2);
  } else if (out.kind == '*') {
    for (int n = out.number(); n > 0; --n) out.items.push_back(Decode(in));
  }
  return out;
}

std::string Encode(const Text& words) {
  std::string out = fmt::format("*{}\r\n", words.size());
  for (const std::string& word : words) out += fmt::format("${}\r\n{}\r\n", word.size(), word);
  return out;
}

// What COMMAND says of one command.
struct Known {
  int arity;
  std::set<std::string> flags;
};

class RedisCommandTableAndServer : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const uint16_t port = test::FreePort();
    server_ = std::make_unique<test::Process>(
        Text{"redis-server", "--port", std::to_string(port), "--bind", "127.0.0.1", "--save", ""});
    ASSERT_TRUE(test::WaitForPort(port, 10'000)) << "install the package redis-server";
    client_ = std::make_unique<test::RawClient>(port);
    const Reply commands = Ask({{"COMMAND"}}).front();
    for (const Reply& command : commands.items) Learn(command);
    ASSERT_GT(known_.size(), 300U);
  }
  static void TearDownTestSuite() {
    client_.reset();
    server_.reset();
    known_.clear();
    containers_.clear();
  }

  // The replies to a pipeline.
  static std::vector<Reply> Ask(const std::vector<Text>& commands) {
    std::string request;
    for (const Text& words : commands) request += Encode(words);
    std::string got;
    EXPECT_TRUE(client_->Send(request + Encode({"ECHO", "that was all"})));
    EXPECT_TRUE(client_->ReadUntil("that was all\r\n", &got));
    std::vector<Reply> out;
    std::string_view left = got;
    for (size_t i = 0; i < commands.size(); ++i) out.push_back(Decode(&left));
    return out;
  }

  static const Known* Find(std::string_view name) {
    const auto found = known_.find(std::string(name));
    return found == known_.end() ? nullptr : &found->second;
  }

  static std::unique_ptr<test::Process> server_;
  static std::unique_ptr<test::RawClient> client_;
  static std::map<std::string, Known> known_;
  static std::set<std::string> containers_;

 private:
  static void Learn(const Reply& command) {
    const std::string& name = command.items[0].text;
    Known known{command.items[1].number(), {}};
    for (const Reply& flag : command.items[2].items) known.flags.insert(flag.text);
    known_[name] = known;
    if (!command.items[9].items.empty()) containers_.insert(name);
    for (const Reply& subcommand : command.items[9].items) Learn(subcommand);
  }
};

std::unique_ptr<test::Process> RedisCommandTableAndServer::server_;
std::unique_ptr<test::RawClient> RedisCommandTableAndServer::client_;
std::map<std::string, Known> RedisCommandTableAndServer::known_;
std::set<std::string> RedisCommandTableAndServer::containers_;

TEST_F(RedisCommandTableAndServer, EveryCommandOfTheServerHasARow) {
  std::set<std::string_view> rows;
  for (const CommandSpec& spec : Commands()) rows.insert(spec.name);
  for (const auto& [name, known] : known_) {
    EXPECT_TRUE(rows.contains(name) || containers_.contains(name)) << name;
  }
}

// Rows whose arity is that of a newer server, and what redis 7.0 says.
const std::map<std::string_view, int> kOldArity = {
    {"zrank", 3},             // WITHSCORE came with 7.2
    {"zrevrank", 3},          // the same
    {"command|getkeys", -4},  // of a command without arguments: 7.2
};

TEST_F(RedisCommandTableAndServer, AritiesAgree) {
  for (const CommandSpec& spec : Commands()) {
    const Known* known = Find(spec.name);
    if (known == nullptr || spec.handling == Handling::kRefused) continue;
    if (known->arity == spec.arity) continue;
    const auto old = kOldArity.find(spec.name);
    EXPECT_TRUE(old != kOldArity.end() && old->second == known->arity)
        << spec.name << " has " << spec.arity << ", the server says " << known->arity;
  }
}

TEST_F(RedisCommandTableAndServer, WhatReadsAndWhatMayTakeMemoryAgrees) {
  for (const CommandSpec& spec : Commands()) {
    const Known* known = Find(spec.name);
    if (known == nullptr || !IsSent(spec) || spec.name == "lolwut") continue;
    EXPECT_EQ(spec.read, known->flags.contains("readonly")) << spec.name;
    // Scripts are refused by what they call, and what blocks is never refused for memory.
    if (spec.keys == KeySpec::kScript || spec.handling == Handling::kBlocking) continue;
    EXPECT_EQ(spec.value, known->flags.contains("denyoom")) << spec.name;
  }
}

TEST_F(RedisCommandTableAndServer, WhatIsMoreThanOneRequestAndOneReplyIsNotShared) {
  // Flags that a command must not have to be sent on a shared connection.
  const std::map<std::string_view, std::string_view> all_the_same = {
      {"xread", "blocks with BLOCK only, and Blocks() then says so"},
      {"xreadgroup", "the same"},
      {"eval", "noscript: a script must not start another; to a connection it is one request"},
      {"eval_ro", "the same"},
      {"evalsha", "the same"},
      {"evalsha_ro", "the same"},
      {"fcall", "the same"},
      {"fcall_ro", "the same"},
  };
  for (const CommandSpec& spec : Commands()) {
    const Known* known = Find(spec.name);
    if (known == nullptr) continue;
    if (spec.handling == Handling::kBlocking) {
      EXPECT_TRUE(known->flags.contains("blocking")) << spec.name;
    }
    if (!IsShared(spec) || all_the_same.contains(spec.name)) continue;
    for (const char* const flag : {"admin", "blocking", "noscript", "pubsub", "no_multi"}) {
      EXPECT_FALSE(known->flags.contains(flag)) << spec.name << " is " << flag;
    }
  }
}

// Words for a row that are right in number, with keys where it has them.
class Generator {
 public:
  Text Words(const CommandSpec& spec) {
    Text out = Split(std::string(spec.name));
    const size_t bar = out[0].find('|');
    if (bar != std::string::npos) out = {out[0].substr(0, bar), out[0].substr(bar + 1)};
    switch (spec.keys) {
      case KeySpec::kNone:
      case KeySpec::kRange:
        Range(spec, &out);
        break;
      case KeySpec::kNumkeys:
      case KeySpec::kDestNumkeys:
      case KeySpec::kScript:
        while (out.size() < static_cast<size_t>(spec.first)) out.push_back(Word());
        Counted(spec, &out);
        break;
      case KeySpec::kStreams:
        Streams(spec, &out);
        break;
      case KeySpec::kSort:
        out.push_back(Word());
        Options({"ASC", "DESC", "ALPHA", "BY pattern", "GET #", "LIMIT 0 1", "BY store",
                 "STORE " + Word(), "store " + Word()},
                &out);
        break;
      case KeySpec::kGeoradius:
        for (int n = 1; n < -spec.arity; ++n)
          out.push_back(n < 3 && Below(4) == 0 ? "STORE" : Word());
        // One destination: of two, redis lists both and uses the last.
        Options({"ASC", "WITHDIST", "COUNT 1", "COUNT 1 ANY", "any"}, &out);
        if (Below(2) == 0) Append((Below(2) == 0 ? "STORE " : "StoreDist ") + Word(), &out);
        Options({"DESC", "WITHHASH"}, &out);
        break;
    }
    return out;
  }

 private:
  size_t Below(size_t n) { return random_() % n; }
  std::string Word() { return fmt::format("w{}", Below(1000)); }
  void Fill(size_t size, Text* out) {
    while (out->size() < size) out->push_back(Word());
  }

  // As many words as the arity asks for, and perhaps more, by whole steps.
  void Range(const CommandSpec& spec, Text* out) {
    const auto fewest = static_cast<size_t>(std::abs(spec.arity));
    // Of PFMERGE without a source redis 7.0 finds no key.
    const size_t least = spec.name == "pfmerge" ? 1 : 0;
    const size_t more = spec.arity < 0 ? (least + Below(4)) * static_cast<size_t>(spec.step) : 0;
    Fill(fewest + more, out);
  }

  void Counted(const CommandSpec& spec, Text* out) {
    const size_t keys = 1 + Below(4) - (spec.keys == KeySpec::kScript && Below(4) == 0 ? 1 : 0);
    out->push_back(std::to_string(keys));
    const size_t fewest = static_cast<size_t>(std::abs(spec.arity));
    Fill(std::max(fewest, out->size() + keys) + Below(3), out);
  }

  void Streams(const CommandSpec& spec, Text* out) {
    if (spec.name == "xreadgroup") {
      for (const char* const word : {"GROUP", "streams", "block"}) out->push_back(word);
    }
    if (Below(2) == 0) Append("COUNT 3", out);
    if (Below(2) == 0) Append("BLOCK 5", out);
    out->push_back("STREAMS");
    const size_t streams = 1 + Below(3);
    Fill(out->size() + 2 * streams, out);
  }

  void Options(const Text& options, Text* out) {
    for (size_t n = Below(4); n > 0; --n) Append(options[Below(options.size())], out);
  }
  static void Append(const std::string& text, Text* out) {
    for (std::string& word : Split(text)) out->push_back(std::move(word));
  }

  std::mt19937 random_{7};
};

Text OurKeys(const CommandSpec& spec, const Text& words) {
  const std::vector<std::string_view> views(words.begin(), words.end());
  std::vector<uint32_t> positions;
  EXPECT_EQ(FindKeys(spec, views, &positions), KeysError::kNone)
      << fmt::format("{}", fmt::join(words, " "));
  Text out;
  for (const uint32_t at : positions) out.push_back(words[at]);
  return out;
}

Text TheirKeys(const Reply& reply) {
  Text out;
  for (const Reply& key : reply.items) out.push_back(key.text);
  return out;
}

TEST_F(RedisCommandTableAndServer, KeysAreWhereTheServerFindsThem) {
  constexpr int kRounds = 50;
  Generator generator;
  size_t rows = 0;
  for (const CommandSpec& spec : Commands()) {
    if (Find(spec.name) == nullptr || spec.keys == KeySpec::kNone) continue;
    if (kOldArity.contains(spec.name)) continue;
    ++rows;
    std::vector<Text> requests;
    std::vector<Text> questions;
    for (int i = 0; i < kRounds; ++i) {
      requests.push_back(generator.Words(spec));
      questions.push_back({"COMMAND", "GETKEYS"});
      questions.back().insert(questions.back().end(), requests.back().begin(),
                              requests.back().end());
    }
    const std::vector<Reply> replies = Ask(questions);
    for (size_t i = 0; i < requests.size(); ++i) {
      const Text ours = OurKeys(spec, requests[i]);
      const std::string shown = fmt::format("{}", fmt::join(requests[i], " "));
      if (replies[i].kind == '-') {  // it has another word for no keys
        EXPECT_TRUE(ours.empty()) << shown << ": " << replies[i].text;
      } else {
        EXPECT_EQ(ours, TheirKeys(replies[i])) << shown;
      }
    }
  }
  EXPECT_GT(rows, 150U);
}

}  // namespace
}  // namespace cashew::protocol::redis

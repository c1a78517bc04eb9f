#include "pkg/protocol/codec.h"

#include <gtest/gtest.h>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fmt/format.h"

#include "pkg/protocol/memcached/command_table.h"
#include "pkg/protocol/memcached/parse_stream.h"

namespace cashew::protocol {
namespace {

using memcached::ReplyKind;

Command Split(std::string_view verb, std::string_view argument) {
  Command command;
  command.action = Action::kSplit;
  command.verb = verb;
  command.verb_argument = argument;
  return command;
}

std::string Encode(const Command& command, const std::vector<std::string_view>& keys) {
  std::string out = "before ";
  MemcachedCodec().EncodePart(command, keys, &out);
  return out;
}

TEST(MemcachedCodec, APartIsARequestForItsKeys) {
  EXPECT_EQ(Encode(Split("get", ""), {"a"}), "before get a\r\n");
  EXPECT_EQ(Encode(Split("gets", ""), {"a", "b", "a"}), "before gets a b a\r\n");
  EXPECT_EQ(Encode(Split("gat", "100"), {"a", "b"}), "before gat 100 a b\r\n");
}

TEST(MemcachedCodec, APartParsesBackToItsKeys) {
  const auto parser = MemcachedCodec().NewRequestParser(memcached::kDefaultLimits);
  const std::vector<std::string_view> keys = {"a", "b", "c"};
  for (const Command& command : {Split("gets", ""), Split("gats", "-1")}) {
    std::string line;
    MemcachedCodec().EncodePart(command, keys, &line);
    Command back;
    EXPECT_EQ(parser->Parse(line, &back).status, ParseStatus::kDone);
    EXPECT_EQ(back.keys, keys);
    EXPECT_EQ(back.verb, command.verb);
    EXPECT_EQ(back.verb_argument, command.verb_argument);
  }
}

TEST(MemcachedCodec, AGetTakesAnyNumberOfKeys) {
  const std::vector<std::string_view> keys(10'000, "a-key-of-some-length");
  EXPECT_EQ(MemcachedCodec().KeysPerPart(Split("get", ""), keys), keys.size());
}

// memcached hangs up on a long line that does not begin with "get " or "gets ".
TEST(MemcachedCodec, AGatTakesAsManyKeysAsFitALine) {
  const std::string longest(250, 'x');
  for (const std::string& key : {std::string("k"), std::string("twenty-bytes-of-key!"), longest}) {
    const std::vector<std::string_view> keys(5'000, key);
    const Command command = Split("gats", "-2147483648");
    const size_t n = MemcachedCodec().KeysPerPart(command, keys);
    ASSERT_GT(n, 0u);
    ASSERT_LT(n, keys.size());
    const auto length = [&](size_t count) {
      std::string line;
      MemcachedCodec().EncodePart(command, std::span(keys).first(count), &line);
      return line.size();
    };
    EXPECT_LE(length(n), 2'048u);
    EXPECT_GT(length(n + 1), 2'000u) << "no fewer than need be";
  }
  const std::vector<std::string_view> few = {"a", "b"};
  EXPECT_EQ(MemcachedCodec().KeysPerPart(Split("gat", "0"), few), 2u);
}

TEST(MemcachedCodec, AProbeIsAnsweredByAVersion) {
  const Codec& codec = MemcachedCodec();
  EXPECT_EQ(codec.ProbeRequest(), "version\r\n");
  const std::string_view reply = "VERSION 1.6.18\r\n";
  for (size_t n = 0; n < reply.size(); ++n) {
    EXPECT_EQ(codec.CheckProbe(reply.substr(0, n)), ParseStatus::kNeedMore) << n;
  }
  EXPECT_EQ(codec.CheckProbe(reply), ParseStatus::kDone);
  for (std::string_view bad :
       {"ERROR\r\n", "-ERR\r\n", "V!", "VERSIONS\r\n", "\r\n", "SERVER_ERROR x\r\n"}) {
    EXPECT_EQ(codec.CheckProbe(bad), ParseStatus::kInvalid) << bad;
  }
}

TEST(MemcachedCodec, ItsOwnRepliesAreLinesOfTheProtocol) {
  const Codec& codec = MemcachedCodec();
  EXPECT_EQ(codec.Error("Connection refused"), "SERVER_ERROR Connection refused\r\n");
  EXPECT_EQ(codec.MergedEnd(Merge::kBlocks), "END\r\n");
  EXPECT_EQ(codec.MergedEnd(Merge::kAgree), "OK\r\n");
  EXPECT_EQ(codec.Miss(static_cast<uint8_t>(ReplyKind::kValues)), "END\r\n");
  EXPECT_EQ(codec.Miss(static_cast<uint8_t>(ReplyKind::kMetaGet)), "EN\r\n");
}

TEST(KeySignature, TellsCommonKeysApartAndIsNeverZero) {
  std::set<uint32_t> seen;
  for (int i = 0; i < 10'000; ++i) {
    const uint32_t signature = KeySignature(fmt::format("user:{}:profile", i));
    EXPECT_NE(signature, 0u);
    seen.insert(signature);
  }
  EXPECT_GT(seen.size(), 9'990u);
  EXPECT_NE(KeySignature(""), 0u);
  EXPECT_EQ(KeySignature("key"), KeySignature(std::string("key")));
  EXPECT_NE(KeySignature("a"), KeySignature(std::string("a\0", 2))) << "the length counts";
}

}  // namespace
}  // namespace cashew::protocol

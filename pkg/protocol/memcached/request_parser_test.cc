#include "pkg/protocol/memcached/request_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/protocol/memcached/command_table.h"
#include "pkg/protocol/memcached/parse_stream.h"

namespace cashew::protocol::memcached {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

Codec::Limits Strict() {
  Codec::Limits limits;
  limits.strict = true;
  return limits;
}

// The one command of `stream`.
Parsed One(std::string_view stream, const Codec::Limits& limits = {}) {
  const std::vector<Parsed> all = ParseStream(stream, {}, limits);
  EXPECT_EQ(all.size(), 1u) << stream.substr(0, 100) << "\n" << Describe(all);
  return all.empty() ? Parsed() : all[0];
}

void ExpectForwarded(std::string_view line, std::string_view sent, std::string_view key) {
  const Parsed p = One(line);
  EXPECT_EQ(p.action, Action::kForward) << line << "\n" << Describe(p);
  EXPECT_EQ(p.sent, sent);
  EXPECT_EQ(p.key, key);
}

// Refused with a line that holds `text`, and the connection goes on in step.
void ExpectRefused(std::string_view line, std::string_view text) {
  const std::vector<Parsed> all = ParseStream(std::string(line) + "get next\r\n");
  ASSERT_EQ(all.size(), 2u) << line.substr(0, 100) << "\n" << Describe(all);
  EXPECT_EQ(all[0].action, Action::kAnswer) << line.substr(0, 100);
  EXPECT_THAT(all[0].answer, HasSubstr(std::string(text))) << line.substr(0, 100);
  EXPECT_FALSE(all[0].close_after) << line.substr(0, 100);
  EXPECT_EQ(all[1].sent, "get next\r\n") << line.substr(0, 100);
}

void ExpectClosed(std::string_view bytes, std::string_view text) {
  const std::vector<Parsed> all = ParseStream(std::string(bytes) + "get next\r\n");
  ASSERT_EQ(all.size(), 1u) << bytes.substr(0, 100) << "\n" << Describe(all);
  EXPECT_EQ(all[0].action, Action::kAnswer);
  EXPECT_THAT(all[0].answer, HasSubstr(std::string(text)));
  EXPECT_TRUE(all[0].close_after) << bytes.substr(0, 100);
}

// ---- every command ------------------------------------------------------------

struct Example {
  std::string_view name;
  std::string_view line;
  Action action;
  std::string_view sent;  // "": the line itself
  std::string_view key;
  ReplyKind kind = ReplyKind::kOk;
  bool is_read = false;
};

constexpr Example kExamples[] = {
    {"get", "get key\r\n", Action::kForward, "", "key", ReplyKind::kValues, true},
    {"gets", "gets key\r\n", Action::kForward, "", "key", ReplyKind::kValues, true},
    {"gat", "gat 100 key\r\n", Action::kForward, "", "key", ReplyKind::kValues},
    {"gats", "gats -1 key\r\n", Action::kForward, "", "key", ReplyKind::kValues},
    {"set", "set key 5 0 2\r\nhi\r\n", Action::kForward, "", "key", ReplyKind::kStored},
    {"add", "add key 4294967295 -1 2\r\nhi\r\n", Action::kForward, "", "key", ReplyKind::kStored},
    {"replace", "replace key 0 0 0\r\n\r\n", Action::kForward, "", "key", ReplyKind::kStored},
    {"append", "append key 0 0 2\r\n\r\n\r\n", Action::kForward, "", "key", ReplyKind::kStored},
    {"prepend", "prepend key 0 0 2\r\nhi\r\n", Action::kForward, "", "key", ReplyKind::kStored},
    {"cas", "cas key 0 0 2 18446744073709551615\r\nhi\r\n", Action::kForward, "", "key",
     ReplyKind::kStored},
    {"delete", "delete key\r\n", Action::kForward, "", "key", ReplyKind::kDeleted},
    {"incr", "incr key 18446744073709551615\r\n", Action::kForward, "", "key", ReplyKind::kNumber},
    {"decr", "decr key 1\r\n", Action::kForward, "", "key", ReplyKind::kNumber},
    {"touch", "touch key -1\r\n", Action::kForward, "", "key", ReplyKind::kTouched},
    {"mg", "mg key v t c O31 k\r\n", Action::kForward, "", "key", ReplyKind::kMetaGet, true},
    {"ms", "ms key 2 T90 F1 MS\r\nhi\r\n", Action::kForward, "", "key", ReplyKind::kMetaSet},
    {"md", "md key C5 I T3\r\n", Action::kForward, "", "key", ReplyKind::kMetaDelete},
    {"ma", "ma key D5 MD N0 J7 v\r\n", Action::kForward, "", "key", ReplyKind::kMetaArithmetic},
    {"me", "me key\r\n", Action::kForward, "", "key", ReplyKind::kMetaDebug},
    {"mn", "mn\r\n", Action::kAnswer, "MN\r\n", ""},
    {"version", "version\r\n", Action::kForward, "", "placeholder", ReplyKind::kVersion},
    {"quit", "quit\r\n", Action::kQuit, "", ""},
    {"stats", "stats\r\n", Action::kStats, "", ""},
    {"flush_all", "flush_all\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
    {"verbosity", "verbosity 1\r\n", Action::kAnswer, "OK\r\n", ""},
    {"cache_memlimit", "cache_memlimit 64\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
    {"config", "config get\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
    {"extstore", "extstore free_memchunks 1 2\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
    {"lru", "lru mode flat\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
    {"lru_crawler", "lru_crawler disable\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
    {"refresh_certs", "refresh_certs\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
    {"reload_auth", "reload_auth\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
    {"shutdown", "shutdown\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
    {"slabs", "slabs reassign 1 2\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
    {"watch", "watch fetchers\r\n", Action::kAnswer, "CLIENT_ERROR", ""},
};

TEST(RequestParser, EveryCommandOfTheTableDoesWhatItsExampleSays) {
  std::map<std::string_view, const Example*> examples;
  for (const Example& e : kExamples) examples[e.name] = &e;
  for (const CommandSpec* spec = CommandsBegin(); spec != CommandsEnd(); ++spec) {
    SCOPED_TRACE(std::string(spec->name));
    ASSERT_EQ(examples.count(spec->name), 1u) << "give the new command an example";
    const Example& e = *examples[spec->name];
    const Parsed p = One(e.line);
    EXPECT_EQ(p.action, e.action) << Describe(p);
    EXPECT_FALSE(p.close_after);
    if (e.action == Action::kAnswer) {
      EXPECT_THAT(p.answer, StartsWith(std::string(e.sent)));
    } else if (e.action == Action::kForward) {
      EXPECT_EQ(p.sent, e.sent.empty() ? e.line : e.sent);
      EXPECT_EQ(p.key, e.key);
      EXPECT_EQ(p.reply_kind, static_cast<uint8_t>(e.kind));
      EXPECT_EQ(p.is_read, e.is_read);
      EXPECT_EQ(p.quiet, Quiet::kNo);
      EXPECT_TRUE(p.expires);
      const bool names_key = e.kind == ReplyKind::kValues;
      EXPECT_EQ(p.signature, names_key ? KeySignature(e.key) : 0u);
      EXPECT_EQ(p.shed_when_full, spec->shape == Shape::kStorage || spec->shape == Shape::kCas ||
                                      spec->shape == Shape::kMetaSet);
    }
  }
  EXPECT_EQ(examples.size(), static_cast<size_t>(CommandsEnd() - CommandsBegin()));
}

TEST(RequestParser, StrictPoolsHangUpOnWhatNutcrackerDoesNotKnow) {
  for (const Example& e : kExamples) {
    const CommandSpec* spec = FindCommand(e.name);
    ASSERT_NE(spec, nullptr);
    // nutcracker takes digits only where memcached takes a sign.
    const std::string_view line = e.name == "add" ? "add key 0 0 2\r\nhi\r\n" : e.line;
    const Parsed p = One(line, Strict());
    EXPECT_EQ(p.status, spec->nutcracker ? ParseStatus::kDone : ParseStatus::kInvalid) << e.name;
    if (spec->nutcracker && e.action == Action::kForward) {
      EXPECT_EQ(p.sent, line);
    }
  }
}

TEST(RequestParser, NamesAreCaseSensitiveAndWhole) {
  for (std::string_view line : {"GET key\r\n", "Get key\r\n", "ge key\r\n", "getx key\r\n",
                                "get\tkey\r\n", "\r\n", " \r\n", "0\r\n"}) {
    ExpectRefused(line, "ERROR\r\n");
    EXPECT_EQ(One(line, Strict()).status, ParseStatus::kInvalid);
  }
}

// ---- lines made fit to forward ---------------------------------------------------

TEST(RequestParser, ExtraSpacesAreTakenOut) {
  ExpectForwarded("  get   key  \r\n", "get key\r\n", "key");
  ExpectForwarded("set  key 0  0 2 \r\nhi\r\n", "set key 0 0 2\r\nhi\r\n", "key");
  ExpectForwarded(" incr key  1\r\n", "incr key 1\r\n", "key");
  ExpectForwarded("gat  0   key\r\n", "gat 0 key\r\n", "key");
  ExpectForwarded("mg  key   v\r\n", "mg key v\r\n", "key");
  ExpectForwarded("delete key \r\n", "delete key\r\n", "key");
  ExpectForwarded("version   please\r\n", "version\r\n", "placeholder");
}

TEST(RequestParser, NoreplyIsTakenOut) {
  for (const auto& [line, sent] : std::vector<std::pair<std::string, std::string>>{
           {"set key 0 0 2 noreply\r\nhi\r\n", "set key 0 0 2\r\nhi\r\n"},
           {"cas key 0 0 2 7 noreply\r\nhi\r\n", "cas key 0 0 2 7\r\nhi\r\n"},
           {"delete key noreply\r\n", "delete key\r\n"},
           {"delete key 0 noreply\r\n", "delete key\r\n"},
           {"incr key 1 noreply\r\n", "incr key 1\r\n"},
           {"decr  key 1  noreply \r\n", "decr key 1\r\n"},
           {"touch key 1 noreply\r\n", "touch key 1\r\n"}}) {
    const Parsed p = One(line);
    EXPECT_EQ(p.action, Action::kForward) << line;
    EXPECT_EQ(p.sent, sent);
    EXPECT_EQ(p.quiet, Quiet::kAll) << line;
    EXPECT_FALSE(p.expires) << "noreply requests do not expire: " << line;
  }
}

TEST(RequestParser, AKeyMayBeCalledNoreply) {
  ExpectForwarded("delete noreply\r\n", "delete noreply\r\n", "noreply");
  ExpectForwarded("get noreply\r\n", "get noreply\r\n", "noreply");
  ExpectForwarded("incr noreply 1\r\n", "incr noreply 1\r\n", "noreply");
  EXPECT_EQ(One("delete noreply noreply\r\n").quiet, Quiet::kAll);
}

TEST(RequestParser, WhoWantsNoReplyGetsNoneToARefusalEither) {
  const std::string long_key(251, 'x');
  for (const std::string& line :
       {"set " + long_key + " 0 0 2 noreply\r\nhi\r\n",
        std::string("set k x 0 2 noreply\r\nhi\r\n"), "incr " + long_key + " 1 noreply\r\n",
        std::string("incr k x noreply\r\n"), std::string("touch k x noreply\r\n"),
        std::string("delete k 1 noreply\r\n"), std::string("verbosity 1 noreply\r\n"),
        std::string("flush_all noreply\r\n")}) {
    const std::vector<Parsed> all = ParseStream(line + "get next\r\n");
    ASSERT_EQ(all.size(), 2u) << line;
    EXPECT_EQ(all[0].action, Action::kAnswer) << line;
    EXPECT_EQ(all[0].answer, "") << line;
  }
}

TEST(RequestParser, DeleteTakesAZeroFromOldClients) {
  ExpectForwarded("delete key 0\r\n", "delete key\r\n", "key");
  ExpectRefused("delete key 1\r\n", "Usage: delete");
  EXPECT_EQ(One("delete key 0\r\n", Strict()).status, ParseStatus::kInvalid);
}

// ---- keys -----------------------------------------------------------------------

TEST(RequestParser, KeysMayHave250Bytes) {
  const std::string longest(250, 'x');
  const std::string longer(251, 'x');
  for (const auto& [before, after] :
       std::vector<std::pair<std::string, std::string>>{{"get ", "\r\n"},
                                                        {"gat 0 ", "\r\n"},
                                                        {"set ", " 0 0 2\r\nhi\r\n"},
                                                        {"cas ", " 0 0 2 1\r\nhi\r\n"},
                                                        {"incr ", " 1\r\n"},
                                                        {"touch ", " 1\r\n"},
                                                        {"delete ", "\r\n"},
                                                        {"mg ", " v\r\n"},
                                                        {"ms ", " 2\r\nhi\r\n"}}) {
    ExpectForwarded(before + longest + after, before + longest + after, longest);
    ExpectRefused(before + longer + after, "longer than 250");
  }
  ExpectRefused("get a " + longer + " b\r\n", "longer than 250");
  EXPECT_EQ(One("get " + longer + "\r\n", Strict()).status, ParseStatus::kInvalid);
}

TEST(RequestParser, KeysMayHaveAnyOtherByte) {
  for (int c = 1; c < 256; ++c) {
    if (c == ' ' || c == '\r' || c == '\n') continue;
    const std::string key = std::string("a") + static_cast<char>(c);
    ExpectForwarded("get " + key + "\r\n", "get " + key + "\r\n", key);
  }
}

TEST(RequestParser, NulInAKeyIsRefused) {
  const std::string key("a\0b", 3);
  ExpectRefused("get " + key + "\r\n", "control character");
  ExpectRefused("get x " + key + "\r\n", "control character");
  ExpectRefused("set " + key + " 0 0 2\r\nhi\r\n", "control character");
  ExpectRefused("delete " + key + "\r\n", "control character");
  ExpectRefused("mg " + key + "\r\n", "control character");
}

TEST(RequestParser, NoCommandIsSmuggledBehindABareLf) {
  for (std::string_view bytes : {"get a\nget b\r\n", "get a\n", "\n", "set k 0 0 2\nhi\r\n",
                                 "get a\r b\r\n", "get a\rb\r\n", "get a\r\r\n", "mg a\n\r\n"}) {
    ExpectClosed(bytes, "CRLF");
    EXPECT_EQ(One(bytes, Strict()).status, ParseStatus::kInvalid);
  }
}

TEST(RequestParser, MultiKeyGetsAreSplit) {
  const Parsed p = One("get a  b a \r\n");
  EXPECT_EQ(p.action, Action::kSplit);
  EXPECT_THAT(p.keys, ElementsAre("a", "b", "a"));
  EXPECT_EQ(p.verb, "get");
  EXPECT_EQ(p.verb_argument, "");
  EXPECT_TRUE(p.is_read);
  const Parsed touched = One("gats 60 a b\r\n");
  EXPECT_EQ(touched.action, Action::kSplit);
  EXPECT_EQ(touched.verb, "gats");
  EXPECT_EQ(touched.verb_argument, "60");
  EXPECT_FALSE(touched.is_read) << "it changes when items expire";
}

TEST(RequestParser, AHundredThousandKeysAreTaken) {
  std::string line = "get";
  for (int i = 0; i < 100'000; ++i) line += fmt::format(" key:{}", i);
  line += "\r\n";
  for (const std::vector<size_t>& cuts :
       {std::vector<size_t>{}, {2'000, 3'000, 500'000}, {1, line.size() - 1}}) {
    const std::vector<Parsed> all = ParseStream(line, cuts);
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].action, Action::kSplit);
    ASSERT_EQ(all[0].keys.size(), 100'000u);
    EXPECT_EQ(all[0].keys.back(), "key:99999");
  }
}

TEST(RequestParser, AHundredThousandSpacesAreTakenOutOfAGet) {
  const std::string spaces(100'000, ' ');
  ExpectForwarded("get" + spaces + "key" + spaces + "\r\n", "get key\r\n", "key");
  ExpectClosed(spaces + "get key\r\n", "too long");
  ExpectClosed("set" + spaces + "key 0 0 2\r\nhi\r\n", "too long");
}

TEST(RequestParser, OnlyAGetsLineMayBeLongerThanMemcachedsLimit) {
  // The line without its LF.
  const auto line = [](std::string_view begin, size_t bytes) {
    return std::string(begin) + std::string(bytes - begin.size() - 1, ' ') + "\r\n";
  };
  EXPECT_EQ(One(line("delete key", kMaxLine)).sent, "delete key\r\n");
  ExpectClosed(line("delete key", kMaxLine + 1), "too long");
  EXPECT_EQ(One(line("get key", kMaxLine + 1)).sent, "get key\r\n");
  ExpectClosed(line("nonsense", kMaxLine + 1), "too long");
  EXPECT_EQ(One(line("delete key", kMaxLine + 1), Strict()).status, ParseStatus::kInvalid);
}

TEST(RequestParser, AnEndlessLineIsGivenUp) {
  Codec::Limits limits;
  limits.max_value = 10'000;
  const auto parser = MemcachedCodec().NewRequestParser(limits);
  const std::string piece(1'000, 'x');
  std::vector<std::string_view> pieces(100, piece);
  const std::vector<Parsed> junk = Feed(*parser, pieces);
  ASSERT_EQ(junk.size(), 1u);
  EXPECT_TRUE(junk[0].close_after);
  const auto getter = MemcachedCodec().NewRequestParser(limits);
  pieces.insert(pieces.begin(), "get ");
  const std::vector<Parsed> get = Feed(*getter, pieces);
  ASSERT_EQ(get.size(), 1u);
  EXPECT_TRUE(get[0].close_after);
}

// ---- values ----------------------------------------------------------------------

TEST(RequestParser, AValueIsAnyBytes) {
  for (std::string value : {std::string(), std::string("\r\n"), std::string("END\r\nget x\r\n"),
                            std::string("\0\n\x80", 3), std::string(100'000, '\n')}) {
    const std::string request = fmt::format("set key 0 0 {}\r\n{}\r\n", value.size(), value);
    ExpectForwarded(request, request, "key");
  }
}

TEST(RequestParser, TellsHowMuchAValueNeeds) {
  const auto parser = MemcachedCodec().NewRequestParser(kDefaultLimits);
  Command command;
  const ParseResult result = parser->Parse("set key 0 0 1000\r\nab", &command);
  EXPECT_EQ(result.status, ParseStatus::kNeedMore);
  EXPECT_EQ(result.consumed, 0u);
  EXPECT_EQ(result.wanted, std::string_view("set key 0 0 1000\r\n").size() + 1002);
}

TEST(RequestParser, AValueWithoutItsCrlfCloses) {
  for (std::string_view bytes :
       {"set k 0 0 2\r\nhixx", "set k 0 0 2\r\nhi\rx", "set k 0 0 2\r\nhix\n",
        "set k 0 0 2\r\nhello\r\n", "ms k 2\r\nhixx", "set k 0 0 0\r\nab"}) {
    ExpectClosed(bytes, "bad data chunk");
    EXPECT_EQ(One(bytes, Strict()).status, ParseStatus::kInvalid);
  }
}

TEST(RequestParser, ALengthThatIsNoneCloses) {
  for (std::string_view length :
       {"-1", "x", "+1", "1x", "0x1", "2147483646", "2147483647", "4294967296",
        "99999999999999999999999", "18446744073709551617"}) {
    ExpectClosed(fmt::format("set k 0 0 {}\r\n", length), "bad data chunk");
    ExpectClosed(fmt::format("ms k {}\r\n", length), "bad data chunk");
    EXPECT_EQ(One(fmt::format("set k 0 0 {}\r\n", length), Strict()).status, ParseStatus::kInvalid);
  }
  ExpectClosed("set k 0 0\r\n", "bad command line");
  ExpectClosed("set\r\n", "bad command line");
  ExpectClosed("ms k\r\n", "bad command line");
  ExpectClosed("ms\r\n", "bad command line");
}

TEST(RequestParser, ABadLineWithAGoodLengthStaysInStep) {
  for (std::string_view line :
       {"set k -1 0 2\r\nhi\r\n", "set k 4294967296 0 2\r\nhi\r\n", "set k x 0 2\r\nhi\r\n",
        "set k 0 2147483648 2\r\nhi\r\n", "set k 0 x 2\r\nhi\r\n", "set k 0 0 2 3\r\nhi\r\n",
        "set k 0 0 2 noreply x\r\nhi\r\n", "cas k 0 0 2\r\nhi\r\n", "cas k 0 0 2 x\r\nhi\r\n",
        "cas k 0 0 2 -1\r\nhi\r\n", "cas k 0 0 2 18446744073709551616\r\nhi\r\n",
        "cas k 0 0 2 noreply\r\nhi\r\n"}) {
    ExpectRefused(line, "bad command line");
    EXPECT_EQ(One(line, Strict()).status, ParseStatus::kInvalid) << line;
  }
}

TEST(RequestParser, ANegativeExptimeIsForwardedUnlessStrict) {
  ExpectForwarded("set k 0 -1 2\r\nhi\r\n", "set k 0 -1 2\r\nhi\r\n", "k");
  EXPECT_EQ(One("set k 0 -1 2\r\nhi\r\n", Strict()).status, ParseStatus::kInvalid);
  EXPECT_EQ(One("touch k -1\r\n", Strict()).sent, "touch k -1\r\n");
}

TEST(RequestParser, AValueTooLargeIsRefusedAndSkipped) {
  Codec::Limits limits;
  limits.max_value = 1'000;
  for (const bool strict : {false, true}) {
    limits.strict = strict;
    const std::string fits = fmt::format("set k 0 0 1000\r\n{}\r\n", std::string(1'000, 'x'));
    EXPECT_EQ(One(fits, limits).sent, fits);
    const std::string value(1'001, '\n');
    const std::string stream = fmt::format(
        "set k 0 0 1001\r\n{}\r\nset k 0 0 1001 noreply\r\n{}\r\nget next\r\n", value, value);
    for (const std::vector<size_t>& cuts :
         {std::vector<size_t>{}, {16}, {17}, {500, 600, 1'017}, {1'018, 1'019, 1'020, 1'021}}) {
      const std::vector<Parsed> all = ParseStream(stream, cuts, limits);
      ASSERT_EQ(all.size(), 3u) << Describe(all);
      EXPECT_EQ(all[0].answer, "SERVER_ERROR object too large for cache\r\n");
      EXPECT_EQ(all[1].answer, "");
      EXPECT_EQ(all[2].sent, "get next\r\n");
    }
  }
}

TEST(RequestParser, AMessageGivenUpIsPassedOver) {
  const auto parser = MemcachedCodec().NewRequestParser(kDefaultLimits);
  Command command;
  std::string stream = "set k 0 0 100\r\n" + std::string(30, '\n');
  ASSERT_EQ(parser->Parse(stream, &command).wanted, 117u);
  parser->SkipMessage();
  stream += std::string(70, '\n') + "\r\nget next\r\n";
  const ParseResult skipped = parser->Parse(stream, &command);
  EXPECT_EQ(skipped.status, ParseStatus::kNeedMore);
  EXPECT_EQ(skipped.consumed, 117u);
  const ParseResult next = parser->Parse(std::string_view(stream).substr(117), &command);
  EXPECT_EQ(next.status, ParseStatus::kDone);
  EXPECT_EQ(command.head, "get next\r\n");
}

// ---- numbers ---------------------------------------------------------------------

TEST(RequestParser, ArithmeticWantsANumber) {
  for (std::string_view delta : {"x", "-1", "+1", "1.5", "18446744073709551616", "0x10"}) {
    ExpectRefused(fmt::format("incr k {}\r\n", delta), "invalid numeric delta");
  }
  ExpectRefused("incr k\r\n", "bad command line");
  ExpectRefused("incr\r\n", "ERROR");
  ExpectRefused("incr k 1 2\r\n", "bad command line");
  // nutcracker forwards a negative delta, to hear memcached's refusal.
  EXPECT_THAT(One("incr k -1\r\n", Strict()).answer, HasSubstr("invalid numeric delta"));
  EXPECT_EQ(One("incr k x\r\n", Strict()).status, ParseStatus::kInvalid);
  EXPECT_EQ(One("touch k\r\n", Strict()).status, ParseStatus::kInvalid);
}

TEST(RequestParser, ExptimesHave32Bits) {
  ExpectRefused("touch k 2147483648\r\n", "invalid exptime");
  ExpectRefused("touch k x\r\n", "invalid exptime");
  ExpectRefused("gat x k\r\n", "invalid exptime");
  ExpectRefused("gat 2147483648 k\r\n", "invalid exptime");
  ExpectRefused("gat\r\n", "invalid exptime");
  ExpectRefused("gat 0\r\n", "ERROR");
  ExpectRefused("get\r\n", "ERROR");
}

// ---- meta commands -----------------------------------------------------------------

TEST(RequestParser, MetaQuietIsTakenOut) {
  for (const auto& [line, sent] : std::vector<std::pair<std::string, std::string>>{
           {"mg key q v\r\n", "mg key v\r\n"},
           {"mg key v q\r\n", "mg key v\r\n"},
           {"ms key 2 q T9\r\nhi\r\n", "ms key 2 T9\r\nhi\r\n"},
           {"md key q\r\n", "md key\r\n"},
           {"ma key q v\r\n", "ma key v\r\n"}}) {
    const Parsed p = One(line);
    EXPECT_EQ(p.sent, sent);
    EXPECT_EQ(p.quiet, Quiet::kNominal);
    EXPECT_TRUE(p.expires) << "its errors are wanted";
  }
  ExpectRefused("me key q\r\n", "invalid flag");
}

TEST(RequestParser, MetaFlagsAreCheckedAsMemcachedDoes) {
  ExpectRefused("mg key ~\r\n", "invalid flag");
  ExpectRefused("mg key v v\r\n", "duplicate flag");
  ExpectRefused("mg key O1 O2\r\n", "duplicate flag");
  ExpectRefused("mg key q q\r\n", "duplicate flag");
  ExpectRefused("mg key #\r\n", "invalid flag");
  ExpectRefused("ma key ?\r\n", "invalid flag");
  ExpectRefused("mg key T\r\n", "bad token");
  ExpectRefused("mg key Tx\r\n", "bad token");
  ExpectRefused("mg key T2147483648\r\n", "bad token");
  ExpectRefused("ms key 2 F4294967296\r\nhi\r\n", "bad token");
  ExpectRefused("ms key 2 C\r\nhi\r\n", "bad token");
  ExpectRefused("ms key 2 ~\r\nhi\r\n", "invalid flag");
  ExpectRefused("ma key D-1\r\n", "bad token");
  ExpectRefused("ma key D18446744073709551616\r\n", "bad token");
  ExpectForwarded("mg key O" + std::string(31, 'x') + "\r\n",
                  "mg key O" + std::string(31, 'x') + "\r\n", "key");
  ExpectRefused("mg key O" + std::string(32, 'x') + "\r\n", "opaque token too long");
  ExpectRefused(std::string("mg key O1\0x v\r\n", 15), "bad token");
  ExpectRefused("mg\r\n", "bad command line");
  std::string many = "mg key";
  for (int i = 0; i < 30; ++i) many += " v";
  ExpectRefused(many + "\r\n", "too long");
}

TEST(RequestParser, EncodedKeysAreDecodedToRoute) {
  ExpectForwarded("mg a2V5 b v\r\n", "mg a2V5 b v\r\n", "key");
  ExpectForwarded("ms aw== 2 b\r\nhi\r\n", "ms aw== 2 b\r\nhi\r\n", "k");
  ExpectForwarded("md a2U= b q\r\n", "md a2U= b\r\n", "ke");
  ExpectForwarded("me AAEC b\r\n", "me AAEC b\r\n", std::string_view("\0\1\2", 3));
  ExpectForwarded("mg a2V5 v\r\n", "mg a2V5 v\r\n", "a2V5");
  ExpectForwarded("ma +/+/ b\r\n", "ma +/+/ b\r\n", "\xfb\xff\xbf");
  for (std::string_view bad : {"a", "ab", "abc", "a===", "====", "=abc", "ab=c", "a-b_", "a*bc"}) {
    ExpectRefused(fmt::format("mg {} b\r\n", bad), "error decoding key");
    ExpectRefused(fmt::format("ms {} 2 b\r\nhi\r\n", bad), "error decoding key");
  }
}

// ---- commands of the proxy's own ---------------------------------------------------

TEST(RequestParser, ADecodedKeyThatWouldEndAReplyLineIsRefusedWhereItIsEchoed) {
  const std::string key = "YQ0KU1RPUkVEDQo=";  // a CRLF STORED CRLF
  ExpectRefused(fmt::format("me {} b\r\n", key), "control character");
  ExpectRefused(fmt::format("mg {} v k b\r\n", key), "control character");
  const std::string harmless = fmt::format("mg {} v b\r\n", key);
  ExpectForwarded(harmless, harmless, "a\r\nSTORED\r\n");
  ExpectForwarded("me Zm9v b\r\n", "me Zm9v b\r\n", "foo");
}

TEST(RequestParser, TheBinaryProtocolIsRefusedByName) {
  ExpectClosed(std::string("\x80\x00\x00\x03", 4), "binary protocol");
  const std::vector<Parsed> all = ParseStream("get a\r\n\x80\x01");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_TRUE(all[1].close_after);
  EXPECT_EQ(One("\x80", Strict()).status, ParseStatus::kInvalid);
}

TEST(RequestParser, NothingIsParsedBehindAQuit) {
  const std::vector<Parsed> all = ParseStream("get a\r\nquit\r\nget b\r\n");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1].action, Action::kQuit);
}

TEST(RequestParser, FlushAllGoesToAllWhenAllowed) {
  Codec::Limits limits;
  limits.allow_flush = true;
  const Parsed p = One("flush_all  10 \r\n", limits);
  EXPECT_EQ(p.action, Action::kBroadcast);
  EXPECT_EQ(p.sent, "flush_all 10\r\n");
  const Parsed quiet = One("flush_all noreply\r\n", limits);
  EXPECT_EQ(quiet.action, Action::kBroadcast);
  EXPECT_EQ(quiet.quiet, Quiet::kAll);
  EXPECT_EQ(quiet.sent, "flush_all\r\n");
  EXPECT_EQ(One("flush_all x\r\n", limits).action, Action::kAnswer);
  EXPECT_EQ(One("flush_all 1 2\r\n", limits).action, Action::kAnswer);
}

TEST(RequestParser, OtherStatsAreRefusedAndVerbosityWantsALevel) {
  ExpectRefused("stats items\r\n", "not available");
  ExpectRefused("verbosity\r\n", "ERROR");
}

// ---- properties ----------------------------------------------------------------------

std::vector<std::string> Streams() {
  std::vector<std::string> streams;
  for (const Example& e : kExamples) streams.emplace_back(e.line);
  for (std::string_view more :
       {"get a b c\r\nget d\r\n", "  get   a \r\nset k 0 0 2 noreply\r\nhi\r\nget b\r\n",
        "set k 0 0 5\r\nEND\r\n\r\nget b\r\n", "set k 0 x 2\r\nhi\r\nget b\r\n", "get a\nget b\r\n",
        "set k 0 0 2\r\nhello\r\nget b\r\n", "mg a2V5 b q v\r\nmn\r\n",
        "bogus\r\nquit\r\nget x\r\n", "ms k 3 q\r\n\r\n\r\r\nmn\r\n", "get a\r\n\x80junk",
        "set k 0 0\r\nget b\r\n", "ms k 2 C5 ~\r\nhi\r\nget b\r\n",
        "cas k 0 0 2 1\r\nhi\r\ndelete k\r\nincr k 1\r\n"}) {
    streams.emplace_back(more);
  }
  return streams;
}

TEST(RequestParser, AnyTwoCutsGiveTheSameCommands) {
  for (const Codec::Limits& limits : {Codec::Limits{}, Strict()}) {
    for (const std::string& stream : Streams()) {
      const std::vector<Parsed> whole = ParseStream(stream, {}, limits);
      for (size_t a = 0; a <= stream.size(); ++a) {
        for (size_t b = a; b <= stream.size(); ++b) {
          const std::vector<Parsed> cut = ParseStream(stream, {a, b}, limits);
          ASSERT_EQ(cut, whole) << stream << "\ncut at " << a << ", " << b << "\n"
                                << Describe(cut) << "instead of\n"
                                << Describe(whole);
        }
      }
      std::vector<size_t> every(stream.size());
      for (size_t i = 0; i < every.size(); ++i) every[i] = i;
      ASSERT_EQ(ParseStream(stream, every, limits), whole) << "byte by byte: " << stream;
    }
  }
}

TEST(RequestParser, AnyCutsOfALongStreamGiveTheSameCommands) {
  std::mt19937 random(20240608);
  Codec::Limits limits;
  limits.max_value = 20'000;
  const std::vector<std::string> parts = Streams();
  for (int i = 0; i < Scaled(1'000); ++i) {
    std::string stream;
    while (stream.size() < 5'000) {
      switch (random() % 8) {
        case 0:
          stream += fmt::format("set key 0 0 3000\r\n{}\r\n", std::string(3'000, '\r'));
          break;
        case 1:
          stream += fmt::format("set key 0 0 30000\r\n{}\r\n", std::string(30'000, 'x'));
          break;
        case 2:
          stream += "get " + std::string(random() % 3'000, ' ') + "key\r\n";
          break;
        case 3:
          stream += (random() % 2 == 0 ? "md" : "get") + std::string(2'030 + random() % 20, ' ') +
                    "k\r\n";
          break;
        default:
          stream += parts[random() % parts.size()];
      }
    }
    if (random() % 4 == 0) Mutate(random, &stream);
    limits.strict = random() % 4 == 0;
    const std::vector<Parsed> whole = ParseStream(stream, {}, limits);
    const std::vector<size_t> cuts = RandomCuts(random, stream.size());
    ASSERT_EQ(ParseStream(stream, cuts, limits), whole)
        << "cut at " << testing::PrintToString(cuts) << "\n"
        << Describe(whole);
  }
}

// What may reach a server, whatever a client sends.
void ExpectFitForAServer(const Parsed& p) {
  if (p.status != ParseStatus::kDone || p.action != Action::kForward) return;
  const size_t end = p.sent.find('\n');
  ASSERT_NE(end, std::string::npos);
  const std::string_view line = std::string_view(p.sent).substr(0, end + 1);
  ASSERT_LE(line.size(), kMaxLine);
  ASSERT_GE(line.size(), 2u);
  ASSERT_EQ(line.substr(line.size() - 2), "\r\n");
  ASSERT_EQ(line.find('\0'), std::string_view::npos);
  ASSERT_EQ(line.find('\r'), line.size() - 2);
  ASSERT_FALSE(p.key.empty());
  ASSERT_LE(p.key.size(), kMaxKey);
  if (p.shed_when_full) {
    ASSERT_EQ(p.sent.substr(p.sent.size() - 2), "\r\n");
    ASSERT_GE(p.sent.size(), line.size() + 2);
  } else {
    ASSERT_EQ(p.sent.size(), line.size()) << "one line, and nothing behind it";
  }
}

TEST(RequestParser, RandomBytesNeverCrashNorReachAServerUnfit) {
  std::mt19937 random(20240609);
  Codec::Limits limits;
  limits.allow_flush = true;
  limits.max_value = 5'000;
  const std::vector<std::string> parts = Streams();
  int forwarded = 0;
  for (int i = 0; i < Scaled(200'000); ++i) {
    std::string stream;
    if (random() % 4 == 0) {
      stream.resize(random() % 100);
      for (char& c : stream) c = static_cast<char>(random());
      if (random() % 2 == 0) stream += "\r\n";
    } else {
      for (unsigned n = 1 + random() % 3; n > 0; --n) stream += parts[random() % parts.size()];
      for (unsigned n = random() % 4; n > 0; --n) Mutate(random, &stream);
    }
    limits.strict = random() % 4 == 0;
    const std::vector<Parsed> whole = ParseStream(stream, {}, limits);
    for (const Parsed& p : whole) {
      ExpectFitForAServer(p);
      if (testing::Test::HasFatalFailure()) FAIL() << testing::PrintToString(stream);
      forwarded += p.action == Action::kForward ? 1 : 0;
    }
    const std::vector<size_t> cuts = RandomCuts(random, stream.size());
    ASSERT_EQ(ParseStream(stream, cuts, limits), whole)
        << testing::PrintToString(stream) << " cut at " << testing::PrintToString(cuts);
  }
  EXPECT_GT(forwarded, 0);
}

}  // namespace
}  // namespace cashew::protocol::memcached

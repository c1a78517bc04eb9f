#include "pkg/protocol/redis/message.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "fmt/format.h"

#include "pkg/protocol/memcached/parse_stream.h"
#include "pkg/protocol/redis/number.h"
#include "pkg/protocol/redis/test_client.h"

namespace cashew::protocol::redis {
namespace {

using memcached::RandomCuts;
using std::string_view_literals::operator""sv;
using Status = MessageReader::Status;

Status ReadExact(MessageReader* reader, std::string_view in, std::vector<Word>* scratch) {
  const std::vector<char> exact(in.begin(), in.end());
  return reader->Read({exact.data(), exact.size()}, scratch);
}

// What one message gave, when it came in pieces.
struct Message {
  Status status = Status::kNeedMore;
  size_t size = 0;
  std::vector<std::string> words;
  std::string problem;
  bool operator==(const Message&) const = default;
};

// Reads the message at the front of `stream`, of which one more piece is there each time.
Message Read(std::string_view stream, std::vector<size_t> cuts = {}, bool cautious = false) {
  MessageReader reader;
  reader.set_cautious(cautious);
  std::vector<Word> scratch;
  Message message;
  size_t known = 0;
  std::sort(cuts.begin(), cuts.end());
  cuts.push_back(stream.size());
  for (const size_t cut : cuts) {
    if (cut == 0) continue;
    message.status = ReadExact(&reader, stream.substr(0, cut), &scratch);
    EXPECT_GE(reader.size_known(), known);
    known = reader.size_known();
    if (message.status == Status::kNeedMore) continue;
    break;
  }
  message.size = reader.size();
  message.problem = reader.problem();
  if (message.status == Status::kDone) {
    EXPECT_LE(known, message.size);
    std::vector<std::string_view> words;
    reader.CopyWords(stream, &words);
    EXPECT_EQ(words.size(), reader.word_count());
    message.words.assign(words.begin(), words.end());
  }
  return message;
}

const std::vector<std::string> kWords = {"SET", "", std::string("\0\r\n$3\r\n*", 9), "x"};

TEST(RedisMessage, ItsWordsAreTakenWhateverTheyHold) {
  const std::string text = Encode(kWords);
  const Message message = Read(text + "*1\r\n$4\r\nNEXT\r\n");
  EXPECT_EQ(message.status, Status::kDone);
  EXPECT_EQ(message.size, text.size());
  EXPECT_EQ(message.words, kWords);
}

TEST(RedisMessage, AnyCutGivesTheSame) {
  const std::string text = Encode(kWords) + "*2\r\n";
  const Message whole = Read(text);
  for (size_t cut = 1; cut < text.size(); ++cut) ASSERT_EQ(Read(text, {cut}), whole) << cut;
  std::vector<size_t> all(text.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  EXPECT_EQ(Read(text, all), whole) << "byte by byte";
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) ASSERT_EQ(Read(text, RandomCuts(random, text.size())), whole);
}

TEST(RedisMessage, APrefixWantsMore) {
  const std::string text = Encode(kWords);
  for (size_t n = 1; n < text.size(); ++n) {
    ASSERT_EQ(Read(text.substr(0, n)).status, Status::kNeedMore) << n;
  }
}

TEST(RedisMessage, ItsSizeIsKnownAsFarAsItsHeadersTell) {
  MessageReader reader;
  std::vector<Word> scratch;
  const std::string text = "*2\r\n$3\r\nGET\r\n$1000\r\n" + std::string(1000, 'x') + "\r\n";
  EXPECT_EQ(ReadExact(&reader, text.substr(0, 7), &scratch), Status::kNeedMore);
  EXPECT_EQ(reader.size_known(), 4u);
  EXPECT_EQ(ReadExact(&reader, text.substr(0, 8), &scratch), Status::kNeedMore);
  EXPECT_EQ(reader.size_known(), 13u);
  EXPECT_EQ(ReadExact(&reader, text.substr(0, 25), &scratch), Status::kNeedMore);
  EXPECT_EQ(reader.size_known(), text.size());
  EXPECT_EQ(ReadExact(&reader, text, &scratch), Status::kDone);
  EXPECT_EQ(reader.size(), text.size());
}

TEST(RedisMessage, AShortHeaderIsReadAsAnyOtherOrLeftToWhoReadsAll) {
  int read = 0;
  for (const std::string digits :
       {"0", "1", "64", "99999", "100000", "007", "00", "", "-1", "1x"}) {
    for (const std::string ending : {"\r\n", "\r\nmore", "\rx", "\n", "\r", ""}) {
      const std::string text = "$" + digits + ending;
      const ShortHeader header = ReadShortHeader(text);
      if (header.size == 0) continue;
      ++read;
      EXPECT_EQ(header.size, digits.size() + 3) << text;
      EXPECT_EQ(header.number, ParseNumber(digits)) << text;
      EXPECT_EQ(ending.substr(0, 2), "\r\n") << text;
    }
  }
  EXPECT_EQ(read, 8) << "0, 1, 64 and 99999, whole";
  EXPECT_EQ(ReadShortHeader("").size, 0u);
  EXPECT_EQ(ReadShortHeader("$").size, 0u);
}

TEST(RedisMessage, NumbersAreTakenOnlyAsEveryRedisTakesThem) {
  for (const char* number : {"-1", "-2", "+3", "03", "00", "-0", " 3", "3 ", "", "x", "3x", "1.0",
                             "0x1", "9223372036854775808", "99999999999999999999"}) {
    const Message count = Read(fmt::format("*{}\r\n", number));
    EXPECT_EQ(count.status, Status::kInvalid) << number;
    EXPECT_EQ(count.problem, "Protocol error: invalid multibulk length") << number;
    const Message length = Read(fmt::format("*1\r\n${}\r\n", number));
    EXPECT_EQ(length.status, Status::kInvalid) << number;
    EXPECT_EQ(length.problem, "Protocol error: invalid bulk length") << number;
  }
  EXPECT_EQ(Read("*1\n$4\nPING\n").status, Status::kInvalid) << "LF alone";
  EXPECT_EQ(Read("*1\r\r\n").status, Status::kInvalid);
  EXPECT_EQ(Read("*" + std::string(31, '1')).status, Status::kInvalid) << "no end in sight";
  EXPECT_EQ(Read("*" + std::string(30, '1')).status, Status::kNeedMore);
}

TEST(RedisMessage, WordsThatAreNotWhatTheirHeadersSayAreOutOfStep) {
  for (const std::string_view text :
       {"*1\r\n:1\r\n"sv, "*1\r\n*1\r\n"sv, "*1\r\nGET\r\n"sv, "*2\r\n$3\r\nGET\r\nkey\r\n"sv,
        "*1\r\n$3\r\nGETS\r\n"sv, "*1\r\n$3\r\nGE\r\n*"sv, "*1\r\n$0\r\nxx"sv, "*1\r\n\r\n"sv}) {
    EXPECT_EQ(Read(text).status, Status::kInvalid) << text;
  }
}

TEST(RedisMessage, LimitsAreThoseOfRedis) {
  EXPECT_EQ(Read(fmt::format("*{}\r\n", kMaxWords)).status, Status::kNeedMore);
  for (const int64_t count : {kMaxWords + 1, int64_t{INT32_MAX}, int64_t{INT64_MAX}}) {
    EXPECT_EQ(Read(fmt::format("*{}\r\n", count)).status, Status::kInvalid) << count;
  }
  EXPECT_EQ(Read(fmt::format("*1\r\n${}\r\n", kMaxWord)).status, Status::kNeedMore);
  EXPECT_EQ(Read(fmt::format("*1\r\n${}\r\n", kMaxWord + 1)).status, Status::kInvalid);
}

TEST(RedisMessage, StrangersMaySayLittle) {
  const std::vector<std::string> ten(10, "x");
  EXPECT_EQ(Read(Encode(ten), {}, true).words, ten);
  const Message eleven = Read("*11\r\n", {}, true);
  EXPECT_EQ(eleven.status, Status::kInvalid);
  EXPECT_EQ(eleven.problem, "Protocol error: unauthenticated multibulk length");
  const std::vector<std::string> long_word = {std::string(16 * 1024, 'x')};
  EXPECT_EQ(Read(Encode(long_word), {}, true).words, long_word);
  const Message longer = Read("*1\r\n$16385\r\n", {}, true);
  EXPECT_EQ(longer.status, Status::kInvalid);
  EXPECT_EQ(longer.problem, "Protocol error: unauthenticated bulk length");
}

TEST(RedisMessage, NothingToDoIsPassedOver) {
  for (const std::string_view text : {"*0\r\n"sv, "\r\n"sv, "\n"sv}) {
    const Message message = Read(std::string(text) + "*1\r\n$4\r\nPING\r\n");
    EXPECT_EQ(message.status, Status::kEmpty) << testing::PrintToString(text);
    EXPECT_EQ(message.size, text.size());
  }
}

TEST(RedisMessage, OfInlineCommandsOnlyThoseOfHealthCheckersAreTaken) {
  for (const std::string_view line : {"PING\r\n"sv, "ping\n"sv, "PiNg\r\n"sv}) {
    for (size_t n = 1; n < line.size(); ++n) {
      ASSERT_EQ(Read(line.substr(0, n)).status, Status::kNeedMore) << line.substr(0, n);
    }
    EXPECT_EQ(Read(line).status, Status::kPing) << line;
    EXPECT_EQ(Read(std::string(line) + "more").size, line.size());
  }
  EXPECT_EQ(Read("quit\r\n").status, Status::kQuit);
  EXPECT_EQ(Read("QUIT\n").status, Status::kQuit);
  for (const std::string_view line :
       {"PIN\r\n"sv, "PINGS\r\n"sv, " PING\r\n"sv, "PING \r\n"sv, "PING x\r\n"sv, "PING\r\r\n"sv,
        "GET a\r\n"sv, "\x04\r\n"sv, "\0PING\r\n"sv, "PIN\0\r\n"sv, "$4\r\nPING\r\n"sv, "\r\r\n"sv,
        "GET / HTTP/1.1\r\n"sv, "\x16\x03\x01\n"sv}) {
    EXPECT_EQ(Read(line).status, Status::kInvalid) << testing::PrintToString(line);
  }
  EXPECT_EQ(Read(std::string(63, 'x')).status, Status::kNeedMore);
  EXPECT_EQ(Read(std::string(64, 'x')).status, Status::kInvalid) << "no inline command is longer";
}

TEST(RedisMessage, BetweenMessagesAReaderHoldsNoMemory) {
  MessageReader reader;
  std::vector<Word> scratch;
  scratch.reserve(100);
  const Word* const memory = scratch.data();
  ASSERT_EQ(ReadExact(&reader, Encode(kWords), &scratch), Status::kDone);
  EXPECT_EQ(scratch.capacity(), 0u) << "it is borrowed";
  reader.Reset(&scratch);
  EXPECT_EQ(scratch.data(), memory);
  EXPECT_TRUE(scratch.empty());
  EXPECT_EQ(reader.word_count(), 0u);
  ASSERT_EQ(ReadExact(&reader, Encode(kWords), &scratch), Status::kDone) << "and can go on";
  reader.Reset(&scratch);
  const std::vector<std::string> many(10'000, "x");
  ASSERT_EQ(ReadExact(&reader, Encode(many), &scratch), Status::kDone);
  reader.Reset(&scratch);
  EXPECT_LE(scratch.capacity(), 4096u) << "the room of a very long message is not kept";
}

TEST(RedisMessage, AnAnnouncedNumberOfWordsReservesNothing) {
  MessageReader reader;
  std::vector<Word> scratch;
  EXPECT_EQ(ReadExact(&reader, "*1048576\r\n$1\r\nx\r\n", &scratch), Status::kNeedMore);
  reader.Reset(&scratch);
  EXPECT_LT(scratch.capacity(), 100u);
}

// Reads `stream` up to `begin`, then skips the rest of the message in pieces. Returns how
// many bytes were taken in all.
size_t SkipFrom(std::string_view stream, size_t begin, size_t piece) {
  MessageReader reader;
  std::vector<Word> scratch;
  EXPECT_EQ(ReadExact(&reader, stream.substr(0, begin), &scratch), Status::kNeedMore);
  size_t at = 0;  // the first call sees the message from its beginning
  size_t end = begin;
  for (;;) {
    const std::vector<char> exact(stream.begin() + static_cast<long>(at),
                                  stream.begin() + static_cast<long>(end));
    size_t taken = 0;
    const Status status = reader.Skip({exact.data(), exact.size()}, &taken);
    EXPECT_LE(taken, exact.size());
    at += taken;
    if (status == Status::kDone) return at;
    if (status != Status::kNeedMore || end == stream.size()) return 0;
    end = std::min(stream.size(), end + piece);
  }
}

TEST(RedisMessage, AMessageThatIsGivenUpEndsWhereItEnds) {
  const std::string text = Encode({"MSET", "a", std::string(50, '\n'), "", "\r\n$9\r\n"});
  const std::string stream = text + Encode({"GET", "a"});
  for (size_t begin = 5; begin < text.size(); ++begin) {
    for (const size_t piece : {1, 2, 7, 1000}) {
      ASSERT_EQ(SkipFrom(stream, begin, piece), text.size()) << begin << " in " << piece;
    }
  }
}

TEST(RedisMessage, WhatIsPassedOverIsNotKept) {
  MessageReader reader;
  std::vector<Word> scratch;
  ASSERT_EQ(ReadExact(&reader, "*3\r\n$1\r\nx\r\n$500000000\r\n", &scratch), Status::kNeedMore);
  size_t taken = 0;
  const std::string start = "*3\r\n$1\r\nx\r\n$500000000\r\nabc";
  EXPECT_EQ(reader.Skip(start, &taken), Status::kNeedMore);
  EXPECT_EQ(taken, start.size()) << "a session may forget all of it";
  EXPECT_EQ(reader.word_count(), 0u);
}

TEST(RedisMessage, WhatIsPassedOverMustBeAMessageToo) {
  for (const std::string_view bad : {"$-1\r\n"sv, "$01\r\n"sv, ":1\r\n"sv, "$536870913\r\n"sv}) {
    MessageReader reader;
    std::vector<Word> scratch;
    ASSERT_EQ(ReadExact(&reader, "*3\r\n$1\r\nx", &scratch), Status::kNeedMore);
    size_t taken = 0;
    EXPECT_EQ(reader.Skip("*3\r\n$1\r\nx\r\n" + std::string(bad), &taken), Status::kInvalid) << bad;
  }
}

}  // namespace
}  // namespace cashew::protocol::redis

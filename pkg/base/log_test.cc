#include "pkg/base/log.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <thread>
#include <type_traits>
#include <unistd.h>
#include <vector>

#include "pkg/base/log_json.h"
#include "pkg/base/secret.h"

namespace cashew::base {
namespace {

// The log is the process's: each test points it at a file of its own.
class LogTest : public testing::Test {
 protected:
  LogTest() {
    char pattern[] = "/tmp/cashew-log-XXXXXX";
    dir_ = mkdtemp(pattern);
    path_ = dir_ + "/proxy.log";
  }
  ~LogTest() override {
    EXPECT_TRUE(InitLog(kDefaultLogLevel, "").ok());
    std::filesystem::remove_all(dir_);
  }

  static std::string Read(const std::string& path) {
    FlushLog();
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }

  std::string dir_;
  std::string path_;
};

TEST_F(LogTest, ALineHasTimeSourceLevelAndText) {
  ASSERT_TRUE(InitLog(5, path_).ok());
  CASHEW_LOG_NOTICE("server ejected pool={} server={}", "alpha", 3);
  EXPECT_THAT(Read(path_),
              testing::MatchesRegex(
                  "\\[[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}\\] "
                  "log_test\\.cc:[0-9]+ notice: server ejected pool=alpha server=3\n"));
}

TEST_F(LogTest, EachLevelWritesItselfAndEverythingMoreSevere) {
  const std::vector<std::pair<int, int>> lines_at_level = {
      {0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}, {7, 8}, {10, 8}, {11, 9}};
  for (const auto& [level, lines] : lines_at_level) {
    const std::string path = path_ + std::to_string(level);
    ASSERT_TRUE(InitLog(level, path).ok());
    CASHEW_LOG_EMERG("x");
    CASHEW_LOG_ALERT("x");
    CASHEW_LOG_CRIT("x");
    CASHEW_LOG_ERROR("x");
    CASHEW_LOG_WARN("x");
    CASHEW_LOG_NOTICE("x");
    CASHEW_LOG_INFO("x");
    CASHEW_LOG_DEBUG("x");
    CASHEW_LOG_TRACE("x");
    const std::string text = Read(path);
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), lines) << "level " << level;
  }
}

TEST_F(LogTest, ArgumentsOfASilentLineAreNotEvaluated) {
  ASSERT_TRUE(InitLog(3, path_).ok());
  int evaluated = 0;
  CASHEW_LOG_DEBUG("{}", ++evaluated);
  EXPECT_EQ(evaluated, 0);
  CASHEW_LOG_ERROR("{}", ++evaluated);
  EXPECT_EQ(evaluated, 1);
}

TEST_F(LogTest, TheLevelStaysBetweenZeroAndEleven) {
  SetLogLevel(99);
  EXPECT_EQ(LogLevel(), 11);
  SetLogLevel(LogLevel() + 1);
  EXPECT_EQ(LogLevel(), 11);
  SetLogLevel(0);
  SetLogLevel(LogLevel() - 1);
  EXPECT_EQ(LogLevel(), 0);
}

TEST_F(LogTest, TheFileIsAppendedToAndCreatedReadableByAllWritableByOne) {
  ASSERT_TRUE(InitLog(5, path_).ok());
  CASHEW_LOG_ERROR("first");
  const mode_t before = umask(0);  // as after daemonizing
  ASSERT_TRUE(InitLog(5, dir_ + "/other.log").ok());
  umask(before);
  ASSERT_TRUE(InitLog(5, path_).ok());
  CASHEW_LOG_ERROR("second");
  const std::string text = Read(path_);
  EXPECT_NE(text.find("first"), std::string::npos);
  EXPECT_NE(text.find("second"), std::string::npos);
  struct stat info;
  ASSERT_EQ(stat((dir_ + "/other.log").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
}

TEST_F(LogTest, AFileThatCannotBeOpenedIsAnErrorThatNamesIt) {
  const absl::Status status = InitLog(5, dir_ + "/no/such/dir.log");
  EXPECT_FALSE(status.ok());
  EXPECT_NE(std::string(status.message()).find("/no/such/dir.log"), std::string::npos);
}

TEST_F(LogTest, ReopenFollowsARotation) {
  ASSERT_TRUE(InitLog(5, path_).ok());
  CASHEW_LOG_ERROR("before");
  FlushLog();
  std::filesystem::rename(path_, path_ + ".1");
  ASSERT_TRUE(ReopenLog().ok());
  CASHEW_LOG_ERROR("after");
  EXPECT_NE(Read(path_ + ".1").find("before"), std::string::npos);
  EXPECT_NE(Read(path_).find("after"), std::string::npos);
  EXPECT_EQ(Read(path_).find("before"), std::string::npos);
}

TEST_F(LogTest, AReopenThatFailsKeepsTheOldFile) {
  ASSERT_TRUE(InitLog(5, path_).ok());
  std::filesystem::rename(path_, path_ + ".1");
  std::filesystem::create_directory(path_);
  EXPECT_FALSE(ReopenLog().ok());
  CASHEW_LOG_ERROR("still here");
  EXPECT_NE(Read(path_ + ".1").find("still here"), std::string::npos);
}

void SayOften(int times) {
  for (int i = 0; i < times; ++i) CASHEW_LOG_ERROR("server refused attempt={}", i);
}

TEST_F(LogTest, APlaceThatRepeatsItselfIsHeldBackAndSaysHowOften) {
  ASSERT_TRUE(InitLog(7, path_).ok());
  SayOften(1000);
  for (int i = 0; i < 1000; ++i) CASHEW_LOG_EACH(kNotice, "listening pool=p{}", i);
  for (int i = 0; i < 1000; ++i) CASHEW_LOG_CRIT("disaster={}", i);
  for (int i = 0; i < 1000; ++i) CASHEW_LOG_INFO("asked for={}", i);
  std::istringstream lines(Read(path_));
  std::map<std::string, int> words;
  int64_t repeated = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string told = "error: lines from here were held back repeated=";
    const size_t at = line.find(told);
    if (at != std::string::npos) repeated += std::stoi(line.substr(at + told.size()));
    for (const char* word : {"refused", "listening", "disaster", "asked"}) {
      if (line.find(word) != std::string::npos) ++words[word];
    }
  }
  // A slow machine may see more than one second begin.
  EXPECT_GE(words["refused"], 50);
  EXPECT_EQ(words["refused"] + repeated, 1000);
  EXPECT_GT(repeated, 0);
  EXPECT_EQ(words["listening"], 1000);
  EXPECT_EQ(words["disaster"], 1000);
  EXPECT_EQ(words["asked"], 1000);
}

TEST_F(LogTest, AsJsonEveryLineParsesWhateverItHolds) {
  ASSERT_TRUE(InitLog(5, path_).ok());
  SetLogFormat(LogFormat::kJson);
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  CASHEW_LOG_NOTICE("hostile key=\"{}\" raw={}", all, "a=b \" c=\"d");
  CASHEW_LOG_WARN("{}", all);
  CASHEW_LOG_NOTICE("server ejected pool={} retry_ms={}", "alpha", int64_t{30000});
  const std::string text = Read(path_);
  SetLogFormat(LogFormat::kText);
  std::vector<nlohmann::json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["msg"], "hostile");
  EXPECT_EQ(lines[0]["raw"], "a=b \" c=\"d");
  EXPECT_EQ(lines[1]["level"], "warn");
  EXPECT_EQ(lines[2]["retry_ms"], 30000);
  EXPECT_THAT(lines[2]["src"].get<std::string>(), testing::MatchesRegex("log_test\\.cc:[0-9]+"));
  EXPECT_THAT(lines[2]["ts"].get<std::string>(),
              testing::MatchesRegex("20[0-9-]+T[0-9:]+\\.[0-9]{6}Z"));
}

// One reader that never reads: the queue fills, callers do not wait, drops are counted.
// The log stays asynchronous for the tests after this one, which flush before they look.
TEST_F(LogTest, AsynchronousLinesAreDroppedAndCountedRatherThanWaitedFor) {
  ASSERT_TRUE(InitLog(5, path_).ok());
  const uint64_t dropped_before = LogDropped();
  StartAsyncLog();
  StartAsyncLog();
  CASHEW_LOG_ERROR("queued");
  EXPECT_NE(Read(path_).find("queued"), std::string::npos);
  EXPECT_EQ(LogDropped(), dropped_before);

  const std::string fifo = dir_ + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const int reader = open(fifo.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  ASSERT_TRUE(InitLog(5, fifo).ok());
  std::vector<std::thread> writers;
  for (int w = 0; w < 4; ++w) {
    writers.emplace_back([] {
      for (int i = 0; i < 5000; ++i) CASHEW_LOG_EACH(kError, "{:0100}", i);
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_GT(LogDropped(), dropped_before);
  std::atomic<bool> done{false};
  std::thread drain([&] {
    std::vector<char> bytes(1 << 20);
    pollfd readable{reader, POLLIN, 0};
    while (!done) {
      if (poll(&readable, 1, 10) > 0) (void)!read(reader, bytes.data(), bytes.size());
    }
  });
  FlushLog();
  ASSERT_TRUE(InitLog(5, path_).ok());
  CASHEW_LOG_ERROR("recovered");
  EXPECT_NE(Read(path_).find("recovered"), std::string::npos);
  done = true;
  drain.join();
  close(reader);
}

TEST(RepeatLimit, PassesFiftyASecondAndTellsTheRestWhenItIsOver) {
  RepeatLimit limit;
  uint32_t left_out = 0;
  int passed = 0;
  for (int i = 0; i < 80; ++i) passed += limit.Admit(1000 + i, &left_out) ? 1 : 0;
  EXPECT_EQ(passed, 50);
  EXPECT_EQ(limit.TakeLeftOut(RepeatLimit::kWindowNs), 0u);  // not over yet
  EXPECT_TRUE(limit.holds_back());
  EXPECT_TRUE(limit.Admit(1000 + RepeatLimit::kWindowNs, &left_out));
  EXPECT_EQ(left_out, 30u);
  EXPECT_TRUE(limit.Admit(1001 + RepeatLimit::kWindowNs, &left_out));
  EXPECT_EQ(left_out, 0u);
}

TEST(RepeatLimit, IsAskedWhenNoLineFollows) {
  RepeatLimit limit;
  uint32_t left_out = 0;
  for (int i = 0; i < 60; ++i) limit.Admit(0, &left_out);
  EXPECT_EQ(limit.TakeLeftOut(RepeatLimit::kWindowNs), 10u);
  EXPECT_EQ(limit.TakeLeftOut(RepeatLimit::kWindowNs), 0u);
  EXPECT_FALSE(limit.holds_back());
}

template <typename... Args>
nlohmann::json Json(fmt::format_string<Args...> format, Args&&... args) {
  return nlohmann::json::parse(
      JsonLine(1'770'000'000'123'456, "notice", "a.cc:1", format, fmt::make_format_args(args...)));
}

TEST(JsonLine, WordsOfTheFormatAreFieldsAndTheRestIsTheMessage) {
  const nlohmann::json line =
      Json("pool runs on {} of {} workers pool={} up={} share={} hint=\"use {}, or {}\" sum={:08x}",
           1, 2, "alpha", true, 0.5, 4, "less", 255u);
  EXPECT_EQ(line.dump(),
            R"({"hint":"use 4, or less","level":"notice","msg":"pool runs on 1 of 2 workers",)"
            R"("pool":"alpha","share":0.5,"src":"a.cc:1","sum":"000000ff",)"
            R"("ts":"2026-02-02T02:40:00.123456Z","up":true})");
}

TEST(JsonLine, ValuesAreNeverTakenForFields) {
  const nlohmann::json line = Json("bad error=\"{}\" pool={}", "x\" level=emerg y=\"", "a b=c");
  EXPECT_EQ(line["error"], "x\" level=emerg y=\"");
  EXPECT_EQ(line["pool"], "a b=c");
  EXPECT_EQ(line["level"], "notice");
  EXPECT_FALSE(line.contains("y"));
  EXPECT_FALSE(line.contains("b"));
}

TEST(JsonLine, BracesAndFieldsThatCarryAReservedNameAreKept) {
  const nlohmann::json line =
      Json("set global: {{grpc: off}} to={{{}}} level={} file={}/{}", 1, "high", "a", "b");
  EXPECT_EQ(line["msg"], "set global: {grpc: off}");
  EXPECT_EQ(line["to"], "{1}");
  EXPECT_EQ(line["level_"], "high");
  EXPECT_EQ(line["file"], "a/b");
}

TEST(Escape, ShowsPrintableBytesAndSpellsOutTheRest) {
  EXPECT_EQ(Escape("get key", 64), "get key");
  EXPECT_EQ(Escape("a\r\nb", 64), "a\\x0d\\x0ab");
  EXPECT_EQ(Escape(std::string_view("\0\x7f\xff", 3), 64), "\\x00\\x7f\\xff");
  EXPECT_EQ(Escape("\\x41", 64), "\\\\x41");
  EXPECT_EQ(Escape("", 64), "");
}

TEST(Escape, MarksWhatItLeavesOut) {
  EXPECT_EQ(Escape("abcdef", 6), "abcdef");
  EXPECT_EQ(Escape("abcdef", 4), "abcd...(2 more)");
  EXPECT_EQ(Escape("abcdef", 0), "...(6 more)");
}

template <typename T, typename = void>
struct Streams : std::false_type {};
template <typename T>
struct Streams<T, std::void_t<decltype(std::declval<std::ostream&>() << std::declval<T>())>>
    : std::true_type {};

TEST(Secret, CannotBeFormattedOrStreamed) {
  EXPECT_FALSE((fmt::is_formattable<Secret>::value));
  EXPECT_FALSE(Streams<Secret>::value);
  EXPECT_EQ(Secret("pw").Reveal(), "pw");
  EXPECT_TRUE(Secret().empty());
  EXPECT_EQ(Secret("a"), Secret("a"));
}

}  // namespace
}  // namespace cashew::base

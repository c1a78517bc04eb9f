#include "cmd/cashew/flags.h"

#include <algorithm>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern char** environ;

namespace cashew {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

FlagsResult Parse(std::vector<std::string> args, std::string program = "/usr/sbin/nutcracker") {
  args.insert(args.begin(), std::move(program));
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  return ParseFlags(static_cast<int>(args.size()), argv.data());
}

TEST(Flags, DefaultsAreNutcrackers) {
  const FlagsResult result = Parse({});
  ASSERT_EQ(result.error, "");
  const Flags& flags = result.flags;
  EXPECT_FALSE(flags.help || flags.version || flags.test_conf || flags.daemonize ||
               flags.describe_stats);
  EXPECT_EQ(flags.verbosity, 5);
  EXPECT_EQ(flags.output, "");
  EXPECT_EQ(flags.conf_file, "conf/nutcracker.yml");
  EXPECT_EQ(flags.stats_addr, "0.0.0.0");
  EXPECT_EQ(flags.stats_port, 22222);
  EXPECT_EQ(flags.stats_interval_ms, 30000);
  EXPECT_EQ(flags.pid_file, "");
  EXPECT_EQ(flags.mbuf_size, 16384u);
}

void ExpectEverythingSet(const FlagsResult& result) {
  ASSERT_EQ(result.error, "");
  const Flags& flags = result.flags;
  EXPECT_TRUE(flags.help && flags.version && flags.test_conf && flags.daemonize &&
              flags.describe_stats);
  EXPECT_EQ(flags.verbosity, 7);
  EXPECT_EQ(flags.output, "/tmp/o");
  EXPECT_EQ(flags.conf_file, "/tmp/c");
  EXPECT_EQ(flags.stats_port, 1234);
  EXPECT_EQ(flags.stats_addr, "127.0.0.1");
  EXPECT_EQ(flags.stats_interval_ms, 200);
  EXPECT_EQ(flags.pid_file, "/tmp/p");
  EXPECT_EQ(flags.mbuf_size, 512u);
}

TEST(Flags, ShortOptionsSetEveryField) {
  ExpectEverythingSet(Parse({"-hVtdD", "-v7", "-o", "/tmp/o", "-c", "/tmp/c", "-s", "1234", "-a",
                             "127.0.0.1", "-i", "200", "-p", "/tmp/p", "-m", "512"}));
}

TEST(Flags, LongOptionsSetEveryFieldAndMayBeAbbreviated) {
  ExpectEverythingSet(
      Parse({"--help", "--version", "--test-conf", "--daemonize", "--describe-stats", "--verbose=7",
             "--output=/tmp/o", "--conf-file", "/tmp/c", "--stats-port=1234", "--stats-addr",
             "127.0.0.1", "--stats-interval=200", "--pid-file=/tmp/p", "--mbuf-size=512"}));
  ExpectEverythingSet(Parse({"--he", "--vers", "--t", "--da", "--de", "--verb=7", "--o=/tmp/o",
                             "--c", "/tmp/c", "--stats-p=1234", "--stats-a", "127.0.0.1",
                             "--stats-i=200", "--p=/tmp/p", "--m=512"}));
}

TEST(Flags, LinesAreTextUnlessJsonIsAskedFor) {
  EXPECT_EQ(Parse({}).flags.log_format, base::LogFormat::kText);
  EXPECT_EQ(Parse({"--log-format", "json"}).flags.log_format, base::LogFormat::kJson);
  EXPECT_EQ(Parse({"--log-format=text"}).flags.log_format, base::LogFormat::kText);
  EXPECT_THAT(Parse({"--log-format=xml"}).error,
              HasSubstr("option --log-format value 'xml' is not a format, give text or json"));
  EXPECT_THAT(Parse({"--log-format"}).error,
              HasSubstr("option --log-format requires text or json"));
}

TEST(Flags, NutcrackersHelpShowsNutcrackersOptions) {
  EXPECT_THAT(UsageText("cashew"), HasSubstr("--log-format"));
  EXPECT_THAT(UsageText("nutcracker"), testing::Not(HasSubstr("--log-format")));
}

TEST(Flags, VerbosityIsAnotherNameForVerbose) {
  EXPECT_EQ(Parse({"--verbosity=9"}).flags.verbosity, 9);
  EXPECT_EQ(Parse({"--verbosity", "9"}).flags.verbosity, 9);
}

TEST(Flags, VerbosityAboveElevenIsEleven) {
  EXPECT_EQ(Parse({"-v", "99"}).flags.verbosity, 11);
  EXPECT_EQ(Parse({"-v", "99999999999999999999999"}).flags.verbosity, 11);
}

TEST(Flags, NumbersAreDecimalWithLeadingZerosAllowed) {
  EXPECT_EQ(Parse({"-s", "00080"}).flags.stats_port, 80);
}

TEST(Flags, ArgumentsThatAreNotOptionsAreIgnored) {
  const FlagsResult result = Parse({"foo", "-v", "3", "bar", "--", "-X"});
  EXPECT_EQ(result.error, "");
  EXPECT_EQ(result.flags.verbosity, 3);
}

TEST(Flags, ErrorsBeginWithTheNameTheProgramWasCalledBy) {
  EXPECT_THAT(Parse({"-X"}, "/usr/bin/cashew").error, StartsWith("cashew: "));
  EXPECT_THAT(Parse({"-X"}, "nutcracker").error, StartsWith("nutcracker: "));
  EXPECT_EQ(Parse({}, "./cashew").program, "cashew");
  EXPECT_EQ(ParseFlags(0, nullptr).program, "cashew");
}

TEST(Flags, AStatsIntervalThatWouldSpinOrWrapIsRefusedWithTheReason) {
  EXPECT_THAT(Parse({"-i", "0"}).error, HasSubstr("option -i value 0 is not a valid interval"));
  EXPECT_THAT(Parse({"-i", "2147483648"}).error, HasSubstr("not a valid interval"));
  EXPECT_THAT(Parse({"-i", "4294967296"}).error, HasSubstr("not a valid interval"));
  EXPECT_EQ(Parse({"-i", "2147483647"}).flags.stats_interval_ms, 2147483647);
}

TEST(Flags, AnUnknownLongOptionIsNamed) {
  EXPECT_EQ(Parse({"--foo"}).error, "nutcracker: invalid option -- 'foo'");
  EXPECT_EQ(Parse({"--ver"}).error, "nutcracker: invalid option -- 'ver'");
}

TEST(Flags, BytesOfAnUnknownOptionAreEscaped) {
  EXPECT_EQ(Parse({"-\x01"}).error, "nutcracker: invalid option -- '\\x01'");
  EXPECT_EQ(Parse({"-\xff"}).error, "nutcracker: invalid option -- '\\xff'");
}

TEST(Flags, TheVersionBannerNamesTheProgram) {
  EXPECT_THAT(VersionText("nutcracker"), StartsWith("This is nutcracker-"));
  EXPECT_THAT(VersionText("cashew"), StartsWith("This is cashew-"));
}

// The real nutcracker, for comparison.

constexpr char kNutcracker[] = "/usr/sbin/nutcracker";
constexpr char kInstall[] =
    "this test compares with the real nutcracker: apt-get install nutcracker";

struct Output {
  int exit_code = -1;
  std::string err;
};

Output RunNutcracker(std::vector<std::string> args) {
  args.insert(args.begin(), kNutcracker);
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, kNutcracker, &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  Output output;
  char buffer[4096];
  for (ssize_t n; !failed && (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
    output.err.append(buffer, static_cast<size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  if (!failed && waitpid(pid, &status, 0) == pid && WIFEXITED(status)) {
    output.exit_code = WEXITSTATUS(status);
  }
  return output;
}

bool NutcrackerIsInstalled() { return access(kNutcracker, X_OK) == 0; }

std::vector<std::string> Lines(std::string text) {
  text.erase(std::remove(text.begin(), text.end(), '\r'), text.end());
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// The version and the default files are each build's own.
std::vector<std::string> WithoutBuildsOwn(std::vector<std::string> lines) {
  const auto cut_after = [](std::string_view mark, std::string* line) {
    const size_t at = line->find(mark);
    if (at != std::string::npos) line->resize(at + mark.size());
  };
  for (std::string& line : lines) {
    cut_after("This is nutcracker-", &line);
    cut_after("set logging file (default: ", &line);
    cut_after("set configuration file (default: ", &line);
    cut_after("set pid file (default: ", &line);
  }
  return lines;
}

TEST(FlagsAgainstNutcracker, BadCommandLinesGetTheSameErrorLine) {
  ASSERT_TRUE(NutcrackerIsInstalled()) << kInstall;
  const std::vector<std::vector<std::string>> table = {
      {"-X"},
      {"-V", "-X"},
      {"-?"},
      {"-:"},
      {"-d=3"},
      {"-dX"},
      {"-o"},
      {"-c"},
      {"-p"},
      {"-v"},
      {"-s"},
      {"-i"},
      {"-m"},
      {"-a"},
      {"--output"},
      {"--conf-file"},
      {"--stats-port"},
      {"--stats-addr"},
      {"--mbuf-size"},
      {"--help=3"},
      {"--version=3"},
      {"-v", "-1"},
      {"-v", "x"},
      {"-v", "5k"},
      {"-v", "0x10"},
      {"-v", ""},
      {"--verbose="},
      {"-s", "0"},
      {"-s", "65536"},
      {"-s", "x"},
      {"-s", ""},
      {"-s", "00070000"},
      {"-i", "x"},
      {"-i", "-1"},
      {"-i", ""},
      {"-m", "0"},
      {"-m", "x"},
      {"-m", ""},
      {"-m", "511"},
      {"-m", "16777217"},
      {"--mbuf-size=3"},
      {"-h", "-m", "1"},
      {"-V", "-t", "-s", "99999"},
  };
  for (const std::vector<std::string>& args : table) {
    const Output nutcracker = RunNutcracker(args);
    const FlagsResult ours = Parse(args);
    EXPECT_EQ(nutcracker.exit_code, 1) << testing::PrintToString(args);
    EXPECT_EQ(ours.error, Lines(nutcracker.err).at(0)) << testing::PrintToString(args);
  }
}

TEST(FlagsAgainstNutcracker, GoodCommandLinesAreGood) {
  ASSERT_TRUE(NutcrackerIsInstalled()) << kInstall;
  const std::vector<std::vector<std::string>> table = {
      {"-V"},
      {"-hV"},
      {"-V", "-d"},
      {"-v", "99", "-V"},
      {"-v", "99999999999", "-V"},
      {"--verb", "3", "-V"},
      {"-s", "00080", "-V"},
      {"-a", "x", "-V"},
      {"-a", "", "-V"},
      {"-o", "", "-V"},
      {"-m", "512", "-V"},
      {"-m", "16777216", "-V"},
      {"-i", "1", "-V"},
      {"-i", "2147483647", "-V"},
      {"foo", "bar", "-V"},
      {"-", "-V"},
      {"-V", "--", "-X"},
      {"-V", "-t", "-c", "/nonexistent"},
  };
  for (const std::vector<std::string>& args : table) {
    EXPECT_EQ(RunNutcracker(args).exit_code, 0) << testing::PrintToString(args);
    const FlagsResult ours = Parse(args);
    EXPECT_EQ(ours.error, "") << testing::PrintToString(args);
    EXPECT_TRUE(ours.flags.version) << testing::PrintToString(args);
  }
}

TEST(FlagsAgainstNutcracker, HelpAndVersionHaveTheSameShape) {
  ASSERT_TRUE(NutcrackerIsInstalled()) << kInstall;
  const auto shape = [](const std::string& text) { return WithoutBuildsOwn(Lines(text)); };
  EXPECT_EQ(shape(VersionText("nutcracker")), shape(RunNutcracker({"-V"}).err));
  EXPECT_EQ(shape(VersionText("nutcracker") + UsageText("nutcracker")),
            shape(RunNutcracker({"-h"}).err));
}

}  // namespace
}  // namespace cashew

#include "cmd/cashew/flags.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <getopt.h>
#include <limits>
#include <optional>

#include "pkg/base/build_info.h"
#include "pkg/base/log.h"

namespace cashew {

namespace {

constexpr uint64_t kMinMbufSize = 512;
constexpr uint64_t kMaxMbufSize = 16777216;
constexpr uint64_t kMaxInterval = std::numeric_limits<int32_t>::max();

// Options without a letter; above any.
constexpr int kLogFormat = 256;

constexpr char kShortOptions[] = "hVtdDv:o:c:s:a:i:p:m:";

// --verbosity is ours, beside nutcracker's --verbose; sharing a value keeps `--verb` unambiguous.
constexpr option kLongOptions[] = {
    {"help", no_argument, nullptr, 'h'},
    {"version", no_argument, nullptr, 'V'},
    {"test-conf", no_argument, nullptr, 't'},
    {"daemonize", no_argument, nullptr, 'd'},
    {"describe-stats", no_argument, nullptr, 'D'},
    {"verbose", required_argument, nullptr, 'v'},
    {"verbosity", required_argument, nullptr, 'v'},
    {"output", required_argument, nullptr, 'o'},
    {"conf-file", required_argument, nullptr, 'c'},
    {"stats-port", required_argument, nullptr, 's'},
    {"stats-addr", required_argument, nullptr, 'a'},
    {"stats-interval", required_argument, nullptr, 'i'},
    {"pid-file", required_argument, nullptr, 'p'},
    {"mbuf-size", required_argument, nullptr, 'm'},
    {"log-format", required_argument, nullptr, kLogFormat},
    {nullptr, 0, nullptr, 0},
};

// Shown after nutcracker's.
constexpr std::string_view kOurOptions =
    "  --log-format=S         : set shape of log lines, text or json (default: text)\n";

// What an option without its argument asks for. nutcracker: nc.c, nc_get_options()
struct Requirement {
  char option;
  std::string_view text;
};
constexpr Requirement kRequirements[] = {
    {'o', "a file name"}, {'c', "a file name"}, {'p', "a file name"}, {'v', "a number"},
    {'s', "a number"},    {'i', "a number"},    {'m', "a number"},    {'a', "a string"},
};

std::string Requires(char option, std::string_view what) {
  return fmt::format("option -{} requires {}", option, what);
}

// Decimal digits only; a value beyond uint64_t is its maximum. Nothing for other text.
std::optional<uint64_t> ParseDigits(std::string_view text) {
  if (text.empty()) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<uint64_t>(c - '0');
    if (value > (std::numeric_limits<uint64_t>::max() - digit) / 10) {
      value = std::numeric_limits<uint64_t>::max();
    } else {
      value = value * 10 + digit;
    }
  }
  return value;
}

// Each setter returns the error, or nothing when the value was good.
using Error = std::string;

Error SetVerbosity(std::string_view text, Flags* flags) {
  const std::optional<uint64_t> value = ParseDigits(text);
  if (!value) return Requires('v', "a number");
  flags->verbosity = static_cast<int>(std::min<uint64_t>(*value, base::kMaxLogLevel));
  return "";
}

Error SetStatsPort(std::string_view text, Flags* flags) {
  const std::optional<uint64_t> value = ParseDigits(text);
  if (!value) return Requires('s', "a number");
  if (*value < 1 || *value > 65535) {
    return fmt::format("option -s value {} is not a valid port", *value);
  }
  flags->stats_port = static_cast<int>(*value);
  return "";
}

Error SetStatsInterval(std::string_view text, Flags* flags) {
  const std::optional<uint64_t> value = ParseDigits(text);
  if (!value) return Requires('i', "a number");
  if (*value < 1 || *value > kMaxInterval) {
    return fmt::format("option -i value {} is not a valid interval, give 1 to {} (milliseconds)",
                       *value, kMaxInterval);
  }
  flags->stats_interval_ms = static_cast<int64_t>(*value);
  return "";
}

Error SetMbufSize(std::string_view text, Flags* flags) {
  const std::optional<uint64_t> value = ParseDigits(text);
  if (!value || *value == 0) return Requires('m', "a non-zero number");
  if (*value < kMinMbufSize || *value > kMaxMbufSize) {
    return fmt::format("mbuf chunk size must be between {} and {} bytes", kMinMbufSize,
                       kMaxMbufSize);
  }
  flags->mbuf_size = static_cast<size_t>(*value);
  return "";
}

Error SetLogFormat(std::string_view text, Flags* flags) {
  if (text == "json") {
    flags->log_format = base::LogFormat::kJson;
  } else if (text == "text") {
    flags->log_format = base::LogFormat::kText;
  } else {
    return fmt::format("option --log-format value '{}' is not a format, give text or json",
                       base::Escape(text, 64));
  }
  return "";
}

// `last` is the argument getopt_long stopped at.
Error DescribeUnknown(int option, std::string_view last) {
  if (option == kLogFormat) return "option --log-format requires text or json";
  for (const Requirement& requirement : kRequirements) {
    if (requirement.option == option) return Requires(requirement.option, requirement.text);
  }
  // getopt_long knows no letter for an unknown long option, where nutcracker prints a NUL.
  if (option == 0 && last.substr(0, 2) == "--") {
    return fmt::format("invalid option -- '{}'", base::Escape(last.substr(2), 64));
  }
  const char letter = static_cast<char>(option);
  return fmt::format("invalid option -- '{}'", base::Escape({&letter, 1}, 1));
}

Error Apply(int option, std::string_view last, Flags* flags) {
  switch (option) {
    case 'h':
      flags->help = true;
      return "";
    case 'V':
      flags->version = true;
      return "";
    case 't':
      flags->test_conf = true;
      return "";
    case 'd':
      flags->daemonize = true;
      return "";
    case 'D':
      flags->describe_stats = true;
      return "";
    case 'o':
      flags->output = optarg;
      return "";
    case 'c':
      flags->conf_file = optarg;
      return "";
    case 'a':
      flags->stats_addr = optarg;
      return "";
    case 'p':
      flags->pid_file = optarg;
      return "";
    case 'v':
      return SetVerbosity(optarg, flags);
    case 's':
      return SetStatsPort(optarg, flags);
    case 'i':
      return SetStatsInterval(optarg, flags);
    case 'm':
      return SetMbufSize(optarg, flags);
    case kLogFormat:
      return SetLogFormat(optarg, flags);
    default:
      return DescribeUnknown(optopt, last);
  }
}

std::string ProgramName(int argc, char** argv) {
  const std::string_view path = argc > 0 && argv[0] != nullptr ? argv[0] : "";
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return name.empty() ? "cashew" : std::string(name);
}

}  // namespace

FlagsResult ParseFlags(int argc, char** argv) {
  FlagsResult result;
  result.program = ProgramName(argc, argv);
  if (argc < 1) return result;
  opterr = 0;
  optind = 0;  // glibc: start over, whoever called getopt before
  for (;;) {
    const int option = getopt_long(argc, argv, kShortOptions, kLongOptions, nullptr);
    if (option == -1) return result;
    const char* last = optind > 0 && optind <= argc ? argv[optind - 1] : "";
    const Error error = Apply(option, last, &result.flags);
    if (!error.empty()) {
      result.error = fmt::format("{}: {}", result.program, error);
      return result;
    }
  }
}

std::string UsageText(std::string_view program) {
  const Flags defaults;
  const std::string indent(std::string_view("Usage: ").size() + program.size() + 1, ' ');
  return fmt::format(
      "Usage: {program} [-?hVdDt] [-v verbosity level] [-o output file]\n"
      "{indent}[-c conf file] [-s stats port] [-a stats addr]\n"
      "{indent}[-i stats interval] [-p pid file] [-m mbuf size]\n"
      "\n"
      "Options:\n"
      "  -h, --help             : this help\n"
      "  -V, --version          : show version and exit\n"
      "  -t, --test-conf        : test configuration for syntax errors and exit\n"
      "  -d, --daemonize        : run as a daemon\n"
      "  -D, --describe-stats   : print stats description and exit\n"
      "  -v, --verbose=N        : set logging level (default: {verbosity}, min: {min}, max: "
      "{max})\n"
      "  -o, --output=S         : set logging file (default: stderr)\n"
      "  -c, --conf-file=S      : set configuration file (default: {conf})\n"
      "  -s, --stats-port=N     : set stats monitoring port (default: {port})\n"
      "  -a, --stats-addr=S     : set stats monitoring ip (default: {addr})\n"
      "  -i, --stats-interval=N : set stats aggregation interval in msec (default: {interval} "
      "msec)\n"
      "  -p, --pid-file=S       : set pid file (default: off)\n"
      "  -m, --mbuf-size=N      : set size of mbuf chunk in bytes (default: {mbuf} bytes)\n"
      "{ours}"
      "\n",
      fmt::arg("program", program), fmt::arg("indent", indent),
      fmt::arg("verbosity", defaults.verbosity), fmt::arg("min", base::kMinLogLevel),
      fmt::arg("max", base::kMaxLogLevel), fmt::arg("conf", defaults.conf_file),
      fmt::arg("port", defaults.stats_port), fmt::arg("addr", defaults.stats_addr),
      fmt::arg("interval", defaults.stats_interval_ms), fmt::arg("mbuf", defaults.mbuf_size),
      fmt::arg("ours", program == "nutcracker" ? std::string_view() : kOurOptions));
}

std::string VersionText(std::string_view program) {
  return fmt::format("This is {}-{}\nasync event backend: epoll\n\n", program, base::kVersion);
}

}  // namespace cashew

// The proxy's command line: nutcracker 0.5.0's, option by option, and --log-format.
//
//   const FlagsResult parsed = ParseFlags(argc, argv);
//   if (!parsed.error.empty()) { Print(parsed.error, UsageText(parsed.program)); return 1; }
//
// All options are read before any acts, so an error wins over -h and -V; afterwards
// -h, -V and -D come before -t, and -t before running. Everything printed goes to stderr.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "pkg/base/log.h"

namespace cashew {

struct Flags {
  bool help = false;
  bool version = false;
  bool test_conf = false;
  bool daemonize = false;
  bool describe_stats = false;
  int verbosity = 5;   // 0..11; above is clamped
  std::string output;  // empty: stderr
  base::LogFormat log_format = base::LogFormat::kText;
  std::string conf_file = "conf/nutcracker.yml";
  std::string stats_addr = "0.0.0.0";
  int stats_port = 22222;             // 1..65535
  int64_t stats_interval_ms = 30000;  // at least 1: nutcracker's 0 made two threads spin
  std::string pid_file;               // empty: none
  size_t mbuf_size = 16384;           // bytes, 512..16777216
};

struct FlagsResult {
  Flags flags;          // complete only when `error` is empty
  std::string error;    // one line without its end, beginning with `program`
  std::string program;  // what the program was called, without its folder
};

// Arguments that are not options are ignored, as in nutcracker; argv may be reordered.
// Not thread-safe (getopt_long).
FlagsResult ParseFlags(int argc, char** argv);

// What follows the version banner of -h, and the error line of a wrong option. Called
// nutcracker, the program shows nutcracker's options alone.
std::string UsageText(std::string_view program = "cashew");

// The banner of -V, -h and -D: `This is <program>-<version>`, the event backend, an empty line.
// Scripts match its first line.
std::string VersionText(std::string_view program = "cashew");

}  // namespace cashew

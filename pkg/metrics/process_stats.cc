#include "pkg/metrics/process_stats.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

namespace cashew::metrics {
namespace {

std::optional<double> CpuSeconds() {
  timespec t;
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0) return std::nullopt;
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

std::optional<double> ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double total_pages = 0, resident_pages = 0;
  if (!(statm >> total_pages >> resident_pages)) return std::nullopt;
  return resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

std::optional<double> OpenFds() {
  std::error_code error;
  std::filesystem::directory_iterator fds("/proc/self/fd", error);
  double count = 0;
  while (!error && fds != std::filesystem::directory_iterator()) {
    ++count;
    fds.increment(error);
  }
  if (error) return std::nullopt;
  return count - 1;  // one of them is the directory being read
}

std::optional<double> MaxFds() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::nullopt;
  return static_cast<double>(limit.rlim_cur);
}

// Seconds since the epoch at which the kernel started counting ticks.
std::optional<double> BootTime() {
  std::ifstream stat("/proc/stat");
  for (std::string key; stat >> key; stat.ignore(1 << 20, '\n')) {
    double value = 0;
    if (key == "btime" && stat >> value) return value;
  }
  return std::nullopt;
}

// proc(5): the program's name, field 2, is in parentheses and may hold anything;
// starttime is field 22, in ticks since boot.
std::optional<double> StartTicks() {
  std::ifstream stat("/proc/self/stat");
  std::string line;
  std::getline(stat, line);
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double ticks = 0;
  if (!(fields >> ticks)) return std::nullopt;
  return ticks;
}

std::optional<double> StartTimeSeconds() {
  const std::optional<double> boot = BootTime();
  const std::optional<double> ticks = StartTicks();
  if (!boot || !ticks) return std::nullopt;
  return *boot + *ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

ProcessStats ReadProcessStats() {
  return {CpuSeconds(), ResidentBytes(), OpenFds(), MaxFds(), StartTimeSeconds()};
}

}  // namespace cashew::metrics

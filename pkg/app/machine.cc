#include "pkg/app/machine.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sched.h>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

namespace cashew::app {
namespace {

// Inside a container the process's own cgroup is the root of what it sees; both
// versions' files are looked for there.
std::optional<int64_t> ReadNumber(const char* path) {
  std::ifstream file(path);
  int64_t n = 0;
  if (file >> n) return n;
  return std::nullopt;  // absent, or "max"
}

std::optional<double> CpuQuota() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  double quota = 0;
  double period = 0;
  if (v2 >> quota >> period && period > 0) return quota / period;
  const auto quota_us = ReadNumber("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  const auto period_us = ReadNumber("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (quota_us && period_us && *quota_us > 0 && *period_us > 0) {
    return static_cast<double>(*quota_us) / static_cast<double>(*period_us);
  }
  return std::nullopt;
}

}  // namespace

int CpuCount() {
  cpu_set_t set;
  int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  if (const auto quota = CpuQuota()) cpus = std::min(cpus, static_cast<int>(*quota));
  return std::max(cpus, 1);
}

int64_t MemoryBytes() {
  int64_t bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const auto limit = ReadNumber(path);
    if (limit && *limit > 0) bytes = std::min(bytes, *limit);
  }
  return bytes;
}

int64_t RaiseDescriptorLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int64_t>(limit.rlim_cur);
}

}  // namespace cashew::app

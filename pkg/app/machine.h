#pragma once

#include <cstdint>

namespace cashew::app {

// CPUs that this process may use: the cgroup's quota, rounded down, or else those
// it may run on. At least 1.
int CpuCount();

// Bytes of memory that this process may use: the cgroup's limit, or else the
// machine's.
int64_t MemoryBytes();

// Raises the limit on open descriptors as far as allowed; returns what it is.
int64_t RaiseDescriptorLimit();

}  // namespace cashew::app

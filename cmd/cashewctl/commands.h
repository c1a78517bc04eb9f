#pragma once

#include <string>

// Each command prints to stdout, its errors to stderr, and returns the exit code:
// 0 done, 1 what was asked for does not exist or is wrong.

namespace cashew::ctl {

struct LocateOptions {
  std::string config;
  std::string pool;
  std::string key;
  std::string output = "table";  // or "json"
};

// Where a key lives: what is hashed, its hash, its place on the ring, the server,
// and where it would go if that server were ejected.
int Locate(const LocateOptions& options);

// All errors and warnings of a configuration file.
int Check(const std::string& file);

}  // namespace cashew::ctl

#pragma once

#include <cstdint>
#include <string>

#include "cmd/cashewctl/session.h"

namespace cashew::ctl {

struct LocateOptions {
  std::string config;  // empty: the proxy is asked
  std::string pool;
  std::string key;
};

// Where a key lives, whoever worked it out.
struct Location {
  std::string hashed;  // the hash tag's content, or the key
  uint32_t hash = 0;
  uint32_t position = 0;  // on the ring
  std::string ring = {};  // more about the position; may be empty
  std::string server;     // empty: none is live
  std::string address;
  std::string if_ejected;  // empty: nowhere
  std::string owner;       // with every listed server live
};

void PrintLocation(Session& session, const LocateOptions& options, const Location& location);

// From a configuration file, every server taken as live. Gives the exit code.
int LocateInFile(Session& session, const LocateOptions& options);

}  // namespace cashew::ctl

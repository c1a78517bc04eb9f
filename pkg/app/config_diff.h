#pragma once

#include <string>
#include <vector>

#include "pkg/config/config.h"

namespace cashew::app {

// What a reload has to do, by pool name.
struct ConfigDiff {
  std::vector<std::string> added;
  std::vector<std::string> removed;
  std::vector<std::string> modified;
  // Keys of `global` that differ and are read at start only.
  std::vector<std::string> need_restart;

  bool empty() const {
    return added.empty() && removed.empty() && modified.empty() && need_restart.empty();
  }
};

ConfigDiff Compare(const config::Config& before, const config::Config& after);

// Whether clients of the one may go on as clients of the other: the same protocol, and the
// same way to speak it.
bool ClientsCanStay(const config::Pool& before, const config::Pool& after);

}  // namespace cashew::app

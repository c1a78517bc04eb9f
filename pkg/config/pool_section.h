// A pool's mapping -> Pool: the table of every key a pool may have, and the relations between
// them.
#pragma once

#include <string_view>
#include <vector>

#include "pkg/config/config.h"
#include "pkg/config/section.h"

namespace cashew::config {

// Every key a pool may have.
std::vector<std::string_view> PoolKeys();

// REQUIRES: value.is_map(). `line` is that of the pool's name.
Pool ReadPool(Report* report, const std::string& name, int line, const YamlNode& value);

}  // namespace cashew::config

// The `global` mapping -> Global: what belongs to the process rather than to one pool.
#pragma once

#include <string_view>
#include <vector>

#include "pkg/config/config.h"
#include "pkg/config/section.h"

namespace cashew::config {

// Every key the global section may have.
std::vector<std::string_view> GlobalKeys();

// REQUIRES: value.is_map(). `line` is that of the word `global`.
Global ReadGlobal(Report* report, int line, const YamlNode& value);

}  // namespace cashew::config

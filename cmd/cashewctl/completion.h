#pragma once

#include <string>

#include "CLI/CLI.hpp"

namespace cashew::ctl {

// A completion script for `shell` ("bash", "zsh" or "fish"), made from the commands and options
// that `root` really has. REQUIRES: `shell` is one of those.
std::string CompletionScript(const CLI::App& root, const std::string& shell);

}  // namespace cashew::ctl

#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "CLI/CLI.hpp"

#include "cmd/cashewctl/session.h"

namespace cashew::ctl {

// What a command does once the line is parsed; gives the exit code.
using Action = std::function<int(Session&)>;

// One row of the table of commands. Help, completion and dispatch come from the rows.
struct Command {
  std::string_view path;   // "pools", or "server drain"
  std::string_view group;  // its heading in --help
  std::string_view help;
  bool needs_proxy;              // Session::Connect() is called before the action
  Action (*declare)(CLI::App&);  // adds the command's own options; null: only groups others
};

// The rows of each file.
std::span<const Command> MembershipCommands();
std::span<const Command> ServerCommands();
std::span<const Command> AdminCommands();
std::span<const Command> StatsCommands();
std::span<const Command> TrafficCommands();
std::span<const Command> OfflineCommands();

}  // namespace cashew::ctl

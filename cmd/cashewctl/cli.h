#pragma once

#include "CLI/CLI.hpp"

#include "cmd/cashewctl/session.h"

namespace cashew::ctl {

// Reads a command line and does what it says; gives the exit code. Prints to the session's
// streams alone. No exception leaves it.
int Run(int argc, const char* const* argv, Session& session);

}  // namespace cashew::ctl

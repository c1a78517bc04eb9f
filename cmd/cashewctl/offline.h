#pragma once

#include "cmd/cashewctl/session.h"
#include "pkg/config/config.h"

namespace cashew::ctl {

// Every error and warning of a configuration file, to the error stream, one a line.
void WarnOfProblems(Session& session, const config::LoadResult& result);

}  // namespace cashew::ctl

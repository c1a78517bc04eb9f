#pragma once

#include <string>
#include <string_view>

#include "grpcpp/support/status.h"

#include "cmd/cashewctl/exit_code.h"

namespace cashew::ctl {

// What a failed call is to a script.
ExitCode ExitCodeOf(grpc::StatusCode code);

// The error for a person: what was asked, where, what the proxy said, and below it the fields
// that it refused (google.rpc.BadRequest). For an address where nothing answers, what to check.
// Safe to print; without a line's end.
std::string Explain(std::string_view asked, std::string_view address, const grpc::Status& status);

}  // namespace cashew::ctl

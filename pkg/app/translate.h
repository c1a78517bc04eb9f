#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "pkg/config/config.h"
#include "pkg/net/transport.h"
#include "pkg/pool/membership.h"
#include "pkg/pool/snapshot.h"

// From the configuration file's structs to what the data path takes, so that
// neither knows the other.

namespace cashew::app {

pool::Settings SettingsOf(const config::Pool& pool);

// Whether some pool's list comes through gRPC, so that there is something to keep over a restart.
bool TakesLists(const config::Config& config);

// The servers as a list for the roster.
std::vector<pool::ServerSpec> SpecsOf(const config::Pool& pool);

// TLS or plain, as the pool says. The error names the file.
absl::StatusOr<std::shared_ptr<const net::TransportFactory>> ListenTransport(
    const config::Pool& pool);
absl::StatusOr<std::shared_ptr<const net::TransportFactory>> ServerTransport(
    const config::Pool& pool);

bool IsNumeric(const std::string& host);

}  // namespace cashew::app

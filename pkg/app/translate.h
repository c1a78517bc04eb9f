#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "pkg/config/config.h"
#include "pkg/net/transport.h"
#include "pkg/pool/snapshot.h"

// From the configuration file's structs to what the data path takes, so that
// neither knows the other.

namespace cashew::app {

pool::Settings SettingsOf(const config::Pool& pool);

// The servers, in index order. Numeric addresses are filled in; names are looked
// up (blocking) when `resolve`, and stay without an address if they do not resolve.
std::vector<pool::Server> ServersOf(const config::Pool& pool, bool resolve);

// TLS or plain, as the pool says. The error names the file.
absl::StatusOr<std::shared_ptr<const net::TransportFactory>> ListenTransport(
    const config::Pool& pool);
absl::StatusOr<std::shared_ptr<const net::TransportFactory>> ServerTransport(
    const config::Pool& pool);

// The numeric address of a host, "" if it has none.
std::string ResolveHost(const std::string& host);
bool IsNumeric(const std::string& host);

}  // namespace cashew::app

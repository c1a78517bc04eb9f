#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/channel.h"

namespace cashew::ctl {

// The way to one proxy: where it listens, and how it is sure of us.

struct ConnectOptions {
  std::string address;  // unix:PATH or HOST:PORT; empty: the first default that exists
  // Files in PEM. Any of the four makes the connection TLS; cert and key go together.
  std::string tls_ca;  // empty: the system's store
  std::string tls_cert;
  std::string tls_key;
  std::string tls_server_name;  // expected in the certificate; empty: the address's host

  bool tls() const {
    return !tls_ca.empty() || !tls_cert.empty() || !tls_key.empty() || !tls_server_name.empty();
  }
};

// An environment variable; nothing when it is unset or empty.
using GetEnv = std::function<std::optional<std::string>(const char* name)>;
std::optional<std::string> ProcessEnv(const char* name);

// Where a proxy without `global: {grpc: …}` has its socket, in the order it tries:
// $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/cashew, /run/cashew. Paths.
std::vector<std::string> DefaultSockets(const GetEnv& env);

// The first of `sockets` that exists, as an address. NOT_FOUND: none does; the message names
// all that were tried and what to do.
absl::StatusOr<std::string> FindSocket(const std::vector<std::string>& sockets);

// An address as gRPC takes it. INVALID_ARGUMENT: neither unix:PATH nor HOST:PORT.
absl::StatusOr<std::string> GrpcTarget(std::string_view address);

// A channel; it connects at the first call. INVALID_ARGUMENT: an address or TLS options that
// make no sense, or a file that cannot be read. REQUIRES: options.address is not empty.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ConnectOptions& options);

}  // namespace cashew::ctl

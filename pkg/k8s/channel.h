// The gRPC channel to the proxy.
//
// unix:PATH, or HOST:PORT on loopback, in the clear; anything wider needs TLS with the proxy's
// authority and, as the proxy demands, a certificate of ours. The files are read again every
// minute, so renewed certificates are used by the next connection. A connection is pinged
// every 30 s while a stream is open and given up 10 s later.
#pragma once

#include <absl/status/statusor.h>
#include <grpcpp/grpcpp.h>
#include <memory>
#include <string>

namespace cashew::k8s {

struct ChannelOptions {
  std::string target;  // unix:PATH or HOST:PORT
  std::string ca;      // PEM files; ca empty: no TLS
  std::string cert;
  std::string key;
  std::string server_name;  // that the proxy's certificate has; empty: HOST
};

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options);

}  // namespace cashew::k8s

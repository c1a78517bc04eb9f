#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "pkg/net/transport.h"

namespace cashew::net {

// TLS 1.2 and later behind Transport, by OpenSSL. Factories are built once per
// configuration from PEM files (read now, never again) and are shared by threads;
// each transport belongs to one thread, as any transport does.
//
// For users of an edge-triggered loop:
//  - Read fills what it is given, record after record, and says `more` unless the
//    descriptor was found empty: after kAgain, or kOk without `more`, wait for the
//    next edge.
//  - Write takes all that it is offered unless the descriptor is full: after kAgain,
//    or when it took less, wait for the next edge, and then offer the same bytes
//    first (a record that was begun is sent as it was sealed).
//  - A peer that ends the connection without close_notify reads as kEof: both
//    protocols we carry have lengths of their own, so nothing is cut unnoticed.
//
// The process ignores SIGPIPE: OpenSSL writes with write(2). An idle transport
// keeps no record buffers; what remains is OpenSSL's own state, some 10 KiB.

// For listening sockets.
struct TlsServerOptions {
  std::string cert;       // the server's certificate, then its chain
  std::string key;        // its private key, without a passphrase
  std::string client_ca;  // who may sign clients' certificates; empty: none is asked for
};

// For connections to servers.
struct TlsClientOptions {
  std::string ca;           // who may sign servers' certificates; empty: the system's authorities
  std::string cert;         // our own certificate, then its chain; empty: we have none
  std::string key;          // its private key
  std::string server_name;  // name or address that the certificate must be for, sent
                            // as SNI when it is a name; empty: any name will do
};

// Errors name the file and what OpenSSL has against it.
absl::StatusOr<std::shared_ptr<const TransportFactory>> NewTlsServerFactory(
    const TlsServerOptions& options);
absl::StatusOr<std::shared_ptr<const TransportFactory>> NewTlsClientFactory(
    const TlsClientOptions& options);

}  // namespace cashew::net

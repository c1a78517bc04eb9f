// Who may call what: TLS with client certificates, and the names in them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"

namespace cashew::rpc {

// The files are PEM. They are read again when they change; new connections get the new ones.
struct TlsOptions {
  std::string cert;  // this server's chain
  std::string key;
  std::string client_ca;  // who signs clients
  // Subject alternative names (DNS, URI, IP or e-mail, whole and exact). A client needs one of
  // the first list for MembershipService, Health and reflection, one of the second for
  // AdminService. The first may not be empty; without the second nobody calls AdminService.
  std::vector<std::string> allowed_sans;
  std::vector<std::string> admin_sans;
};

// Credentials that take only clients with a certificate signed by client_ca, and answer
// PERMISSION_DENIED, with the names that the client showed, to calls that those names may not
// make. One check in front of every service, those of gRPC itself too. An error names the file
// and what is wrong with it. Starts a thread of gRPC's that watches the files.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> TlsCredentials(const TlsOptions& options);

}  // namespace cashew::rpc

#include "pkg/rpc/access.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "cashew/admin/v1/admin.grpc.pb.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "grpc/grpc_security_constants.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"

#include "pkg/base/log.h"

namespace cashew::rpc {
namespace {

constexpr unsigned kLookEverySec = 1;  // for changed files

// Names that an error shows of a certificate, which may hold thousands.
constexpr size_t kMaxShownNames = 8;

absl::Status Fault(std::string_view key, const std::string& file, std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("grpc_tls.{}: {}: {}", key, file, what));
}

// OpenSSL's reason for the first error in its queue; empties the queue.
std::string FirstError() {
  const unsigned long code = ERR_get_error();  // NOLINT(google-runtime-int): OpenSSL's type
  ERR_clear_error();
  if (ERR_SYSTEM_ERROR(code)) return strerror(ERR_GET_REASON(code));
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? "cannot be read" : reason;
}

// Files that do not go together would show as handshakes that fail, one by one, later.
absl::Status CheckFiles(const TlsOptions& options) {
  ERR_clear_error();
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_method()),
                                                                  &SSL_CTX_free);
  // The key first: a certificate that does not fit is then found by the check below.
  if (SSL_CTX_use_PrivateKey_file(context.get(), options.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Fault("key", options.key, FirstError());
  }
  if (SSL_CTX_use_certificate_chain_file(context.get(), options.cert.c_str()) != 1) {
    return Fault("cert", options.cert, FirstError());
  }
  if (SSL_CTX_check_private_key(context.get()) != 1) {
    ERR_clear_error();
    return Fault("key", options.key, fmt::format("is not the key of {}", options.cert));
  }
  if (SSL_CTX_load_verify_locations(context.get(), options.client_ca.c_str(), nullptr) != 1) {
    return Fault("client_ca", options.client_ca, FirstError());
  }
  return absl::OkStatus();
}

absl::Status CheckComplete(const TlsOptions& options) {
  const std::pair<std::string_view, bool> needed[] = {
      {"cert", options.cert.empty()},
      {"key", options.key.empty()},
      {"client_ca", options.client_ca.empty()},
      {"allowed_sans", options.allowed_sans.empty()},
  };
  for (const auto& [key, missing] : needed) {
    if (missing) return absl::InvalidArgumentError(fmt::format("grpc_tls.{} is missing", key));
  }
  return absl::OkStatus();
}

// Asked before each call, with the names of the connection's certificate.
class NameCheck final : public grpc::AuthMetadataProcessor {
 public:
  explicit NameCheck(const TlsOptions& options)
      : allowed_(options.allowed_sans.begin(), options.allowed_sans.end()),
        admins_(options.admin_sans.begin(), options.admin_sans.end()) {}

  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* peer,
                       OutputMetadata* consumed, OutputMetadata* response) override {
    const auto path = metadata.find(":path");
    if (path == metadata.end()) return {grpc::StatusCode::INTERNAL, "the call has no path"};
    const bool admin =
        std::string_view(path->second.data(), path->second.size()).starts_with(AdminPrefix());
    const std::vector<std::string> names = NamesOf(*peer);
    const auto& list = admin ? admins_ : allowed_;
    for (const std::string& name : names) {
      if (list.contains(name)) return grpc::Status::OK;
    }
    return Denied(names, admin);
  }

 private:
  static std::string_view AdminPrefix() {
    static const std::string prefix =
        fmt::format("/{}/", admin::v1::AdminService::service_full_name());
    return prefix;
  }

  static std::vector<std::string> NamesOf(const grpc::AuthContext& peer) {
    std::vector<std::string> names;
    for (const grpc::string_ref& name : peer.FindPropertyValues(GRPC_X509_SAN_PROPERTY_NAME)) {
      names.emplace_back(name.data(), name.size());
    }
    return names;
  }

  static grpc::Status Denied(const std::vector<std::string>& names, bool admin) {
    std::vector<std::string> shown;
    for (size_t i = 0; i < std::min(names.size(), kMaxShownNames); ++i) {
      shown.push_back(base::Escape(names[i], 255));
    }
    if (names.size() > shown.size()) {
      shown.push_back(fmt::format("and {} more", names.size() - shown.size()));
    }
    const std::string who = shown.empty() ? "no name" : fmt::format("{}", fmt::join(shown, ", "));
    return {grpc::StatusCode::PERMISSION_DENIED,
            fmt::format("the client certificate is for {}; grpc_tls.{} lists none of it", who,
                        admin ? "admin_sans" : "allowed_sans")};
  }

  const std::unordered_set<std::string> allowed_;
  const std::unordered_set<std::string> admins_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> TlsCredentials(const TlsOptions& options) {
  if (absl::Status status = CheckComplete(options); !status.ok()) return status;
  if (absl::Status status = CheckFiles(options); !status.ok()) return status;
  grpc::experimental::TlsServerCredentialsOptions tls(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          options.key, options.cert, options.client_ca, kLookEverySec));
  tls.watch_root_certs();
  tls.watch_identity_key_cert_pairs();
  tls.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  std::shared_ptr<grpc::ServerCredentials> credentials =
      grpc::experimental::TlsServerCredentials(tls);
  if (credentials == nullptr) return absl::InternalError("grpc_tls: gRPC refuses the options");
  credentials->SetAuthMetadataProcessor(std::make_shared<NameCheck>(options));
  return credentials;
}

}  // namespace cashew::rpc

#include "pkg/k8s/channel.h"

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <string_view>
#include <unistd.h>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

constexpr int kPingMs = 30'000;
constexpr int kPingTimeoutMs = 10'000;
constexpr int kFirstReconnectMs = 200;
constexpr int kMaxReconnectMs = 2'000;
constexpr int kConnectTimeoutMs = 5'000;
constexpr unsigned kReadFilesAgainSeconds = 60;

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

bool IsLoopback(std::string_view target) {
  return StartsWith(target, "127.") || StartsWith(target, "[::1]:") ||
         StartsWith(target, "localhost:");
}

absl::Status Check(const ChannelOptions& options) {
  const auto refused = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        fmt::format("--grpc \"{}\": {}", base::Escape(options.target, 200), why));
  };
  const bool local = StartsWith(options.target, "unix:");
  if (!local && options.target.find(':') == std::string::npos) {
    return refused("give unix:PATH or HOST:PORT");
  }
  if (options.cert.empty() != options.key.empty()) {
    return refused("--grpc-cert and --grpc-key belong together");
  }
  if (options.ca.empty() && !options.cert.empty()) return refused("--grpc-cert needs --grpc-ca");
  if (options.ca.empty() && !local && !IsLoopback(options.target)) {
    return refused("what is not on this machine needs TLS: give --grpc-ca");
  }
  for (const std::string* file : {&options.ca, &options.cert, &options.key}) {
    if (!file->empty() && access(file->c_str(), R_OK) != 0) {
      return refused(fmt::format("cannot read {}", *file));
    }
  }
  return absl::OkStatus();
}

std::shared_ptr<grpc::ChannelCredentials> Credentials(const ChannelOptions& options) {
  if (options.ca.empty()) return grpc::InsecureChannelCredentials();
  namespace tls = grpc::experimental;
  tls::TlsChannelCredentialsOptions tls_options;
  if (options.cert.empty()) {
    tls_options.set_certificate_provider(
        std::make_shared<tls::FileWatcherCertificateProvider>(options.ca, kReadFilesAgainSeconds));
  } else {
    tls_options.set_certificate_provider(std::make_shared<tls::FileWatcherCertificateProvider>(
        options.key, options.cert, options.ca, kReadFilesAgainSeconds));
    tls_options.watch_identity_key_cert_pairs();
  }
  tls_options.watch_root_certs();
  return tls::TlsCredentials(tls_options);
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options) {
  if (absl::Status status = Check(options); !status.ok()) return status;
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // a stream may be quiet for days
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectMs);
  // Its name notwithstanding, how long an attempt may take.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (!options.server_name.empty()) {
    arguments.SetString(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, options.server_name);
  }
  return grpc::CreateCustomChannel(options.target, Credentials(options), arguments);
}

}  // namespace cashew::k8s

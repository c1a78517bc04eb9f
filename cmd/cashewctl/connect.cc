#include "cmd/cashewctl/connect.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <sys/stat.h>

#include "fmt/format.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

#include "cmd/cashewctl/files.h"
#include "pkg/config/values.h"

namespace cashew::ctl {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr char kSocketName[] = "grpc.sock";
// The statistics of thousands of servers are larger than gRPC's usual 4 MiB.
constexpr int kMaxAnswerBytes = 64 << 20;
// While a stream is quiet, a machine that vanished is noticed by these.
constexpr int kPingMs = 30'000;
constexpr int kPingTimeoutMs = 10'000;

absl::StatusOr<std::string> ReadPem(std::string_view option, const std::string& path) {
  if (path.empty()) return std::string();
  absl::StatusOr<std::string> text = ReadFile(path);
  if (text.ok()) return text;
  return absl::InvalidArgumentError(
      fmt::format("{}: {}", option, std::string(text.status().message())));
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(
    const ConnectOptions& options) {
  if (!options.tls()) return grpc::InsecureChannelCredentials();
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return absl::InvalidArgumentError(
        "--tls-cert and --tls-key go together: the certificate and its private key");
  }
  grpc::SslCredentialsOptions ssl;
  absl::StatusOr<std::string> pem = ReadPem("--tls-ca", options.tls_ca);
  if (!pem.ok()) return pem.status();
  ssl.pem_root_certs = *std::move(pem);
  pem = ReadPem("--tls-cert", options.tls_cert);
  if (!pem.ok()) return pem.status();
  ssl.pem_cert_chain = *std::move(pem);
  pem = ReadPem("--tls-key", options.tls_key);
  if (!pem.ok()) return pem.status();
  ssl.pem_private_key = *std::move(pem);
  return grpc::SslCredentials(ssl);
}

}  // namespace

std::optional<std::string> ProcessEnv(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

std::vector<std::string> DefaultSockets(const GetEnv& env) {
  std::vector<std::string> paths;
  if (const auto folders = env("RUNTIME_DIRECTORY")) {
    std::istringstream each(*folders);  // systemd separates several by colons
    for (std::string folder; std::getline(each, folder, ':');) {
      if (!folder.empty()) paths.push_back(fmt::format("{}/{}", folder, kSocketName));
    }
  }
  if (const auto folder = env("XDG_RUNTIME_DIR")) {
    paths.push_back(fmt::format("{}/cashew/{}", *folder, kSocketName));
  }
  paths.push_back(fmt::format("/run/cashew/{}", kSocketName));
  return paths;
}

absl::StatusOr<std::string> FindSocket(const std::vector<std::string>& sockets) {
  for (const std::string& path : sockets) {
    struct stat info;
    if (stat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) {
      return fmt::format("{}{}", kUnix, path);
    }
  }
  return absl::NotFoundError(
      fmt::format("no proxy's socket found; looked for {}. Is cashew running, as this user or one "
                  "whose socket you may use? Where it listens is `global: {{grpc: …}}` in its "
                  "configuration; say so here with --address or CASHEW_GRPC",
                  fmt::join(sockets, ", ")));
}

absl::StatusOr<std::string> GrpcTarget(std::string_view address) {
  if (address.substr(0, kUnix.size()) == kUnix) {
    const std::string_view path = address.substr(kUnix.size());
    if (path.empty() || path.size() > 107) {
      return absl::InvalidArgumentError(
          fmt::format("--address {}: a socket's path has 1 to 107 bytes, such as "
                      "unix:/run/cashew/grpc.sock",
                      config::Quoted(address)));
    }
    return std::string(address);
  }
  const absl::StatusOr<config::Address> parsed = config::ParseHostPort(address, 1);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("--address {}; give HOST:PORT, such as 127.0.0.1:9152, or unix:PATH",
                    std::string(parsed.status().message())));
  }
  const bool v6 = parsed->host.find(':') != std::string::npos;
  return fmt::format("dns:///{}{}{}:{}", v6 ? "[" : "", parsed->host, v6 ? "]" : "", parsed->port);
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ConnectOptions& options) {
  const absl::StatusOr<std::string> target = GrpcTarget(options.address);
  if (!target.ok()) return target.status();
  const auto credentials = Credentials(options);
  if (!credentials.ok()) return credentials.status();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // an http_proxy variable is not meant for us
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  if (!options.tls_server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls_server_name);
  }
  return grpc::CreateCustomChannel(*target, *credentials, arguments);
}

}  // namespace cashew::ctl

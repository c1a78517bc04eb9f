#include "pkg/rpc/server.h"

#include <chrono>
#include <csignal>
#include <pthread.h>
#include <utility>

#include "fmt/format.h"
#include "grpc/grpc.h"
#include "grpc/support/log.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"

#include "pkg/base/log.h"
#include "pkg/base/mutex.h"

namespace cashew::rpc {
namespace {

// One list; more is RESOURCE_EXHAUSTED. 4,096 servers with names of 255 bytes fit.
constexpr int kMaxMessage = 4 << 20;

// For what gRPC buffers over all connections. Above it connections and streams are cut.
constexpr size_t kMemoryQuota = 64 << 20;

// Reflection is the only service with threads of its own.
constexpr int kMaxThreads = 8;

constexpr int kMaxStreamsPerConnection = 1024;

// For TLS and HTTP/2 to be set up; a connection that says nothing is closed then.
constexpr int kHandshakeTimeoutMs = 10'000;

// Blocks all signals while it lives: threads inherit that from the thread that starts them.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

// gRPC's own lines, which peers cause (a failed handshake is one), go to the log as warnings,
// a few in each second. By default they would go to stderr without end.
void LogLine(gpr_log_func_args* line) {
  constexpr int kLinesPerSecond = 5;
  static base::Mutex mu;
  static int64_t second = 0;
  static int lines = 0;
  const int64_t now = base::RealClock().NowNs() / base::kNsPerSec;
  {
    base::MutexLock lock(&mu);
    if (std::exchange(second, now) != now) lines = 0;
    if (++lines > kLinesPerSecond) return;
  }
  CASHEW_LOG_WARN("grpc says message=\"{}\"", base::Escape(line->message, 500));
}

// When its last object goes, gRPC takes its library down and may wait 10 s for a thread of its
// own that polls. A process that stops must not: one reference is held until it exits.
void KeepLibrary() {
  static const bool kept = (grpc_init(), true);
  static_cast<void>(kept);
}

void SetLimits(const Server::Options& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(kMaxMessage);
  grpc::ResourceQuota quota("cashew");
  quota.Resize(kMemoryQuota);
  quota.SetMaxThreads(kMaxThreads);
  builder->SetResourceQuota(quota);
  builder->SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  const std::pair<const char*, int> arguments[] = {
      {GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection},
      {GRPC_ARG_KEEPALIVE_TIME_MS, options.keepalive_ms},
      {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options.keepalive_timeout_ms},
      {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
      {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},  // as many as the keepalive needs
      {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, options.min_client_ping_ms},
      {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs},
  };
  for (const auto& [name, value] : arguments) builder->AddChannelArgument(name, value);
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Credentials(
    const Server::Options& options) {
  if (!options.tls) return grpc::InsecureServerCredentials();
  if (IsUnixAddress(options.address)) {
    return absl::InvalidArgumentError(fmt::format(
        "grpc: {} takes no grpc_tls; leave it out, the socket's mode says who gets in, or give "
        "host:port",
        options.address));
  }
  return TlsCredentials(*options.tls);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options, Backend* backend) {
  const SignalsBlocked blocked;
  absl::StatusOr<std::unique_ptr<Listener>> listener =
      Listener::Open({.address = options.address,
                      .adopted_fd = options.adopted_fd,
                      .loopback_only = !options.tls.has_value(),
                      .max_connections = options.max_connections});
  if (!listener.ok()) return listener.status();
  absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials = Credentials(options);
  if (!credentials.ok()) return credentials.status();
  std::unique_ptr<Server> server(new Server(*std::move(listener), options, backend));
  if (absl::Status built = server->Build(options, *std::move(credentials)); !built.ok()) {
    return built;
  }
  server->ResumeAccepting();
  return server;
}

Server::Server(std::unique_ptr<Listener> listener, const Options& options, Backend* backend)
    : listener_(std::move(listener)), membership_(backend), admin_(backend, options.clock) {}

Server::~Server() { Shutdown(0); }

absl::Status Server::Build(const Options& options,
                           std::shared_ptr<grpc::ServerCredentials> credentials) {
  gpr_set_log_function(&LogLine);
  KeepLibrary();
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetLimits(options, &builder);
  builder.RegisterService(&membership_);
  builder.RegisterService(&admin_);
  acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      std::move(credentials));
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) return absl::InternalError("grpc: the server does not start");
  SetServing("", false);
  return absl::OkStatus();
}

void Server::SetServing(const std::string& pool, bool serving) {
  if (server_ == nullptr) return;
  server_->GetHealthCheckService()->SetServingStatus(pool, serving);
}

void Server::ResumeAccepting() {
  const SignalsBlocked blocked;
  listener_->StartAccepting([this](int fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = listener_->fd();
    connection.fd = fd;
    acceptor_->HandleNewConnection(&connection);
  });
}

void Server::Shutdown(int deadline_ms) {
  if (server_ == nullptr) return;
  listener_->StopAccepting();
  server_->GetHealthCheckService()->Shutdown();  // all NOT_SERVING, and it stays so
  membership_.Stop();
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(deadline_ms));
  server_.reset();
  acceptor_.reset();
  listener_.reset();
}

}  // namespace cashew::rpc

// The sidecar: follows EndpointSlices and keeps the proxy beside it informed. Wiring only.

#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <initializer_list>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "cmd/cashew-sidecar/flags.h"
#include "pkg/admin/http_server.h"
#include "pkg/base/build_info.h"
#include "pkg/base/log.h"
#include "pkg/k8s/metrics.h"
#include "pkg/k8s/sidecar.h"

namespace cashew::sidecar {
namespace {

int Fail(const absl::Status& status) {
  base::FlushLog();
  fmt::print(stderr, "cashew-sidecar: {}\n", std::string(status.message()));
  return 1;
}

// Every thread made later inherits this, so that signals wait for sigwait().
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signals;
}

// SIGHUP opens the log anew, after rotation; the others end the program.
void WaitForTheEnd(const sigset_t& signals) {
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    if (signal != SIGHUP) {
      CASHEW_LOG_NOTICE("stopping signal={}", signal);
      return;
    }
    if (absl::Status status = base::ReopenLog(); !status.ok()) {
      CASHEW_LOG_ERROR("{}", std::string(status.message()));
    }
  }
}

void PrintList(const std::string& pool, const k8s::ServerList& list) {
  using Json = nlohmann::ordered_json;
  Json servers = Json::array();
  for (const k8s::MappedServer& server : list.servers) {
    Json json{{"name", server.name}, {"address", server.address}};
    if (!server.zone.empty()) json["zone"] = server.zone;
    if (server.weight != 1) json["weight"] = server.weight;
    json["state"] = k8s::StateName(server.state);
    servers.push_back(std::move(json));
  }
  const Json line{
      {"pool", pool}, {"source_version", list.source_version}, {"servers", std::move(servers)}};
  fmt::print("{}\n", line.dump(-1, ' ', false, Json::error_handler_t::replace));
  std::fflush(stdout);
}

admin::HttpRoutes Routes(const k8s::Metrics& metrics, const k8s::Sidecar& sidecar) {
  const std::string text = "text/plain; charset=utf-8";
  return {
      {"/metrics",
       [&metrics] {
         return admin::HttpResponse{.status = 200,
                                    .content_type = "text/plain; version=0.0.4; charset=utf-8",
                                    .body = metrics.Text()};
       }},
      {"/livez",
       [text] { return admin::HttpResponse{.status = 200, .content_type = text, .body = "ok\n"}; }},
      {"/readyz",
       [&sidecar, text] {
         std::string body;
         for (const std::string& reason : sidecar.NotReadyReasons()) body += reason + "\n";
         return admin::HttpResponse{.status = body.empty() ? 200 : 503,
                                    .content_type = text,
                                    .body = body.empty() ? "ok\n" : body};
       }},
  };
}

int RunOnce(k8s::Sidecar& sidecar, int timeout_s) {
  sidecar.Start();
  const absl::Status status = sidecar.WaitForEach(int64_t{timeout_s} * 1000);
  sidecar.Stop();
  return status.ok() ? 0 : Fail(status);
}

int RunUntilSignal(k8s::Sidecar& sidecar, const sigset_t& signals) {
  CASHEW_LOG_NOTICE("cashew-sidecar started version={} pid={}", base::kVersion, getpid());
  sidecar.Start();
  WaitForTheEnd(signals);
  sidecar.Stop();
  return 0;
}

int Main(Flags flags) {
  if (flags.log_format == "json") base::SetLogFormat(base::LogFormat::kJson);
  if (absl::Status status = base::InitLog(flags.verbosity, flags.log_file); !status.ok()) {
    return Fail(status);
  }
  if (flags.dry_run) flags.options.dry_run = &PrintList;
  k8s::Metrics metrics;
  auto sidecar = k8s::Sidecar::Create(std::move(flags.options), metrics);
  if (!sidecar.ok()) return Fail(sidecar.status());
  // A single run ends by any signal, as programs do.
  if (flags.once) return RunOnce(**sidecar, flags.timeout_s);

  const sigset_t signals = BlockSignals();
  base::StartAsyncLog();
  std::unique_ptr<admin::HttpServer> http;
  if (flags.listen != "off") {
    auto started = admin::HttpServer::Start({.address = flags.listen}, Routes(metrics, **sidecar));
    if (!started.ok()) return Fail(started.status());
    http = *std::move(started);
    CASHEW_LOG_NOTICE("http listens port={}", http->port());
  }
  const int exit_code = RunUntilSignal(**sidecar, signals);
  http.reset();
  base::FlushLog();
  return exit_code;
}

}  // namespace
}  // namespace cashew::sidecar

int main(int argc, char** argv) {
  int exit_code = 0;
  std::optional<cashew::sidecar::Flags> flags = cashew::sidecar::ParseFlags(argc, argv, &exit_code);
  return flags ? cashew::sidecar::Main(*std::move(flags)) : exit_code;
}

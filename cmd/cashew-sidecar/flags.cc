#include "cmd/cashew-sidecar/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "pkg/base/build_info.h"
#include "pkg/base/log.h"

namespace cashew::sidecar {

namespace {

constexpr char kDefaultGrpc[] = "unix:/run/cashew/grpc.sock";

// As typed, before anything is looked up.
struct Given {
  std::vector<std::string> pools;
  std::vector<std::string> dns;
  std::string config;
  std::string name_space;
  std::string kubeconfig;
  bool allow_insecure_kubeconfig = false;
  bool allow_empty = false;
  std::string ip_family;
};

void AddOptions(CLI::App& app, Given& given, Flags& flags) {
  auto& channel = flags.options.channel;
  app.add_option("--pool", given.pools,
                 "POOL=[NAMESPACE/]SERVICE[:PORT]: a pool and the Service it follows; repeatable");
  app.add_option("--dns", given.dns,
                 "POOL=NAME[:PORT]: the same by DNS instead of the API server; repeatable");
  app.add_option("--config", given.config, "YAML file with pools, and grpc if --grpc is not given");
  app.add_option("--grpc", channel.target,
                 fmt::format("the proxy: unix:PATH or HOST:PORT [{}]", kDefaultGrpc));
  app.add_option("--grpc-ca", channel.ca, "authority of the proxy's certificate: turns TLS on");
  app.add_option("--grpc-cert", channel.cert, "certificate to show to the proxy");
  app.add_option("--grpc-key", channel.key, "its key");
  app.add_option("--grpc-server-name", channel.server_name,
                 "name in the proxy's certificate, when it is not the host");
  app.add_option("--updater", flags.options.updater,
                 "name to own the pools under [$POD_NAME, else the host's name]");
  app.add_option("--namespace", given.name_space, "of Services given without one [the pod's own]");
  app.add_option("--kubeconfig", given.kubeconfig,
                 "file to reach the API server with [in-cluster]");
  app.add_flag("--allow-insecure-kubeconfig", given.allow_insecure_kubeconfig,
               "accept insecure-skip-tls-verify in the kubeconfig");
  app.add_flag("--allow-empty", given.allow_empty,
               "pass on that a Service has no endpoints at all; else the last list stays");
  app.add_option("--ip-family", given.ip_family, "of dual-stack pods: ipv4 or ipv6")
      ->default_val("ipv4")
      ->check(CLI::IsMember({"ipv4", "ipv6"}));
  app.add_flag("--pod-annotations", flags.options.pod_annotations,
               "take weights and ring names from the pods' annotations cashew/weight and "
               "cashew/name; needs get, list and watch on pods");
  app.add_option("--pod-selector", flags.options.pod_selector,
                 "labels of the pods whose annotations are read [all of the namespace]");
  app.add_option("--debounce-ms", flags.options.feeder.quiet_ms,
                 "quiet time after a change before it is sent")
      ->default_val(100)
      ->check(CLI::Range(0, 60'000));
  app.add_option("--debounce-max-ms", flags.options.feeder.ceiling_ms,
                 "age of a change at which it is sent in any case")
      ->default_val(1000)
      ->check(CLI::Range(0, 60'000));
  app.add_option("--listen", flags.listen, "HTTP for /metrics, /livez and /readyz, or off")
      ->default_val("0.0.0.0:9153");
  app.add_flag("--once", flags.once, "send each list once, wait for the answers and exit");
  app.add_flag("--dry-run", flags.dry_run, "print each list as a line of JSON, send nothing");
  app.add_option("--timeout", flags.timeout_s, "seconds that --once waits")
      ->default_val(60)
      ->check(CLI::Range(1, 86'400));
  app.add_option("-v,--verbose", flags.verbosity, "log level, 0 to 11")
      ->default_val(base::kDefaultLogLevel)
      ->check(CLI::Range(base::kMinLogLevel, base::kMaxLogLevel));
  app.add_option("-o,--output", flags.log_file, "log file [stderr]");
  app.add_option("--log-format", flags.log_format, "shape of log lines: text or json")
      ->default_val("text")
      ->check(CLI::IsMember({"text", "json"}));
  app.set_version_flag("--version", std::string("cashew-sidecar ") + base::kVersion);
}

absl::Status ReadPools(const Given& given, Flags& flags) {
  std::vector<k8s::PoolSpec>& pools = flags.options.pools;
  const auto take = [&](absl::StatusOr<k8s::PoolSpec> spec) {
    if (spec.ok()) pools.push_back(*std::move(spec));
    return spec.status();
  };
  if (!given.config.empty()) {
    auto file = k8s::LoadSidecarFile(given.config);
    if (!file.ok()) return file.status();
    pools = std::move(file->pools);
    if (flags.options.channel.target.empty()) flags.options.channel.target = file->grpc;
  }
  for (const std::string& text : given.pools) {
    if (absl::Status status = take(k8s::ParsePoolFlag(text)); !status.ok()) return status;
  }
  for (const std::string& text : given.dns) {
    if (absl::Status status = take(k8s::ParseDnsFlag(text)); !status.ok()) return status;
  }
  for (k8s::PoolSpec& pool : pools) pool.allow_empty |= given.allow_empty;
  return k8s::CheckPools(pools);
}

absl::Status FindApiServer(const Given& given, k8s::SidecarOptions& options) {
  const bool needed = std::any_of(options.pools.begin(), options.pools.end(),
                                  [](const auto& pool) { return pool.dns_name.empty(); });
  if (!needed && options.pod_annotations) {
    return absl::InvalidArgumentError("--pod-annotations: no pool follows a Service");
  }
  if (!options.pod_annotations && !options.pod_selector.empty()) {
    return absl::InvalidArgumentError("--pod-selector means something with --pod-annotations only");
  }
  if (!needed) return absl::OkStatus();
  auto access = given.kubeconfig.empty()
                    ? k8s::InClusterAccess()
                    : k8s::KubeconfigAccess(given.kubeconfig, given.allow_insecure_kubeconfig);
  if (!access.ok()) return access.status();
  const std::string& fallback =
      given.name_space.empty() ? access->default_namespace : given.name_space;
  for (k8s::PoolSpec& pool : options.pools) {
    if (pool.name_space.empty()) pool.name_space = fallback;
    if (pool.dns_name.empty() && pool.name_space.empty()) {
      return absl::InvalidArgumentError(fmt::format(
          "pool \"{}\": which namespace? Give --namespace or NAMESPACE/SERVICE", pool.pool));
    }
  }
  options.access = *std::move(access);
  return absl::OkStatus();
}

std::string DefaultUpdater() {
  if (std::string pod = k8s::ProcessEnv("POD_NAME"); !pod.empty()) return pod;
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "cashew-sidecar";
}

absl::Status Complete(const Given& given, Flags& flags) {
  if (absl::Status status = ReadPools(given, flags); !status.ok()) return status;
  if (absl::Status status = FindApiServer(given, flags.options); !status.ok()) return status;
  flags.options.prefer = given.ip_family == "ipv6" ? k8s::IpFamily::kIpv6 : k8s::IpFamily::kIpv4;
  if (flags.options.channel.target.empty()) flags.options.channel.target = kDefaultGrpc;
  if (flags.options.updater.empty()) flags.options.updater = DefaultUpdater();
  return absl::OkStatus();
}

}  // namespace

std::optional<Flags> ParseFlags(int argc, char** argv, int* exit_code) {
  CLI::App app{"cashew-sidecar: follows a Service's pods and tells Cashew"};
  Given given;
  Flags flags;
  AddOptions(app, given, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    *exit_code = app.exit(e) == 0 ? 0 : 1;
    return std::nullopt;
  }
  if (absl::Status status = Complete(given, flags); !status.ok()) {
    fmt::print(stderr, "cashew-sidecar: {}\n", std::string(status.message()));
    *exit_code = 1;
    return std::nullopt;
  }
  return flags;
}

}  // namespace cashew::sidecar

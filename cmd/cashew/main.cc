// The proxy. Takes nutcracker's options and configuration; wiring only.

#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

#include "fmt/format.h"

#include "cmd/cashew/daemon.h"
#include "cmd/cashew/flags.h"
#include "pkg/app/app.h"
#include "pkg/app/handover.h"
#include "pkg/app/signals.h"
#include "pkg/app/systemd.h"
#include "pkg/app/upgrade.h"
#include "pkg/base/build_info.h"
#include "pkg/base/log.h"
#include "pkg/config/config.h"
#include "pkg/metrics/stats_json.h"

namespace cashew {
namespace {

void Print(const std::string& text) { fmt::print(stderr, "{}", text); }

void PrintProblems(const std::string& program, const config::LoadResult& result) {
  for (const auto& error : result.errors) Print(fmt::format("{}: {}\n", program, error.ToString()));
  for (const auto& warning : result.warnings) {
    Print(fmt::format("{}: warning: {}\n", program, warning.ToString()));
  }
}

// Where a pool keeps workers idle, and options that no longer do what they did.
void PrintAdvice(const std::string& program, const config::Config& config, const Flags& flags) {
  const int workers = app::WorkerCount(config.global);
  for (const config::Pool& pool : config.pools) {
    if (pool.server_connections >= workers) continue;
    Print(
        fmt::format("{}: note: pool \"{}\" runs on {} of {} workers, because server_connections "
                    "is the total to each server; server_connections: {} uses all\n",
                    program, pool.name, pool.server_connections, workers, workers));
  }
  const Flags defaults;
  if (flags.mbuf_size != defaults.mbuf_size) {
    Print(fmt::format("{}: note: -m is accepted and has no effect: buffers size themselves\n",
                      program));
  }
  if (flags.stats_interval_ms != defaults.stats_interval_ms) {
    Print(fmt::format("{}: note: -i is accepted and has no effect: statistics are always current\n",
                      program));
  }
}

int TestConfiguration(const std::string& program, const Flags& flags) {
  const config::LoadResult result = config::LoadFile(flags.conf_file);
  const bool ok = result.ok();
  Print(fmt::format("{}: configuration file '{}' syntax is {}\n", program, flags.conf_file,
                    ok ? "ok" : "invalid"));
  PrintProblems(program, result);
  if (ok) PrintAdvice(program, result.config, flags);
  return ok ? 0 : 1;
}

// The default file is looked for under the working directory, as nutcracker does.
void ExplainMissingFile(const std::string& program, const Flags& flags) {
  std::error_code ignored;
  if (flags.conf_file != Flags().conf_file || std::filesystem::exists(flags.conf_file, ignored)) {
    return;
  }
  Print(fmt::format(
      "{}: looked for the default configuration at {}; name another with -c FILE, or start from "
      "the example cmd/cashew/cashew.yml (installed as share/doc/cashew/cashew.yml)\n",
      program, (std::filesystem::current_path(ignored) / flags.conf_file).string()));
}

int Serve(const std::string& program, const Flags& flags, std::vector<std::string> arguments) {
  const auto fail = [&](const absl::Status& status) {
    const std::string why = fmt::format("{}: {}", program, std::string(status.message()));
    CASHEW_LOG_ERROR("{}", why);
    base::FlushLog();
    if (!flags.output.empty() || flags.daemonize) ReportFailed(why);
    return 1;
  };
  base::SetLogFormat(flags.log_format);
  if (auto status = base::InitLog(flags.verbosity, flags.output); !status.ok()) {
    Print(fmt::format("{}: {}\n", program, std::string(status.message())));
    return 1;
  }
  // Read before the fork, so that whoever starts a daemon sees what is wrong.
  config::LoadResult result = config::LoadFile(flags.conf_file);
  if (!result.ok()) {
    PrintProblems(program, result);
    if (!flags.output.empty()) {
      for (const auto& error : result.errors) CASHEW_LOG_ERROR("{}", error.ToString());
    }
    ExplainMissingFile(program, flags);
    return 1;
  }
  app::App::Options options;
  options.predecessor = app::TakePredecessor();
  if (options.predecessor != nullptr) {
    auto inheritance = app::ReceiveInheritance(options.predecessor.get());
    if (!inheritance.ok()) return fail(inheritance.status());
    options.inheritance = std::move(*inheritance);
  }
  options.inheritance.activated = app::TakeActivationSockets();
  // A successor is the daemon's child already.
  if (flags.daemonize && options.predecessor == nullptr) {
    if (auto status = Daemonize(); !status.ok()) return fail(status);
  }
  PidFile pid_file;
  const auto write_pid = [&] {
    return flags.pid_file.empty() ? absl::OkStatus() : pid_file.Write(flags.pid_file);
  };
  // A successor's is written when it serves: until then the file is its predecessor's.
  if (options.predecessor == nullptr) {
    if (auto status = write_pid(); !status.ok()) return fail(status);
  }
  InstallCrashHandler(program.c_str(), flags.output);
  app::BlockHandledSignals();
  base::StartAsyncLog();
  CASHEW_LOG_NOTICE("{}-{} started on pid {} config={}", program, base::kVersion, getpid(),
                    flags.conf_file);
  for (const auto& warning : result.warnings) CASHEW_LOG_WARN("{}", warning.ToString());

  options.config = std::move(result.config);
  options.config_file = std::filesystem::absolute(flags.conf_file).string();
  options.program = app::ProgramPath(arguments[0]);
  options.arguments = std::move(arguments);
  options.stats_addr = flags.stats_addr;
  options.stats_port = flags.stats_port;
  const bool succeeds = options.predecessor != nullptr;
  auto app = app::App::Start(std::move(options));
  if (!app.ok()) return fail(app.status());
  CASHEW_LOG_NOTICE("{}-{} ready", program, base::kVersion);
  if (succeeds) {
    if (auto status = write_pid(); !status.ok()) {
      CASHEW_LOG_ERROR("{}", std::string(status.message()));
    }
  }
  ReportStarted();
  app::NotifyServiceManager(fmt::format("READY=1\nMAINPID={}", getpid()));
  (*app)->Run();
  CASHEW_LOG_NOTICE("{}-{} done", program, base::kVersion);
  base::FlushLog();
  return 0;
}

int Main(int argc, char** argv) {
  const FlagsResult parsed = ParseFlags(argc, argv);
  if (!parsed.error.empty()) {
    Print(parsed.error + "\n" + UsageText(parsed.program));
    return 1;
  }
  const Flags& flags = parsed.flags;
  if (flags.help || flags.version || flags.describe_stats) {
    Print(VersionText(parsed.program));
    if (flags.help) Print(UsageText(parsed.program));
    if (flags.describe_stats) Print(metrics::DescribeStats());
    return 0;
  }
  return flags.test_conf ? TestConfiguration(parsed.program, flags)
                         : Serve(parsed.program, flags, {argv, argv + argc});
}

}  // namespace
}  // namespace cashew

int main(int argc, char** argv) { return cashew::Main(argc, argv); }

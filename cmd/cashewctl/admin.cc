// The proxy as a whole: status, locate, reload, stop, drain, restart, upgrade.

#include <memory>
#include <string>

#include "fmt/format.h"

#include "cmd/cashewctl/command.h"
#include "cmd/cashewctl/json.h"
#include "cmd/cashewctl/locate.h"
#include "cmd/cashewctl/pool_text.h"
#include "cmd/cashewctl/process_wait.h"
#include "cmd/cashewctl/tables.h"
#include "cmd/cashewctl/times.h"

namespace cashew::ctl {
namespace {

namespace v1 = admin::v1;

constexpr char kGroup[] = "The proxy";
// A new process reads its configuration and connects before it takes over.
constexpr absl::Duration kUpgradeTimeout = absl::Minutes(2);
// Longer than drain_grace and drain_timeout usually are together.
constexpr absl::Duration kWaitTimeout = absl::Minutes(5);

grpc::Status GetStatus(Session& session, v1::GetStatusResponse* answer) {
  return session.Call(session.admin(), &AdminStub::GetStatus, {}, answer);
}

std::string StatusText(const v1::GetStatusResponse& status, bool terminal) {
  const std::string reasons = fmt::format("{}", fmt::join(status.not_ready_reasons(), "\n"));
  std::string text = Facts({
      {"version", status.version()},
      {"pid", std::to_string(status.pid())},
      {"started", Seconds(status.started_at())},
      {"ready", status.ready() ? "yes" : "no\n" + reasons},
      {"workers", std::to_string(status.workers())},
      {"configuration",
       fmt::format("{}, read {}", status.config_file(), Seconds(status.configured_at()))},
      {"reload error", status.last_reload_error().empty() ? "none" : status.last_reload_error()},
      {"state directory", status.state_dir().empty() ? "none" : status.state_dir()},
      {"client connections", std::to_string(status.client_connections())},
      {"buffers",
       fmt::format("{} of {} bytes", status.buffer_bytes(), status.buffer_limit_bytes())},
  });
  membership::v1::ListPoolsResponse pools;
  *pools.mutable_pools() = status.pools();
  return text + "\n" + PoolsTable(pools).Render(terminal);
}

Action DeclareStatus(CLI::App&) {
  return [](Session& session) -> int {
    v1::GetStatusResponse answer;
    const grpc::Status status = GetStatus(session, &answer);
    if (!status.ok()) return session.Fail("status", status);
    return session.Answer(answer, StatusText(answer, session.terminal()));
  };
}

int LocateByProxy(Session& session, const LocateOptions& options) {
  if (const int code = session.Connect(); code != kDone) return code;
  v1::LocateRequest request;
  request.set_pool(options.pool);
  request.set_key(options.key);
  v1::LocateResponse answer;
  const grpc::Status status = session.Call(session.admin(), &AdminStub::Locate, request, &answer);
  if (!status.ok()) {
    return session.Fail(fmt::format("locate {} {}", options.pool, options.key), status);
  }
  PrintLocation(session, options,
                Location{.hashed = answer.hashed(),
                         .hash = answer.hash(),
                         .position = answer.position(),
                         .server = answer.server(),
                         .address = answer.address(),
                         .if_ejected = answer.if_ejected(),
                         .owner = answer.owner()});
  return kDone;
}

Action DeclareLocate(CLI::App& app) {
  auto options = std::make_shared<LocateOptions>();
  app.add_option("POOL", options->pool, "name of the pool")->required();
  app.add_option("KEY", options->key, "the key")->required();
  app.add_option("--config", options->config,
                 "work it out from this configuration file instead of asking the proxy")
      ->type_name("FILE");
  return [options](Session& session) {
    return options->config.empty() ? LocateByProxy(session, *options)
                                   : LocateInFile(session, *options);
  };
}

template <typename List>
void AddNames(std::string* text, std::string_view what, const List& names) {
  if (names.empty()) return;
  *text += fmt::format("  {} {}\n", what, Printable(fmt::format("{}", fmt::join(names, ", "))));
}

std::string ReloadText(const v1::ReloadResponse& answer) {
  std::string text = answer.changed() ? "reloaded\n" : "the file says what is already in use\n";
  AddNames(&text, "added", answer.added());
  AddNames(&text, "removed", answer.removed());
  AddNames(&text, "changed", answer.modified());
  for (const std::string& warning : answer.warnings()) {
    text += fmt::format("  warning: {}\n", Printable(warning));
  }
  return text;
}

Action DeclareReload(CLI::App&) {
  return [](Session& session) -> int {
    v1::ReloadResponse answer;
    const grpc::Status status = session.Call(session.admin(), &AdminStub::Reload, {}, &answer);
    if (!status.ok()) return session.Fail("reload", status);
    return session.Answer(answer, ReloadText(answer));
  };
}

int WaitUntilGone(Session& session, const std::string& asked, const ProcessWait& process) {
  const absl::Time deadline = absl::Now() + session.Limit(kWaitTimeout);
  const auto still_answers = [&session] {
    v1::GetStatusResponse answer;
    const grpc::Status status = GetStatus(session, &answer);
    return status.ok() ? answer.pid() : int64_t{0};
  };
  if (process.UntilGone(deadline, still_answers)) return kDone;
  return session.Fail(kUnreachable,
                      fmt::format("{}: process {} has not ended yet; it drains on, and --timeout "
                                  "waits longer",
                                  asked, process.pid()));
}

Action DeclareStop(CLI::App& app) {
  auto wait = std::make_shared<bool>(false);
  app.add_flag("--wait", *wait, "return when the process has gone");
  const std::string asked = app.get_name();
  return [asked, wait](Session& session) -> int {
    v1::GetStatusResponse before;
    grpc::Status status = GetStatus(session, &before);
    if (!status.ok()) return session.Fail(asked, status);
    const ProcessWait process(before.pid());
    v1::StopResponse answer;
    status = session.Call(session.admin(), &AdminStub::Stop, {}, &answer);
    if (!status.ok()) return session.Fail(asked, status);
    if (*wait) {
      const int code = WaitUntilGone(session, asked, process);
      if (code != kDone) return code;
    }
    return session.Answer(nlohmann::ordered_json{{"pid", before.pid()}, {"gone", *wait}},
                          fmt::format("process {} {}\n", before.pid(),
                                      *wait ? "has drained and ended" : "drains, then exits"));
  };
}

Action DeclareUpgrade(CLI::App& app) {
  const std::string asked = app.get_name();
  return [asked](Session& session) -> int {
    v1::UpgradeResponse answer;
    const grpc::Status status =
        session.Call(session.admin(), &AdminStub::Upgrade, {}, &answer, kUpgradeTimeout);
    if (!status.ok()) return session.Fail(asked, status);
    return session.Answer(answer, fmt::format("process {} serves now, version {}\n", answer.pid(),
                                              Printable(answer.version())));
  };
}

constexpr Command kCommands[] = {
    {"status", kGroup, "whether it is ready, its limits and its pools", true, DeclareStatus},
    {"locate", kGroup, "which server of a pool a key belongs to, and why", false, DeclareLocate},
    {"reload", kGroup, "reads the configuration file again, as SIGHUP", true, DeclareReload},
    {"stop", kGroup, "answers what was read, then exits, as SIGTERM", true, DeclareStop},
    {"drain", kGroup, "the same as stop", true, DeclareStop},
    {"restart", kGroup, "a new process takes over without loss, as SIGUSR2", true, DeclareUpgrade},
    {"upgrade", kGroup, "the same as restart, with the program's file as it is now", true,
     DeclareUpgrade},
};

}  // namespace

std::span<const Command> AdminCommands() { return kCommands; }

}  // namespace cashew::ctl

#include "cmd/cashewctl/cli.h"

#include <array>
#include <exception>
#include <map>
#include <sstream>
#include <string>

#include "fmt/format.h"

#include "cmd/cashewctl/command.h"
#include "pkg/base/build_info.h"

namespace cashew::ctl {
namespace {

using Table = std::span<const Command> (*)();
// In the order of --help.
constexpr std::array<Table, 6> kTables = {AdminCommands,      StatsCommands,  TrafficCommands,
                                          MembershipCommands, ServerCommands, OfflineCommands};

struct Declared {
  const Command* command;
  Action action;
};
using DeclaredCommands = std::map<const CLI::App*, Declared>;

std::string Footer() {
  std::string text = "\nExit status:\n";
  for (const ExitCodeRow& row : kExitCodes) {
    text += fmt::format("  {}  {}\n", static_cast<int>(row.code), row.meaning);
  }
  return text;
}

void DeclareGlobalOptions(CLI::App& app, Session& session) {
  app.add_option("--address", session.connect.address,
                 "the proxy: unix:PATH or HOST:PORT; default: grpc.sock in $RUNTIME_DIRECTORY, "
                 "$XDG_RUNTIME_DIR/cashew or /run/cashew, the first that exists")
      ->envname("CASHEW_GRPC")
      ->type_name("ADDRESS");
  app.add_option("--tls-ca", session.connect.tls_ca, "certificates that the proxy's is signed by")
      ->type_name("FILE");
  app.add_option("--tls-cert", session.connect.tls_cert, "certificate to show to the proxy")
      ->type_name("FILE");
  app.add_option("--tls-key", session.connect.tls_key, "its private key")->type_name("FILE");
  app.add_option("--tls-server-name", session.connect.tls_server_name,
                 "name expected in the proxy's certificate; default: the host of the address")
      ->type_name("NAME");
  app.add_option("--timeout", session.timeout,
                 "how long a call may take, such as 30s; default: 10s, upgrade 2m, --wait 5m")
      ->type_name("TIME");
  app.add_option("--output", session.output, "a table for people, or json for scripts")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
}

// "server drain" goes below the command "server", whose row comes first.
CLI::App& ParentOf(CLI::App& app, std::string_view path) {
  const size_t space = path.find(' ');
  if (space == std::string_view::npos) return app;
  return *app.get_subcommand(std::string(path.substr(0, space)));
}

void DeclareCommand(CLI::App& app, const Command& command, DeclaredCommands* declared) {
  const std::string_view name = command.path.substr(command.path.find(' ') + 1);
  CLI::App* sub = ParentOf(app, command.path).add_subcommand(std::string(name));
  sub->description(std::string(command.help))->fallthrough()->footer("");
  if (&ParentOf(app, command.path) == &app) sub->group(std::string(command.group));
  if (command.declare == nullptr) {
    sub->require_subcommand(1);
  } else {
    (*declared)[sub] = {&command, command.declare(*sub)};
  }
}

const CLI::App* Chosen(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return at;
}

int ExplainUsage(const CLI::App& app, const CLI::ParseError& error, Session& session) {
  std::ostringstream out;
  std::ostringstream err;
  const int code = app.exit(error, out, err);
  session.Print(out.str());
  if (code == 0) return kDone;  // --help, --version
  const CLI::App* chosen = Chosen(app);
  std::string name = "cashewctl";
  if (chosen != &app) {
    if (chosen->get_parent() != &app) name += " " + chosen->get_parent()->get_name();
    name += " " + chosen->get_name();
  }
  return session.Fail(kUsage,
                      fmt::format("{}\n`{} --help` shows how it is used", error.what(), name));
}

int ParseAndRun(int argc, const char* const* argv, Session& session) {
  CLI::App app{"Shows and changes what a running cashew does.", "cashewctl"};
  app.require_subcommand(1);
  app.set_version_flag("--version", fmt::format("cashewctl {}", base::kVersion));
  app.footer(Footer());
  DeclareGlobalOptions(app, session);
  DeclaredCommands declared;
  for (const Table table : kTables) {
    for (const Command& command : table()) DeclareCommand(app, command, &declared);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ExplainUsage(app, error, session);
  }
  const Declared& chosen = declared.at(Chosen(app));
  if (chosen.command->needs_proxy) {
    if (const int code = session.Connect(); code != kDone) return code;
  }
  return chosen.action(session);
}

}  // namespace

int Run(int argc, const char* const* argv, Session& session) {
  try {
    return ParseAndRun(argc, argv, session);
  } catch (const std::exception& error) {
    return session.Fail(kRefused, error.what());
  }
}

}  // namespace cashew::ctl

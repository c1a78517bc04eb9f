#include "cmd/cashewctl/offline.h"

#include <memory>
#include <string>

#include "fmt/format.h"

#include "cmd/cashewctl/command.h"
#include "cmd/cashewctl/completion.h"
#include "cmd/cashewctl/tables.h"
#include "pkg/base/build_info.h"

namespace cashew::ctl {
namespace {

constexpr char kGroup[] = "Without a proxy";
// Somebody who asks for a version does not wait long for a proxy that is not there.
constexpr absl::Duration kVersionTimeout = absl::Seconds(2);

Action DeclareCheck(CLI::App& app) {
  auto file = std::make_shared<std::string>();
  app.add_option("FILE", *file, "configuration file")->required();
  return [file](Session& session) -> int {
    const config::LoadResult result = config::LoadFile(*file);
    WarnOfProblems(session, result);
    if (!result.ok()) return kRefused;
    size_t servers = 0;
    for (const config::Pool& pool : result.config.pools) servers += pool.servers.size();
    const size_t pools = result.config.pools.size();
    return session.Answer(nlohmann::ordered_json{{"file", *file},
                                                 {"pools", pools},
                                                 {"servers", servers},
                                                 {"warnings", result.warnings.size()}},
                          fmt::format("{}: ok, {} pool{}, {} server{}\n", *file, pools,
                                      pools == 1 ? "" : "s", servers, servers == 1 ? "" : "s"));
  };
}

// Of the proxy that answers; empty when none does, which is no error here.
std::string ProxyVersion(Session& session) {
  if (session.address().empty() && !FindSocket(DefaultSockets(ProcessEnv)).ok()) return "";
  if (session.Connect() != kDone) return "";
  admin::v1::GetStatusResponse status;
  if (!session.Call(session.admin(), &AdminStub::GetStatus, {}, &status, kVersionTimeout).ok()) {
    return "";
  }
  return status.version();
}

Action DeclareVersion(CLI::App&) {
  return [](Session& session) -> int {
    const std::string proxy = ProxyVersion(session);
    nlohmann::ordered_json json = {{"cashewctl", base::kVersion}, {"proxy", nullptr}};
    if (!proxy.empty()) json["proxy"] = proxy;
    return session.Answer(json, Facts({{"cashewctl", base::kVersion},
                                       {"proxy", proxy.empty() ? "none reached" : proxy}}));
  };
}

Action DeclareCompletion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  app.add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  const CLI::App* root = &app;
  while (root->get_parent() != nullptr) root = root->get_parent();
  return [root, shell](Session& session) -> int {
    session.Print(CompletionScript(*root, *shell));
    return kDone;
  };
}

constexpr Command kCommands[] = {
    {"check", kGroup, "checks a configuration file, as cashew -t", false, DeclareCheck},
    {"completion", kGroup, "prints a shell's completion script", false, DeclareCompletion},
    {"version", kGroup, "this program's version, and the proxy's if one answers", false,
     DeclareVersion},
};

}  // namespace

void WarnOfProblems(Session& session, const config::LoadResult& result) {
  for (const auto& error : result.errors) session.PrintError(error.ToString());
  for (const auto& warning : result.warnings) {
    session.PrintError(fmt::format("warning: {}", warning.ToString()));
  }
}

std::span<const Command> OfflineCommands() { return kCommands; }

}  // namespace cashew::ctl

// The operators' tool. Wiring only.

#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"

#include "cmd/cashewctl/commands.h"
#include "pkg/base/build_info.h"

int main(int argc, char** argv) {
  CLI::App app{"cashewctl: looks into a Cashew configuration"};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("cashewctl ") + cashew::base::kVersion);
  int exit_code = 0;

  cashew::ctl::LocateOptions locate;
  auto* locate_command =
      app.add_subcommand("locate", "shows which server of a pool a key belongs to, and why");
  locate_command->add_option("--config", locate.config, "configuration file")
      ->default_val("conf/nutcracker.yml");
  locate_command->add_option("--output", locate.output, "table or json")
      ->default_val("table")
      ->check(CLI::IsMember({"table", "json"}));
  locate_command->add_option("POOL", locate.pool, "name of the pool")->required();
  locate_command->add_option("KEY", locate.key, "the key")->required();
  locate_command->callback([&] { exit_code = cashew::ctl::Locate(locate); });

  std::string file;
  auto* check_command = app.add_subcommand("check", "checks a configuration file");
  check_command->add_option("FILE", file, "configuration file")->required();
  check_command->callback([&] { exit_code = cashew::ctl::Check(file); });

  CLI11_PARSE(app, argc, argv);
  return exit_code;
}

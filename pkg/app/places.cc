#include "pkg/app/places.h"

#include <cstdlib>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace cashew::app {
namespace {

// An environment variable; of a list with colons the first, as systemd sets them.
std::string First(const char* name) {
  const char* value = std::getenv(name);
  const std::string_view all = value == nullptr ? "" : value;
  return std::string(all.substr(0, all.find(':')));
}

std::string Made(const std::string& directory) {
  mkdir(directory.c_str(), 0700);  // there already, or whoever uses it says why not
  return directory;
}

}  // namespace

std::string DefaultGrpcAddress() {
  std::string directory = First("RUNTIME_DIRECTORY");
  if (directory.empty()) {
    const std::string user = First("XDG_RUNTIME_DIR");
    directory = Made(user.empty() ? "/run/cashew" : user + "/cashew");
  }
  return "unix:" + directory + "/grpc.sock";
}

std::string DefaultStateDir() {
  if (std::string given = First("STATE_DIRECTORY"); !given.empty()) return given;
  if (geteuid() == 0) return "/var/lib/cashew";
  std::string base = First("XDG_STATE_HOME");
  if (base.empty()) base = First("HOME") + "/.local/state";
  return base + "/cashew";
}

}  // namespace cashew::app

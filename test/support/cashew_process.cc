#include "test/support/cashew_process.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "fmt/format.h"

#include "test/support/raw_client.h"

namespace cashew::test {
namespace {

constexpr size_t kLogTail = 8 * 1024;

std::string Binary() {
  const char* binary = getenv("CASHEW_BIN");
  return binary != nullptr ? binary : "build/bin/cashew";
}

std::filesystem::path NewFolder() {
  std::string path = (std::filesystem::temp_directory_path() / "cashew-test-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr) abort();
  return path;
}

std::string PoolConfig(uint16_t port, uint16_t admin_port, const std::vector<uint16_t>& servers,
                       const CashewProcess::Options& options) {
  std::string text = fmt::format(
      "global:\n  workers: {}\n  admin: 127.0.0.1:{}\n"
      "cache:\n  listen: 127.0.0.1:{}\n  hash: md5\n  distribution: ketama\n"
      "  preconnect: true\n  timeout: {}\n  server_connections: {}\n  servers:\n",
      options.workers, admin_port, port, options.timeout_ms, options.server_connections);
  for (size_t i = 0; i < servers.size(); ++i) {
    text += fmt::format("    - 127.0.0.1:{}:1 m{}\n", servers[i], i);
  }
  return text;
}

}  // namespace

CashewProcess::CashewProcess(const std::vector<uint16_t>& servers, const Options& options)
    : folder_(NewFolder()), port_(FreePort()), admin_port_(FreePort()) {
  const std::string config = folder_ / "cashew.yml";
  std::ofstream(config) << PoolConfig(port_, admin_port_, servers, options);
  const std::vector<std::string> argv = {
      Binary(), "-c", config, "-s", std::to_string(FreePort()), "-a", "127.0.0.1"};
  process_ = std::make_unique<Process>(argv, folder_ / "log");
  if (WaitForPort(port_, 20'000) && WaitForPort(admin_port_, 20'000)) return;
  fprintf(stderr, "%s does not start\n%s\n", argv[0].c_str(), LogTail().c_str());
  std::filesystem::remove_all(folder_);
  abort();
}

CashewProcess::~CashewProcess() {
  process_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

int64_t CashewProcess::Metric(std::string_view name) const {
  std::istringstream lines(HttpGet(admin_port_, "/metrics"));
  int64_t sum = 0;
  bool found = false;
  for (std::string line; std::getline(lines, line);) {
    const std::string_view text = line;
    const bool this_one = text.substr(0, name.size()) == name && text.size() > name.size() &&
                          (text[name.size()] == '{' || text[name.size()] == ' ');
    if (!this_one) continue;
    found = true;
    sum += static_cast<int64_t>(strtod(line.c_str() + line.rfind(' '), nullptr));
  }
  return found ? sum : -1;
}

std::string CashewProcess::LogTail() const {
  std::ifstream in(folder_ / "log");
  const std::string log((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return log.size() > kLogTail ? log.substr(log.size() - kLogTail) : log;
}

}  // namespace cashew::test

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "test/support/server_process.h"

namespace cashew::test {

// The proxy's own binary (CASHEW_BIN, or build/bin/cashew) with one memcached pool,
// hash md5, its servers named m0, m1, … It is stopped, and its files are removed, in
// the destructor. A binary that is missing or does not start ends the test program.
class CashewProcess {
 public:
  struct Options {
    int workers = 1;
    int server_connections = 1;
    int timeout_ms = 30'000;
  };

  CashewProcess(const std::vector<uint16_t>& servers, const Options& options);
  ~CashewProcess();
  CashewProcess(const CashewProcess&) = delete;
  CashewProcess& operator=(const CashewProcess&) = delete;

  uint16_t port() const { return port_; }
  Process& process() { return *process_; }

  // The sum of a metric over its labels, as /metrics has it now; -1 when absent.
  int64_t Metric(std::string_view name) const;
  // The end of its log, for a failure's message.
  std::string LogTail() const;

 private:
  std::filesystem::path folder_;
  uint16_t port_ = 0, admin_port_ = 0;
  std::unique_ptr<Process> process_;
};

}  // namespace cashew::test

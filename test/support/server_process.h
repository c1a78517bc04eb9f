#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace cashew::test {

// A free TCP port on loopback, as of now.
uint16_t FreePort();

// A process of the test's own: started in the constructor, killed and reaped in the
// destructor. Its output goes to `log_path`, or nowhere.
class Process {
 public:
  explicit Process(const std::vector<std::string>& argv, const std::string& log_path = "");
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int signal);
  // Waits up to `timeout_ms` for its end; the status of waitpid, or -1.
  int Wait(int timeout_ms);

 private:
  pid_t pid_ = -1;
};

// True when something listens on the port within the time.
bool WaitForPort(uint16_t port, int timeout_ms);

// A real memcached on loopback, text protocol, one thread. It takes memory up to the
// given size as it is used.
class Memcached {
 public:
  explicit Memcached(int megabytes = 64);
  uint16_t port() const { return port_; }
  Process& process() { return process_; }

 private:
  const uint16_t port_;
  Process process_;
};

}  // namespace cashew::test

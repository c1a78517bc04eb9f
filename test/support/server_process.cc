#include "test/support/server_process.h"

#include <arpa/inet.h>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace cashew::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

uint16_t FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof address;
  bind(fd, reinterpret_cast<sockaddr*>(&address), length);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  close(fd);
  return ntohs(address.sin_port);
}

Process::Process(const std::vector<std::string>& argv, const std::string& log_path) {
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  const char* const log = log_path.empty() ? "/dev/null" : log_path.c_str();
  pid_ = fork();
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves nothing behind
  const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  execvp(args[0], args.data());
  _exit(127);
}

Process::~Process() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void Process::Signal(int signal) { kill(pid_, signal); }

int Process::Wait(int timeout_ms) {
  const auto end = steady_clock::now() + milliseconds(timeout_ms);
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (steady_clock::now() > end) return -1;
    std::this_thread::sleep_for(milliseconds(5));
  }
  pid_ = -1;
  return status;
}

bool WaitForPort(uint16_t port, int timeout_ms) {
  const auto end = steady_clock::now() + milliseconds(timeout_ms);
  while (steady_clock::now() < end) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(port);
    const bool up = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    close(fd);
    if (up) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

// As root it stays root: one that changes its user outlives a test that crashes, since
// the kernel then forgets PR_SET_PDEATHSIG.
Memcached::Memcached(int megabytes)
    : port_(FreePort()),
      process_({"memcached", "-l", "127.0.0.1", "-p", std::to_string(port_), "-U", "0", "-t", "1",
                "-m", std::to_string(megabytes), "-u",
                getuid() == 0 ? "root" : std::to_string(getuid())}) {
  if (!WaitForPort(port_, 10'000)) {
    fprintf(stderr, "memcached does not start; install the package memcached\n");
    abort();
  }
}

}  // namespace cashew::test

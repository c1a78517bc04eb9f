#include "cmd/cashew/daemon.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/debugging/failure_signal_handler.h"
#include "absl/debugging/symbolize.h"
#include "fmt/format.h"

namespace cashew {
namespace {

int report_fd = -1;  // to the waiting parent
int crash_fd = -1;   // where a stack trace goes; -1: stderr

absl::Status Errno(std::string_view what) {
  return absl::InternalError(fmt::format("{}: {}", what, strerror(errno)));
}

// Prints what the daemon says; its first byte 'k' is "started".
[[noreturn]] void WaitForDaemon(int fd, pid_t child) {
  std::string said;
  char buffer[1024];
  ssize_t n;
  while ((n = read(fd, buffer, sizeof buffer)) > 0) said.append(buffer, static_cast<size_t>(n));
  waitpid(child, nullptr, 0);
  if (said == "k") _exit(0);
  if (said.empty()) said = "the daemon ended before it had started; see its log";
  fmt::print(stderr, "{}\n", said);
  _exit(1);
}

absl::Status StreamsToNull() {
  const int null = open("/dev/null", O_RDWR);
  if (null < 0) return Errno("open /dev/null");
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (dup2(null, fd) < 0) return Errno("dup2");
  }
  if (null > STDERR_FILENO) close(null);
  return absl::OkStatus();
}

}  // namespace

absl::Status Daemonize() {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return Errno("pipe");
  const pid_t child = fork();
  if (child < 0) return Errno("fork");
  if (child > 0) {
    close(pipe_fds[1]);
    WaitForDaemon(pipe_fds[0], child);
  }
  close(pipe_fds[0]);
  report_fd = pipe_fds[1];
  if (setsid() < 0) return Errno("setsid");
  const pid_t daemon = fork();
  if (daemon < 0) return Errno("fork");
  if (daemon > 0) _exit(0);
  umask(0);
  return StreamsToNull();
}

void ReportStarted() {
  if (report_fd < 0) return;
  [[maybe_unused]] const ssize_t n = write(report_fd, "k", 1);
  close(report_fd);
  report_fd = -1;
}

void ReportFailed(const std::string& why) {
  if (report_fd < 0) {
    fmt::print(stderr, "{}\n", why);
    return;
  }
  [[maybe_unused]] const ssize_t n = write(report_fd, why.data(), why.size());
  close(report_fd);
  report_fd = -1;
}

void InstallCrashHandler(const char* program, const std::string& log_path) {
  absl::InitializeSymbolizer(program);
  if (!log_path.empty()) {
    crash_fd = open(log_path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  }
  absl::FailureSignalHandlerOptions options;
  options.call_previous_handler = true;
  options.writerfn = [](const char* text) {
    if (text == nullptr) return;
    const int fd = crash_fd >= 0 ? crash_fd : STDERR_FILENO;
    [[maybe_unused]] const ssize_t n = write(fd, text, strlen(text));
  };
  absl::InstallFailureSignalHandler(options);
}

PidFile::~PidFile() {
  if (path_.empty()) return;
  std::ifstream file(path_);
  pid_t pid = 0;
  if (file >> pid && pid == getpid()) unlink(path_.c_str());
}

absl::Status PidFile::Write(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return Errno(fmt::format("cannot write pid file {}", path));
  const std::string pid = fmt::format("{}", getpid());
  const bool written = write(fd, pid.data(), pid.size()) == static_cast<ssize_t>(pid.size());
  close(fd);
  if (!written) return Errno(fmt::format("cannot write pid file {}", path));
  path_ = path;
  return absl::OkStatus();
}

}  // namespace cashew

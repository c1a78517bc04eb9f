#pragma once

#include <string>

#include "absl/status/status.h"

namespace cashew {

// Becomes a daemon as nutcracker does: two forks, a session of its own, umask 0, the
// standard streams on /dev/null, the working directory kept. Returns in the daemon;
// the caller's process waits until ReportStarted() or the daemon's end, and exits
// with 0 or 1 accordingly. (nutcracker's parent always exits with 0.)
absl::Status Daemonize();

// Tells the waiting parent that start-up succeeded. Nothing to do without Daemonize().
void ReportStarted();
// What the parent prints before it exits with 1.
void ReportFailed(const std::string& why);

// On a crash, writes a stack trace to the log file (stderr when `log_path` is empty),
// then dies of the signal as before. nutcracker: nc_signal.c, SIGSEGV.
void InstallCrashHandler(const char* program, const std::string& log_path);

// A pid file: decimal, no newline, 0644. Removed at the end, if it still is ours.
class PidFile {
 public:
  PidFile() = default;
  ~PidFile();
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;
  // The error names the file.
  absl::Status Write(const std::string& path);

 private:
  std::string path_;
};

}  // namespace cashew

#include "pkg/app/upgrade.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"

extern char** environ;

namespace cashew::app {
namespace {

// A successor that loads a large configuration and waits for names is up within seconds.
constexpr int kReadyTimeoutMs = 60'000;
constexpr int kChildFd = 3;

std::vector<char*> Pointers(std::vector<std::string>* words) {
  std::vector<char*> pointers;
  for (std::string& word : *words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> ChildEnvironment() {
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable)
    environment.push_back(*variable);
  environment.push_back(fmt::format("{}={}", kHandoverEnv, kChildFd));
  return environment;
}

// Signals as they are for a process that nobody has touched.
absl::StatusOr<pid_t> Spawn(const std::string& program, std::vector<std::string> arguments,
                            int socket) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, socket, kChildFd);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::vector<std::string> environment = ChildEnvironment();
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program.c_str(), &actions, &attributes,
                                Pointers(&arguments).data(), Pointers(&environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::FailedPreconditionError(
        fmt::format("cannot start {}: {}; this process goes on", program, strerror(error)));
  }
  return pid;
}

// Ends a successor that did not come up, and says how it ended.
std::string EndOf(pid_t pid) {
  int status = 0;
  for (int i = 0; i < 100; ++i) {
    if (waitpid(pid, &status, WNOHANG) == pid) {
      return WIFEXITED(status) ? fmt::format("it exited with {}", WEXITSTATUS(status))
                               : fmt::format("it died of signal {}", WTERMSIG(status));
    }
    usleep(10'000);
  }
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return "it was not ready in time and was ended";
}

}  // namespace

Upgrade::Upgrade(Plan plan, std::function<void(absl::StatusOr<rpc::Upgraded>)> done)
    : plan_(std::move(plan)), done_(std::move(done)) {
  thread_ = std::thread([this] { Run(); });
}

Upgrade::~Upgrade() {
  {
    base::MutexLock lock(&mu_);
    finished_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Upgrade::Send(proxy::CarriedClient client) {
  {
    base::MutexLock lock(&mu_);
    clients_.push_back(std::move(client));
  }
  changed_.notify_all();
}

void Upgrade::Run() {
  absl::StatusOr<rpc::Upgraded> successor = StartSuccessor();
  const bool serves = successor.ok();
  done_(std::move(successor));
  if (serves) PassClients();
}

absl::StatusOr<rpc::Upgraded> Upgrade::StartSuccessor() {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return absl::FailedPreconditionError(fmt::format("socketpair: {}", strerror(errno)));
  }
  absl::StatusOr<pid_t> pid = absl::AbortedError("this process was told to stop");
  {
    base::MutexLock lock(&mu_);
    channel_ = std::make_unique<HandoverChannel>(pair[0]);
    if (!aborted_) pid = Spawn(plan_.program, plan_.arguments, pair[1]);
    if (pid.ok()) successor_ = *pid;
  }
  close(pair[1]);
  if (!pid.ok()) return pid.status();
  return AwaitReady(*pid);
}

absl::StatusOr<rpc::Upgraded> Upgrade::AwaitReady(pid_t pid) {
  absl::Status status;
  for (const Frame& frame : plan_.frames) {
    if (status.ok()) status = channel_->Send(frame);
  }
  if (status.ok()) status = channel_->Send({"begin", "", "", "", -1});
  absl::StatusOr<Frame> ready = status.ok() ? channel_->Receive(kReadyTimeoutMs) : status;
  if (ready.ok() && ready->kind == "ready") return rpc::Upgraded{pid, ready->text};
  {
    base::MutexLock lock(&mu_);
    successor_ = 0;  // its number may soon be another's
  }
  return absl::FailedPreconditionError(
      fmt::format("the new process (pid {}) did not come up: {}; its log says why, and this "
                  "process goes on",
                  pid, EndOf(pid)));
}

void Upgrade::Abort() {
  base::MutexLock lock(&mu_);
  aborted_ = true;
  if (successor_ != 0) kill(successor_, SIGTERM);
  if (channel_ != nullptr) channel_->Shutdown();  // whoever waits for its answer does no longer
}

void Upgrade::PassClients() {
  for (;;) {
    proxy::CarriedClient client;
    {
      base::MutexLock lock(&mu_);
      while (clients_.empty() && !finished_) changed_.wait(mu_);
      if (clients_.empty()) break;
      client = std::move(clients_.front());
      clients_.pop_front();
    }
    const absl::Status status = channel_->Send(
        {"client", client.pool, std::move(client.state), std::move(client.unread), client.fd});
    close(client.fd);
    if (!status.ok()) CASHEW_LOG_ERROR("client not handed over pool={}", client.pool);
  }
  (void)channel_->Send({"end", "", "", "", -1});
}

std::string ProgramPath(const std::string& argv0) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (argv0.find('/') != std::string::npos) return fs::absolute(argv0, ignored).string();
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    const fs::path candidate = fs::path(std::string(rest.substr(0, colon))) / argv0;
    if (access(candidate.c_str(), X_OK) == 0) return fs::absolute(candidate, ignored).string();
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return fs::read_symlink("/proc/self/exe", ignored).string();
}

}  // namespace cashew::app

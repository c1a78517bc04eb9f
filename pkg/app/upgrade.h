#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

#include "pkg/app/handover.h"
#include "pkg/base/mutex.h"
#include "pkg/proxy/worker.h"
#include "pkg/rpc/backend.h"

namespace cashew::app {

// The old process' side of a binary upgrade: starts the successor, tells it all it needs,
// waits until it serves, and then passes it clients. One thread of its own, since the other
// side may be slow.
class Upgrade {
 public:
  struct Plan {
    std::string program;  // absolute, as it was when this process started
    std::vector<std::string> arguments;
    std::vector<Frame> frames;  // up to, and without, "begin"; descriptors stay the caller's
  };

  // Begins. `done` is called once, on another thread: with the successor, or with why there is
  // none (FAILED_PRECONDITION), and then this object has nothing more to do.
  Upgrade(Plan plan, std::function<void(absl::StatusOr<rpc::Upgraded>)> done);
  // Sends what is queued, then ends the conversation.
  ~Upgrade();
  Upgrade(const Upgrade&) = delete;
  Upgrade& operator=(const Upgrade&) = delete;

  // This process is to stop: so is the successor, which may be starting or serve by now. Any
  // thread.
  void Abort();

  // Passes a client on. Any thread.
  void Send(proxy::CarriedClient client);

 private:
  void Run();
  absl::StatusOr<rpc::Upgraded> StartSuccessor();
  absl::StatusOr<rpc::Upgraded> AwaitReady(pid_t pid);
  void PassClients();

  const Plan plan_;
  const std::function<void(absl::StatusOr<rpc::Upgraded>)> done_;
  std::unique_ptr<HandoverChannel> channel_;  // made once, with mu_ held
  base::Mutex mu_;
  pid_t successor_ CASHEW_GUARDED_BY(mu_) = 0;  // 0: none to be signalled
  bool aborted_ CASHEW_GUARDED_BY(mu_) = false;
  std::deque<proxy::CarriedClient> clients_ CASHEW_GUARDED_BY(mu_);
  bool finished_ CASHEW_GUARDED_BY(mu_) = false;
  std::condition_variable_any changed_;
  std::thread thread_;
};

// The program that this process runs, to be started again: argv[0] with a slash made absolute,
// without one looked up in PATH. Links are not followed: a new version may be behind them.
std::string ProgramPath(const std::string& argv0);

}  // namespace cashew::app

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "fmt/format.h"

#include "pkg/app/control.h"
#include "pkg/app/signals.h"
#include "pkg/app/systemd.h"
#include "pkg/base/log.h"
#include "pkg/state/record.h"

// Signals, names, and the end.

namespace cashew::app {
namespace {

constexpr int64_t kDrainCheckMs = 20;
// For replies that are still due when drain_timeout is over.
constexpr int64_t kForceMs = 2000;
// How long a start waits for the first answers to its names; it goes on without them.
constexpr int64_t kWaitForNamesMs = 1000;

}  // namespace

void Control::Run() {
  if (auto status = loop_.AddLevel(signals_->fd(), signals_.get()); !status.ok()) {
    CASHEW_LOG_ERROR("signals are not handled: {}", std::string(status.message()));
  }
  loop_.Run();
}

void Control::OnSignal(int signal) {
  switch (signal) {
    case SIGHUP:
      return ReopenLogAndReload();
    case SIGTTIN:
    case SIGTTOU:
      base::SetLogLevel(base::LogLevel() + (signal == SIGTTIN ? 1 : -1));
      CASHEW_LOG_NOTICE("log level changed signal=SIG{} to={}", sigabbrev_np(signal),
                        base::LogLevel());
      return;
    case SIGUSR1:
      CASHEW_LOG_NOTICE("signal received, nothing to do signal=SIG{}", sigabbrev_np(signal));
      return;
    case SIGUSR2:
      CASHEW_LOG_NOTICE("signal received, upgrading signal=SIGUSR2");
      return Upgrade([](const absl::StatusOr<rpc::Upgraded>&) {});  // it logs what became of it
    default:
      CASHEW_LOG_NOTICE("signal received, draining signal=SIG{}", sigabbrev_np(signal));
      StartDrain();
  }
}

// ---- names ------------------------------------------------------------------

std::string Control::AddressOf(const std::string& host) const {
  const auto it = addresses_.find(host);
  return it == addresses_.end() ? "" : it->second;
}

void Control::WatchHost(const std::string& host, bool wanted) {
  int& uses = host_uses_[host];
  uses += wanted ? 1 : -1;
  if (wanted && uses == 1) resolver_->Watch(host);
  if (uses > 0) return;
  resolver_->Unwatch(host);
  host_uses_.erase(host);
  addresses_.erase(host);
}

void Control::WaitForNames() {
  const int64_t until_ns = loop_.clock().NowNs() + kWaitForNamesMs * base::kNsPerMs;
  const auto unheard = [this] {
    return std::any_of(host_uses_.begin(), host_uses_.end(),
                       [this](const auto& use) { return !addresses_.contains(use.first); });
  };
  while (unheard() && loop_.clock().NowNs() < until_ns) loop_.RunOnce(10);
}

void Control::OnAnswer(const std::string& host, const dns::Answer& answer) {
  if (!host_uses_.contains(host)) return;
  const bool first = !addresses_.contains(host);
  std::string& address = addresses_[host];
  const std::string kept = answer.status.ok() ? dns::Keep(address, answer) : address;
  if (!answer.status.ok() && (first || address.empty())) {
    if (first) {
      CASHEW_LOG_WARN("name not resolved host={} error=\"{}\"", host,
                      std::string(answer.status.message()));
    }
    return;
  }
  if (kept == address) return;
  CASHEW_LOG_NOTICE("name resolved host={} from={} to={}", host,
                    address.empty() ? "unknown" : address, kept);
  address = kept;
  for (const auto& [name, entry] : pools_) {
    if (entry.control->snapshot() != nullptr) entry.control->OnAddress(host);
  }
}

// ---- upgrade ----------------------------------------------------------------

Upgrade::Plan Control::PlanUpgrade() const {
  if (store_ != nullptr) (void)store_->Flush();
  app::Upgrade::Plan plan;
  plan.program = parts_.program;
  plan.arguments = parts_.arguments;
  for (const auto& [name, entry] : pools_) {
    plan.frames.push_back(
        {"listener", "pool " + entry.listener->key(), "", "", entry.listener->fd()});
    if (auto record = state::Encode(name, entry.control->Record()); record.ok()) {
      plan.frames.push_back({"state", name, "", *record, -1});
    }
    const std::vector<std::string> ejected = entry.control->Ejected();
    if (!ejected.empty()) {
      plan.frames.push_back({"ejected", name, fmt::format("{}", fmt::join(ejected, "\n")), "", -1});
    }
  }
  parts_.add_listeners(&plan.frames);
  return plan;
}

void Control::OnSuccessor(const absl::StatusOr<rpc::Upgraded>& successor,
                          const rpc::Done<rpc::Upgraded>& done) {
  const auto undecided = std::exchange(undecided_, {});
  const bool told_to_stop = drain_began_ns_ != 0;  // and so was the successor
  if (!successor.ok() || told_to_stop) {
    const absl::Status why =
        told_to_stop ? absl::AbortedError("this process was told to stop, and so was the new one")
                     : successor.status();
    CASHEW_LOG_ERROR("upgrade failed error=\"{}\"", std::string(why.message()));
    upgrade_.reset();
    done(why);
    for (const auto& [name, entry] : pools_) Save(*entry.control);  // what was not meanwhile
    for (const auto& change : undecided) change(absl::OkStatus());
    return;
  }
  CASHEW_LOG_NOTICE("upgraded, handing clients over successor_pid={} version={}", successor->pid,
                    successor->version);
  done(successor);
  succeeded_ = true;
  for (const auto& change : undecided) change(ServedByAnother());
  {
    base::MutexLock lock(&mu_);
    draining_ = true;
    carrier_ = upgrade_.get();
  }
  parts_.leave_ports();
  BeginLeaving();
}

// The listening sockets and their queues are the successor's; the clients follow.
void Control::BeginLeaving() {
  drain_began_ns_ = loop_.clock().NowNs();
  accepting_ = false;
  file_watch_.Cancel();
  for (auto& [name, entry] : pools_) entry.listener.reset();
  parts_.acceptor->Post([acceptor = parts_.acceptor, workers = parts_.workers] {
    acceptor->CloseAll(/*leave_queued=*/true);
    for (proxy::Worker* worker : workers) worker->Post([worker] { worker->HandOver(); });
  });
  drain_.SetAfterMs(kDrainCheckMs);
}

// ---- the end ----------------------------------------------------------------

void Control::StartDrain() {
  if (succeeded_ && !forced_) {  // those that could not be handed over
    for (proxy::Worker* worker : parts_.workers) worker->Post([worker] { worker->Drain(false); });
  }
  if (drain_began_ns_ != 0) return;
  if (upgrade_ != nullptr) upgrade_->Abort();
  drain_began_ns_ = loop_.clock().NowNs();
  {
    base::MutexLock lock(&mu_);
    draining_ = true;
  }
  if (!succeeded_) NotifyServiceManager("STOPPING=1");
  if (on_change_) on_change_();
  drain_.SetAfterMs(config_.global.drain_grace_ms);
}

void Control::CheckDrained() {
  const int64_t waited_ms = (loop_.clock().NowNs() - drain_began_ns_) / base::kNsPerMs;
  if (accepting_) {
    accepting_ = false;
    for (auto& [name, entry] : pools_) {
      if (entry.listener == nullptr) continue;
      entry.listener->RemovePath();
      entry.listener.reset();  // the acceptor has the last descriptor
    }
    // The workers follow when the last accepted client is in their mailboxes.
    parts_.acceptor->Post([acceptor = parts_.acceptor, workers = parts_.workers] {
      acceptor->CloseAll(/*leave_queued=*/false);
      for (proxy::Worker* worker : workers) worker->Post([worker] { worker->Drain(false); });
    });
    drain_.SetAfterMs(kDrainCheckMs);
    return;
  }
  int64_t clients = 0;
  bool begun = true;
  for (const proxy::Worker* worker : parts_.workers) {
    clients += worker->open_clients();
    begun = begun && (succeeded_ ? worker->leave_begun() : worker->drain_begun());
  }
  if (begun && clients == 0) return loop_.Stop();
  const int64_t late_ms =
      waited_ms - config_.global.drain_grace_ms - config_.global.drain_timeout_ms;
  if (late_ms >= kForceMs) {
    CASHEW_LOG_WARN("drain timed out clients={}", clients);
    return loop_.Stop();
  }
  if (late_ms >= 0 && !forced_) {
    forced_ = true;
    for (proxy::Worker* worker : parts_.workers) {
      worker->Post([worker] { worker->Drain(/*force=*/true); });
    }
  }
  drain_.SetAfterMs(kDrainCheckMs);
}

}  // namespace cashew::app

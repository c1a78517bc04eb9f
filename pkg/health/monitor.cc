#include "pkg/health/monitor.h"

#include <algorithm>
#include <utility>

#include "pkg/base/log.h"

namespace cashew::health {
namespace {

// A probe of a server that is out waits this long for an answer, and the next one
// follows after at most this long: back in service within a second.
constexpr int64_t kProbeTimeoutMs = 400;
constexpr int64_t kProbeIntervalMs = 1000;

}  // namespace

Monitor::Monitor(net::EventLoop* loop, Board* board, Target target,
                 std::function<void()> readmitted)
    : loop_(loop),
      board_(board),
      target_(std::move(target)),
      readmitted_(std::move(readmitted)),
      timer_(loop, [this] { Launch(); }) {
  if (target_.check) timer_.SetAfterMs(target_.check->interval_ms);
}

Monitor::~Monitor() {
  if (probe_ != nullptr) probe_->Cancel();
}

void Monitor::OnEjected() {
  if (state_ == State::kOut) return;
  state_ = State::kOut;
  in_a_row_ = 0;
  if (probe_ != nullptr) std::exchange(probe_, nullptr)->Cancel();
  timer_.SetAfterMs(target_.check ? target_.check->interval_ms : target_.retry_timeout_ms);
}

void Monitor::OnSuspected() {
  if (state_ != State::kIn) return;
  state_ = State::kConfirming;
  if (probe_ != nullptr) std::exchange(probe_, nullptr)->Cancel();
  Launch();
}

void Monitor::Launch() {
  if (probe_ != nullptr) return;
  int64_t timeout_ms = target_.check ? target_.check->timeout_ms : kProbeTimeoutMs;
  if (state_ == State::kConfirming) timeout_ms = target_.confirm_timeout_ms;
  if (auto* cells = board_->cells(target_.pool, target_.server); cells != nullptr) {
    (*cells)[metrics::ServerMetric::kProbes].Add(1);
  }
  probe_ = Probe::Start(loop_, target_.address, *target_.transport, *target_.codec, timeout_ms,
                        [this](bool answered) { OnProbe(answered); });
}

bool Monitor::Enough(bool answered) {
  in_a_row_ = answered == last_answer_ ? in_a_row_ + 1 : 1;
  last_answer_ = answered;
  if (!target_.check) return true;
  return in_a_row_ >= (answered ? target_.check->rise : target_.check->fall);
}

void Monitor::OnProbe(bool answered) {
  probe_ = nullptr;
  if (auto* cells = board_->cells(target_.pool, target_.server); cells != nullptr && !answered) {
    (*cells)[metrics::ServerMetric::kProbeFailures].Add(1);
  }
  const bool enough = Enough(answered);
  switch (state_) {
    case State::kConfirming:
      if (answered) {
        state_ = State::kIn;
      } else if (!board_->OnProbeFailure(target_.pool, target_.server)) {
        return timer_.SetAfterMs(0);  // back to back
      }
      break;
    case State::kOut:
      if (answered && enough) {
        state_ = State::kIn;
        board_->Readmit(target_.pool, target_.server);
        CASHEW_LOG_EACH(kNotice, "server is back pool={} server={}", target_.pool, target_.server);
        readmitted_();
      }
      break;
    case State::kIn:
      if (!answered && enough && target_.may_eject) board_->Eject(target_.pool, target_.server);
      break;
  }
  WaitForNext();
}

void Monitor::WaitForNext() {
  if (target_.check) {
    timer_.SetAfterMs(target_.check->interval_ms);
  } else if (state_ == State::kOut) {
    timer_.SetAfterMs(std::min(target_.retry_timeout_ms, kProbeIntervalMs));
  }
}

}  // namespace cashew::health

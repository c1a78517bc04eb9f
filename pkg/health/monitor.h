#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "pkg/health/board.h"
#include "pkg/health/probe.h"
#include "pkg/net/event_loop.h"

namespace cashew::health {

// Active probing, in milliseconds and in a row.
struct HealthCheck {
  int64_t interval_ms = 2000;
  int64_t timeout_ms = 400;
  int rise = 2;
  int fall = 3;
};

// Where and how to probe one server.
struct Target {
  std::string pool;
  std::string server;
  net::SocketAddress address;
  std::shared_ptr<const net::TransportFactory> transport;
  const protocol::Codec* codec = nullptr;
  int64_t retry_timeout_ms = 30'000;  // how long it stays out at least
  int64_t confirm_timeout_ms = 100;   // of a probe after a silent timeout
  bool may_eject = false;             // auto_eject_hosts
  std::optional<HealthCheck> check;
};

// Watches one server from the control thread. While the server is in: probes it if
// it fell silent, back to back, until it answers or is out; and all the time, with
// a health check. While it is out: probes it after server_retry_timeout and then
// every second or sooner; the first answer (with a check: `rise` of them) brings it
// back. Clients' requests are never used for that.
class Monitor {
 public:
  // `readmitted` is called when a server is back in. Loop thread only.
  Monitor(net::EventLoop* loop, Board* board, Target target, std::function<void()> readmitted);
  ~Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  void SetTarget(Target target) { target_ = std::move(target); }
  void OnEjected();
  void OnSuspected();

 private:
  enum class State : uint8_t { kIn, kConfirming, kOut };

  void Launch();
  void OnProbe(bool answered);
  void WaitForNext();
  bool Enough(bool answered);

  net::EventLoop* const loop_;
  Board* const board_;
  Target target_;
  const std::function<void()> readmitted_;
  State state_ = State::kIn;
  Probe* probe_ = nullptr;
  net::Timer timer_;
  int in_a_row_ = 0;  // probes with the same outcome
  bool last_answer_ = true;
};

}  // namespace cashew::health

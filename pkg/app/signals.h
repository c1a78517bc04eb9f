#pragma once

#include <functional>

#include "pkg/net/event_loop.h"

namespace cashew::app {

// Blocks the signals that the control thread handles: before any thread starts, so that all
// inherit it. SIGPIPE is ignored.
void BlockHandledSignals();

// The blocked signals as events of a loop (signalfd).
class Signals final : public net::IoHandler {
 public:
  explicit Signals(std::function<void(int signal)> on_signal);
  ~Signals() override;
  int fd() const { return fd_; }
  void OnReady(uint32_t) override;

 private:
  const std::function<void(int signal)> on_signal_;
  const int fd_;
};

}  // namespace cashew::app

#pragma once

#include <string>
#include <termios.h>

#include "absl/time/time.h"

namespace cashew::ctl {

// The terminal while a live view has it: an alternate screen without a cursor, keys read as
// they are pressed. The destructor gives it back as it was. Signals that would end the process
// are kept for Wait() from BlockSignals() on, so that they too end by the destructor.
class LiveScreen {
 public:
  // Before any thread is started, since threads inherit what is blocked.
  static void BlockSignals();

  LiveScreen();
  ~LiveScreen();

  LiveScreen(const LiveScreen&) = delete;
  LiveScreen& operator=(const LiveScreen&) = delete;

  // Replaces what is shown by the lines of `text`, as many as fit.
  void Show(const std::string& text);

  // Until `end`; true when the person asked to leave: q, Ctrl-C, or a signal.
  bool Wait(absl::Time end);

 private:
  bool LeaveKeyPressed();

  int signals_ = -1;     // signalfd
  bool keys_ = false;    // standard input is a terminal
  termios before_ = {};  // its settings
};

}  // namespace cashew::ctl

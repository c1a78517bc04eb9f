#include "cmd/cashewctl/live_screen.h"

#include <algorithm>
#include <cstdio>
#include <poll.h>
#include <signal.h>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "absl/time/clock.h"

namespace cashew::ctl {
namespace {

// Alternate screen, no cursor, no wrapping of long lines; and back.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[?7l";
constexpr std::string_view kLeave = "\x1b[?7h\x1b[?25h\x1b[?1049l";
constexpr std::string_view kHome = "\x1b[H";
constexpr std::string_view kClearLine = "\x1b[K";
constexpr std::string_view kClearBelow = "\x1b[J";
constexpr char kCtrlC = 3;
constexpr size_t kUsualLines = 24;

sigset_t EndingSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&set, signal);
  return set;
}

void Write(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

size_t TerminalLines() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return kUsualLines;
  return size.ws_row;
}

}  // namespace

void LiveScreen::BlockSignals() {
  const sigset_t set = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

LiveScreen::LiveScreen() {
  const sigset_t set = EndingSignals();
  signals_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  keys_ = tcgetattr(STDIN_FILENO, &before_) == 0;
  if (keys_) {
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  Write(kEnter);
}

LiveScreen::~LiveScreen() {
  Write(kLeave);
  if (keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  if (signals_ >= 0) close(signals_);
}

void LiveScreen::Show(const std::string& text) {
  std::string frame(kHome);
  size_t begin = 0;
  for (size_t left = TerminalLines(); left > 0 && begin < text.size(); --left) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    frame.append(text, begin, end - begin).append(kClearLine);
    begin = end + 1;
    if (left > 1 && begin < text.size()) frame += "\n";
  }
  Write(frame.append(kClearBelow));
}

bool LiveScreen::Wait(absl::Time end) {
  for (;;) {
    const int64_t left = std::max<int64_t>(absl::ToInt64Milliseconds(end - absl::Now()), 0);
    pollfd events[] = {{signals_, POLLIN, 0}, {keys_ ? STDIN_FILENO : -1, POLLIN, 0}};
    if (poll(events, 2, static_cast<int>(std::min<int64_t>(left, 3'600'000))) <= 0) return false;
    if (events[0].revents != 0) return true;
    if (events[1].revents != 0 && LeaveKeyPressed()) return true;
  }
}

bool LiveScreen::LeaveKeyPressed() {
  char keys[64];
  const ssize_t n = read(STDIN_FILENO, keys, sizeof keys);
  if (n <= 0) return true;  // the terminal is gone
  return std::any_of(keys, keys + n, [](char c) { return c == 'q' || c == 'Q' || c == kCtrlC; });
}

}  // namespace cashew::ctl

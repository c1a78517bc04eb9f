#pragma once

#include <cstdint>

namespace cashew::net {

// Tells whether hundreds of sockets are busy at once, by windows of 10 ms. While they are, a
// loop that finds little may nap: what arrives meanwhile is served with it, by fewer rounds,
// and a nap is nothing to clients that stand in a long queue anyway. With few busy sockets
// every microsecond is somebody's latency, and it must not.
class Crowd {
 public:
  // A socket's mark: the last window in which it was counted.
  using Mark = uint16_t;

  // An event of a socket, once for each.
  void Count(Mark* mark) {
    ++events_;
    if (*mark == window_) return;
    *mark = window_;
    ++sockets_;
  }

  // Once a round. `now_ns` of the loop's clock.
  void EndRound(int64_t now_ns);

  bool busy() const { return busy_; }

 private:
  int64_t began_ns_ = 0;
  uint32_t events_ = 0;
  uint32_t sockets_ = 0;
  Mark window_ = 1;
  bool busy_ = false;
};

}  // namespace cashew::net

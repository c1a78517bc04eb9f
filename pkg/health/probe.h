#pragma once

#include <functional>
#include <memory>
#include <string>

#include "pkg/net/event_loop.h"
#include "pkg/net/socket.h"
#include "pkg/net/transport.h"
#include "pkg/protocol/codec.h"

namespace cashew::health {

// Asks a server once, on a connection of its own, whether it answers: connect,
// handshake, `version` (or PING), a reply. Lives on the control thread's loop.
class Probe final : public net::IoHandler {
 public:
  using Done = std::function<void(bool answered)>;

  // Starts at once; `done` is called exactly once, unless Cancel() comes first, and
  // never from within Start. The loop deletes the probe.
  static Probe* Start(net::EventLoop* loop, const net::SocketAddress& address,
                      const net::TransportFactory& transport, const protocol::Codec& codec,
                      int64_t timeout_ms, Done done);
  // No call of `done` any more.
  void Cancel();

  void OnReady(uint32_t events) override;

 private:
  Probe(net::EventLoop* loop, const protocol::Codec& codec, Done done);
  void Finish(bool answered);
  void Advance();

  net::EventLoop* const loop_;
  const protocol::Codec& codec_;
  Done done_;
  std::unique_ptr<net::Transport> transport_;
  net::Timer timer_;
  bool connected_ = false;
  bool ready_ = false;
  std::string_view to_send_;
  std::string reply_;
  bool finished_ = false;
};

}  // namespace cashew::health

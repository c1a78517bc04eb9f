#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/net/buffer.h"
#include "pkg/net/event_loop.h"
#include "pkg/net/transport.h"
#include "pkg/pool/snapshot.h"
#include "pkg/protocol/codec.h"
#include "pkg/proxy/request.h"

namespace cashew::proxy {

class ClientSession;
class LocalServer;
class Worker;

// A connection to a server, shared by many clients: queues fragments, writes them,
// reads replies and matches them to fragments, first in first out. It connects
// when there is something to send. Worker thread only.
//
// Reply N belongs to request N. Whatever puts that in doubt closes the connection:
// a reply nobody waits for, one of the wrong kind or to another key, an error to a
// line that was validated.
class ServerSession final : public net::IoHandler {
 public:
  // `group` of the codec's versions of the protocol.
  ServerSession(LocalServer* server, uint8_t group);
  ~ServerSession() override;

  void OnReady(uint32_t events) override;
  void OnFlush() override;

  // Queues a fragment and its bytes (head, then body; `chunk` holds body, or is
  // null). It may be answered, with an error, before this returns.
  void Enqueue(Fragment* fragment, std::string_view head, std::string_view body, net::Chunk* chunk);
  // Connects if it is not connected.
  void Connect();
  // Ends the connection; everything on it fails with `text`. For servers that left
  // or are out: counts no failure.
  void Shutdown(std::string_view text);
  // Ends the connection as soon as nothing is outstanding.
  void CloseWhenIdle();
  // For the pool's tick: ends a connection that holds more than a client may (when memory is short:
  // more than a little) of requests whose clients have left or been answered, and that the server
  // does not take.
  void GiveUpUnwanted();

  bool idle() const { return head_ == nullptr; }
  bool closed() const { return state_ == State::kClosed; }
  uint8_t group() const { return group_; }
  LocalServer& server() { return *server_; }

  // An exclusive connection is lent to one client at a time; null takes it back. The
  // holder, and who waits for a blocking command, hear when it is lost (OnOwnLost).
  void LendTo(ClientSession* holder);
  bool lent() const { return lent_; }
  void set_waiter(ClientSession* waiter) { waiter_ = waiter; }
  // Nobody has it, and what cleans it up was answered.
  bool free() const { return !lent_ && head_ == nullptr; }
  int64_t lent_ns() const { return lent_ns_; }
  // Sends the codec's reset request, whose answer nobody waits for.
  void CleanUp();

 private:
  enum class State : uint8_t { kClosed, kConnecting, kHandshake, kGreeting, kOpen };
  // How a connection ended, for the counters.
  enum class End : uint8_t { kEof, kError, kTimeout, kDesync, kOurs };

  void OnConnected();
  void Handshake();
  void Greet();
  void WriteGreeting();
  void ReadGreeting();
  void ReadRound();
  // False when the connection is gone.
  bool ReadOnce();
  bool OnBytes(std::string_view bytes);
  bool OnReplyDone(Fragment* fragment, std::string_view bytes, protocol::Outcome outcome);
  void HoldPartial(Fragment* fragment, std::string_view bytes);
  bool CommitBody(std::string_view bytes);
  // The fragment leaves the queue, or is given up there.
  void TraceLeaving(const Fragment& fragment);
  void PopHead();
  void OnWritten(size_t bytes);
  void CheckTimeouts();
  void ArmTimer();
  // Whether the server was sent some of it.
  bool IsBegun(const Fragment& fragment) const {
    return fragment.end_offset - fragment.bytes < written_offset_;
  }
  int64_t DeadlineOf(const Fragment& fragment) const;
  void CountTrouble(protocol::Trouble trouble);
  void CountHandshake(bool succeeded);
  void Fail(End end, pool::FailureKind kind, std::string_view text);
  std::vector<Fragment*> TakeAll();
  void CloseTransport();
  void AddGauges(Fragment* fragment, bool written, int64_t sign);
  Worker& worker();

  LocalServer* const server_;
  const uint8_t group_;
  State state_ = State::kClosed;
  std::unique_ptr<net::Transport> transport_;
  std::unique_ptr<protocol::ReplyParser> parser_;
  std::unique_ptr<protocol::Greeting> greeting_;
  size_t greeted_ = 0;  // bytes of the greeting that are written
  net::ByteQueue out_;
  Fragment* head_ = nullptr;  // the one whose reply comes next
  Fragment* tail_ = nullptr;
  Fragment* unwritten_ = nullptr;  // the first that is not wholly written
  uint64_t queued_offset_ = 0;     // bytes ever queued on this connection
  uint64_t written_offset_ = 0;    // bytes ever written to it
  uint32_t reply_bytes_ = 0;       // of the reply being received
  size_t body_left_ = 0;           // bytes of a value still to come, when it is large
  std::string carry_;              // a line that was cut
  int64_t connect_began_ns_ = 0;
  int64_t last_read_ns_ = 0;
  net::Timer timer_;
  bool readable_ = false;
  bool writable_ = false;
  bool hangup_ = false;
  bool close_when_idle_ = false;
  bool lent_ = false;
  ClientSession* holder_ = nullptr;
  ClientSession* waiter_ = nullptr;
  int64_t lent_ns_ = 0;
};

}  // namespace cashew::proxy

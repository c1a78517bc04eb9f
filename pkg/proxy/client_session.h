#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "pkg/net/buffer.h"
#include "pkg/net/event_loop.h"
#include "pkg/net/transport.h"
#include "pkg/protocol/codec.h"
#include "pkg/proxy/request.h"

namespace cashew::proxy {

class LocalPool;
class LocalServer;
class ServerSession;

// A client's connection: reads and parses requests, sends them on their way, and
// writes replies in the order of the requests. Worker thread only.
//
// An idle session holds no buffer: what arrives is parsed in the worker's read
// buffer, and only a request that is cut off is kept.
class ClientSession final : public net::IoHandler {
 public:
  ClientSession(LocalPool* pool, uint32_t id, std::unique_ptr<net::Transport> transport);
  ~ClientSession() override;

  // Registers with the loop. False when that cannot be had: delete it.
  bool Start();
  void OnReady(uint32_t events) override;
  void OnFlush() override;

  // `request`, one of this client's, can be answered.
  void OnRequestDone(Request* request);
  // `bytes` of a request or its reply are held for this client, until it is answered. It may be
  // evicted for them at the end of the round, not here.
  void Hold(Request* request, size_t bytes);
  // True when a reply to `request` may go straight to output().
  bool IsFront(const Request* request) const { return pending_.head == request; }
  net::ByteQueue& output() { return out_; }
  // Sends the waiting part of a front reply that is too large to be held.
  void StreamFront();

  // Ends the connection now, as an error of this side.
  void Abort();
  // Ends it when it is at a request boundary: now, if it is. With `force` no further
  // request is read, so that even a client that never pauses comes to one.
  void Drain(bool force);
  // Gives the connection away as soon as it is at a request boundary and holds nothing that
  // another process cannot have.
  void HandOver();
  // Goes on where another process stopped. False when the state is not one.
  bool Resume(std::string_view state, std::string_view unread);
  // For the pool's tick: ends it when it lingers or does not read for too long.
  void CheckPatience(int64_t now_ns);
  // Closed because it held too much.
  void Evict();
  // To end a client that holds less frees nothing to speak of.
  static constexpr int64_t kWorthEvicting = 64 * 1024;
  int64_t held_bytes() const;

  // Server connections of this client's own (WATCH, blocking commands).
  // The one that `command` (whose lease is not kShared) goes on; `server` is that of its
  // key. Null, with the error line, when it cannot be had.
  ServerSession* OwnConnection(LocalServer* server, Request* request,
                               const protocol::Command& command, std::string* problem);
  // The connection ended, and with it what the server knew of this client.
  void OnOwnLost(ServerSession* session);

  ClientSession* prev = nullptr;  // in the pool's list
  ClientSession* next = nullptr;

 private:
  struct List {
    Request* head = nullptr;
    Request* tail = nullptr;
    void Push(Request* request);
    void Remove(Request* request);
  };
  enum class State : uint8_t { kHandshake, kOpen, kFinishing, kLingering, kClosed };

  // Reading.
  bool Handshake();
  void ReadRound();
  void OnInput(std::string_view fresh);
  std::string_view ParseAll(std::string_view in, net::Chunk* chunk);
  void Keep(std::string_view rest, std::string_view more);
  void DropInput();
  bool Blocked() const;
  bool Pause();
  bool HoldsTooMuch() const;
  void GiveUpMost();
  int64_t BufferCap() const;
  void OnInputEnd();

  // A request's start.
  void OnRequest(const protocol::Command& command, net::Chunk* chunk);
  void Answer(Request* request, std::string_view text);
  void AnswerForPool(Request* request);
  void AnswerLocally(Request* request, const protocol::Command& command);
  void ReturnOwn();
  bool Shed(size_t wanted);
  void CountQueued();
  void CountBegin(Request* request, metrics::CommandClass command_class);

  // A request's end.
  void OnQuietDone(Request* request);
  void FlushReady();
  void Take(List* from, Request* request);
  void EmitTraced(Request* request);
  void EndTrace(Request* request);
  void MaybeResume();
  void MaybeFinish();
  void Linger();
  bool CanBeCarried() const;
  void Carry();
  void Close(bool as_error);
  void Release();

  LocalPool* const pool_;
  std::unique_ptr<net::Transport> transport_;
  std::unique_ptr<protocol::RequestParser> parser_;
  net::ByteQueue out_;
  List pending_;              // in the order of arrival: the order of replies
  List quiet_;                // no reply is owed; they count against the limits
  net::Chunk* in_ = nullptr;  // what was read and not parsed
  const uint32_t id_;         // chooses the server connections
  int64_t inflight_ = 0;
  int64_t request_bytes_ = 0;  // of requests and replies not yet in out_
  int64_t front_out_ = 0;      // of the front request's reply, given to out_ already
  int64_t largest_out_ = 0;    // the largest single reply given to out_ since that was empty
  int64_t queued_bytes_ = 0;   // of its transaction, as the worker was told
  int64_t progress_ns_ = 0;    // when the client last took a byte
  int64_t last_unsent_ = 0;
  size_t wanted_ = 0;  // size of the message that in_ begins, when known
  State state_ = State::kHandshake;
  bool readable_ = false;
  bool writable_ = true;
  bool drained_ = true;      // out_ was empty after the last write
  bool hangup_ = false;      // the peer closed its side: read until that is seen
  bool incomplete_ = false;  // in_ holds no whole request
  bool input_ended_ = false;
  bool error_ = false;  // finishing because of an error, for the metrics
  bool paused_ = false;
  bool draining_ = false;
  bool leaving_ = false;                 // to another process
  bool barrier_ = false;                 // nothing more is parsed until all replies are out
  ServerSession* own_ = nullptr;         // from WATCH on
  ServerSession* waiting_on_ = nullptr;  // where a blocking command is under way
  Request* waiting_ = nullptr;           // that command
  Request* delayed_ = nullptr;           // an answer that is not given yet
  int64_t delayed_until_ns_ = 0;
};

}  // namespace cashew::proxy

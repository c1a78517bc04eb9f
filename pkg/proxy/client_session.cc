#include "pkg/proxy/client_session.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"
#include "pkg/proxy/command_class.h"
#include "pkg/proxy/fragment.h"
#include "pkg/proxy/local_pool.h"
#include "pkg/proxy/observer.h"
#include "pkg/proxy/router.h"
#include "pkg/proxy/server_session.h"
#include "pkg/proxy/trace.h"

namespace cashew::proxy {
namespace {

using metrics::ClassMetric;
using metrics::ErrorKind;
using metrics::PoolMetric;

constexpr int kMaxIov = 64;
constexpr uint32_t kFirstKeep = 1024;
// What a message that has begun may reserve before its bytes are here.
constexpr size_t kReserve = 128 * 1024;
constexpr size_t kKeysKept = 16 * 1024;
constexpr size_t kRebuiltKept = 64 * 1024;
// What a client may make us hold before it has logged in.
constexpr int64_t kStrangerCap = 64 * 1024;
// From this size on a request is refused when memory is short.
constexpr size_t kLargeRequest = 16 * 1024;
// A peer that was told goodbye gets this long to say so too. Closing earlier, with
// its bytes unread, would send RST and may destroy replies under way.
constexpr int64_t kLingerNs = base::kNsPerSec;
// A client that holds too much is one that reads while it takes a byte this often.
constexpr int64_t kUnreadNs = base::kNsPerSec;
// Headers and half-full chunks do not count against a client that just fits.
constexpr int64_t kSlack = 1 << 20;
// What a client has sent of a request and takes along to another process; with more it
// waits for the rest here.
constexpr uint32_t kCarriedInput = 1 << 20;
constexpr int64_t kHandshakeNs = 10 * base::kNsPerSec;

std::string PeerOf(int fd) {
  net::SocketAddress peer;
  peer.length = sizeof peer.storage;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) != 0) return "";
  return peer.ToString();
}

}  // namespace

void ClientSession::List::Push(Request* request) {
  request->prev = tail;
  request->next = nullptr;
  (tail != nullptr ? tail->next : head) = request;
  tail = request;
}

void ClientSession::List::Remove(Request* request) {
  (request->prev != nullptr ? request->prev->next : head) = request->next;
  (request->next != nullptr ? request->next->prev : tail) = request->prev;
  request->prev = request->next = nullptr;
}

ClientSession::ClientSession(LocalPool* pool, uint32_t id,
                             std::unique_ptr<net::Transport> transport)
    : pool_(pool),
      transport_(std::move(transport)),
      parser_(pool->codec().NewRequestParser(pool->limits())),
      id_(id),
      progress_ns_(pool->worker().loop().now_ns()) {}

ClientSession::~ClientSession() = default;

bool ClientSession::Start() {
  CASHEW_LOG_INFO("client connected pool={} client={}.{} peer={}", pool_->name(),
                  pool_->worker().index(), id_, PeerOf(transport_->fd()));
  return pool_->worker().loop().Add(transport_->fd(), this).ok();
}

// ---- 2: read, parse, admit -------------------------------------------------

void ClientSession::OnReady(uint32_t events) {
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    hangup_ = true;
    // Nobody is left to take what the server would give away.
    if (waiting_ != nullptr) return Close(/*as_error=*/false);
  }
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) readable_ = true;
  if ((events & EPOLLOUT) != 0) {
    writable_ = true;
    if (!out_.empty()) pool_->worker().loop().MarkDirty(this);
  }
  if (state_ == State::kHandshake && !Handshake()) return;
  if (leaving_) MaybeFinish();
  ReadRound();
}

bool ClientSession::Handshake() {
  const net::IoResult result = transport_->Handshake();
  if (result.status == net::IoStatus::kAgain) return false;
  const bool succeeded = result.status == net::IoStatus::kOk;
  if (pool_->listen_transport().encrypted()) {
    pool_->cells()[succeeded ? PoolMetric::kTlsHandshakes : PoolMetric::kTlsFailures].Add(1);
  }
  if (!succeeded) {
    Close(/*as_error=*/true);
    return false;
  }
  state_ = State::kOpen;
  readable_ = true;
  return true;
}

// One read a round: a client that pipelines without end does not starve the rest.
void ClientSession::ReadRound() {
  if (state_ == State::kClosed || state_ == State::kFinishing || input_ended_) return;
  if (in_ != nullptr && !incomplete_ && state_ == State::kOpen) {
    OnInput({});
    CountQueued();
  }
  if (!readable_ || state_ == State::kClosed || state_ == State::kFinishing || Pause()) return;

  Worker& worker = pool_->worker();
  iovec iov[2];
  int count = 0;
  bool to_end = false;  // iov[0] ends where the message ends
  const bool discard = state_ == State::kLingering;
  if (in_ != nullptr && !discard) {
    // Up to the end of the message, when that is known, and what follows apart.
    const size_t left = wanted_ != 0 ? wanted_ - in_->filled : in_->room();
    const size_t room = std::min<size_t>(left, in_->room());
    iov[count++] = {in_->data() + in_->filled, room};
    to_end = wanted_ != 0 && room == left;
  }
  if (count == 0 || to_end) iov[count++] = {worker.read_buffer(), Worker::kReadBuffer};

  const net::IoResult result = transport_->Read(iov, count);
  switch (result.status) {
    case net::IoStatus::kAgain:
      readable_ = result.more;
      if (result.more) worker.loop().MarkReady(this);
      return;
    case net::IoStatus::kError:
      return Close(/*as_error=*/true);
    case net::IoStatus::kEof:
      return OnInputEnd();
    case net::IoStatus::kOk:
      break;
  }
  readable_ = result.more || hangup_;
  if (!discard) {
    const size_t to_kept = in_ != nullptr ? std::min(result.bytes, iov[0].iov_len) : 0;
    if (in_ != nullptr) in_->filled += static_cast<uint32_t>(to_kept);
    OnInput({worker.read_buffer(), result.bytes - to_kept});
    CountQueued();
  }
  if (readable_ && state_ != State::kClosed) worker.loop().MarkReady(this);
}

void ClientSession::CountQueued() {
  if (state_ == State::kClosed) return;
  const auto now = static_cast<int64_t>(parser_->held_bytes());
  if (now == queued_bytes_) return;
  pool_->worker().CountQueued(now - queued_bytes_);
  queued_bytes_ = now;
}

// `fresh` follows what is in in_.
void ClientSession::OnInput(std::string_view fresh) {
  net::BufferPool& buffers = pool_->worker().buffers();
  incomplete_ = false;
  wanted_ = 0;
  if (in_ == nullptr) {
    const std::string_view rest = ParseAll(fresh, nullptr);
    if (!rest.empty() && state_ != State::kClosed) Keep(rest, {});
    return;
  }
  // The chunk outlives the parsing of what is in it, whatever happens meanwhile.
  net::Chunk* chunk = in_;
  buffers.Ref(chunk);
  std::string_view rest = ParseAll({chunk->data(), chunk->filled}, chunk);
  if (rest.empty() && state_ != State::kClosed) {
    DropInput();
    rest = ParseAll(fresh, nullptr);
    fresh = {};
  }
  if (state_ == State::kOpen && !(rest.empty() && fresh.empty())) Keep(rest, fresh);
  buffers.Unref(chunk);
  // Told how long a message is only bit by bit, the parser wants to see what followed.
  const bool more = incomplete_ && !fresh.empty();
  if (more && state_ == State::kOpen) OnInput({});
}

// Takes every whole request off the front of `in`; returns what is left. `chunk`
// holds `in`, or is null when that is the worker's buffer.
std::string_view ClientSession::ParseAll(std::string_view in, net::Chunk* chunk) {
  protocol::Command& command = pool_->worker().command();
  while (!in.empty() && state_ == State::kOpen) {
    if (Pause()) return in;
    const protocol::ParseResult result = parser_->Parse(in, &command);
    if (pool_->observer() != nullptr) [[unlikely]] {
      pool_->observer()->set_message(in.substr(0, result.consumed));
    }
    if (result.status == protocol::ParseStatus::kDone) OnRequest(command, chunk);
    in.remove_prefix(result.consumed);
    if (result.status == protocol::ParseStatus::kInvalid) {
      error_ = true;
      state_ = State::kFinishing;
      MaybeFinish();
    } else if (result.alone) {
      barrier_ = true;
    } else if (result.status == protocol::ParseStatus::kNeedMore && result.consumed == 0) {
      if (Shed(result.wanted)) continue;
      incomplete_ = true;
      assert(result.wanted == 0 || result.wanted > in.size());
      wanted_ = result.wanted;
      return in;
    }
  }
  // A line of very many keys must not leave its room behind.
  for (auto* list : {&command.keys, &command.stretches, &command.words}) {
    if (list->capacity() > kKeysKept) std::vector<std::string_view>().swap(*list);
  }
  if (command.rebuilt.capacity() > kRebuiltKept) std::string().swap(command.rebuilt);
  return state_ == State::kOpen ? in : std::string_view{};
}

// True when the request whose value is still to come was refused for lack of memory.
bool ClientSession::Shed(size_t wanted) {
  if (wanted < kLargeRequest || !pool_->worker().memory_scarce()) return false;
  const protocol::Quiet quiet = parser_->SkipMessage();
  pool_->cells()[PoolMetric::kClientsShed].Add(1);
  if (quiet == protocol::Quiet::kAll) return true;
  Request* request = pool_->worker().NewRequest();
  request->client = this;
  CountBegin(request, metrics::CommandClass::kLocal);
  pool_->cells().errors[ErrorKind::kMemory].Add(1);
  pending_.Push(request);
  ++inflight_;
  Answer(request, pool_->codec().Error(kOutOfMemory));
  return true;
}

// Keeps `rest`, then `more`, for the next read, with room for what is to come: a
// small message gets all it needs at once; for a large one memory follows the bytes,
// so that announcing a length reserves nothing. `rest` may lie in in_.
void ClientSession::Keep(std::string_view rest, std::string_view more) {
  net::BufferPool& buffers = pool_->worker().buffers();
  const size_t size = rest.size() + more.size();
  const bool whole = in_ != nullptr && rest.data() == in_->data() && rest.size() == in_->filled;
  if (whole && more.empty() && (!incomplete_ || in_->room() > 0)) return;
  if (whole && !more.empty() && more.size() <= in_->room()) {
    memcpy(in_->data() + in_->filled, more.data(), more.size());
    in_->filled = static_cast<uint32_t>(size);
    return;
  }
  size_t need = size;
  if (wanted_ != 0) {
    need = std::max(size, std::min(wanted_, std::max(kReserve, 4 * size)));
  } else if (incomplete_) {
    need = std::max<size_t>(kFirstKeep, 2 * size);
  }
  // Of many words one after the other is announced: copying stays linear in their bytes.
  if (in_ != nullptr) need = std::max(need, 2 * size);
  net::Chunk* chunk = buffers.NewChunk(need);
  memcpy(chunk->data(), rest.data(), rest.size());
  if (!more.empty()) memcpy(chunk->data() + rest.size(), more.data(), more.size());
  chunk->filled = static_cast<uint32_t>(size);
  DropInput();
  in_ = chunk;
}

void ClientSession::DropInput() {
  if (in_ != nullptr) pool_->worker().buffers().Unref(in_);
  in_ = nullptr;
}

// The message being received does not count: it must be able to arrive.
bool ClientSession::Blocked() const {
  if (leaving_ && CanBeCarried()) return true;
  return barrier_ || inflight_ >= pool_->settings().client_max_inflight ||
         request_bytes_ + static_cast<int64_t>(out_.size()) >= BufferCap();
}

// A stranger cannot make us hold much.
int64_t ClientSession::BufferCap() const {
  const int64_t cap = pool_->settings().client_max_buffer;
  return parser_->trusted() ? cap : std::min(cap, kStrangerCap);
}

// Blocked, and counted when that is new.
bool ClientSession::Pause() {
  if (barrier_ && pending_.head == nullptr) barrier_ = false;
  if (!Blocked()) return false;
  if (!paused_ && !barrier_) pool_->cells()[PoolMetric::kClientPauses].Add(1);
  paused_ = !barrier_;
  return true;
}

int64_t ClientSession::held_bytes() const {
  return request_bytes_ + static_cast<int64_t>(out_.size() + parser_->held_bytes()) +
         (in_ != nullptr ? in_->filled : 0);
}

// A half-close: what was asked is still answered; a request cut off is dropped.
void ClientSession::OnInputEnd() {
  input_ended_ = true;
  readable_ = false;
  DropInput();
  if (state_ == State::kLingering) return Close(error_);
  state_ = State::kFinishing;
  MaybeFinish();
}

// A whole request has been parsed.
void ClientSession::OnRequest(const protocol::Command& command, net::Chunk* chunk) {
  Request* request = pool_->worker().NewRequest();
  request->client = this;
  CountBegin(request, ClassOf(command));
  request->quiet = command.quiet;
  request->is_read = command.is_read;
  request->reply_kind = command.reply_kind;
  ++inflight_;
  barrier_ = command.barrier;
  if (pool_->observer() != nullptr) [[unlikely]] {
    pool_->observer()->OnRequest(request, command);
  }
  const bool local =
      command.action == protocol::Action::kAnswer || command.action == protocol::Action::kQuit;
  if (local) request->quiet = protocol::Quiet::kNo;
  (request->quiet == protocol::Quiet::kAll ? quiet_ : pending_).Push(request);
  switch (command.action) {
    case protocol::Action::kForward:
      Forward(*pool_, request, id_, command, chunk);
      // It left while this waited for its earlier requests: it will not be announced again.
      if (waiting_ != nullptr && hangup_) Close(/*as_error=*/false);
      return;
    case protocol::Action::kSplit:
      return ForwardSplit(*pool_, request, id_, command);
    case protocol::Action::kBroadcast:
      return ForwardToAll(*pool_, request, id_, command);
    case protocol::Action::kStats:
      return AnswerForPool(request);
    case protocol::Action::kAnswer:
      return AnswerLocally(request, command);
    case protocol::Action::kQuit:
      state_ = State::kFinishing;
      return Answer(request, command.answer);
  }
}

void ClientSession::CountBegin(Request* request, metrics::CommandClass command_class) {
  request->began_ns = pool_->worker().loop().now_ns();
  request->cells = &pool_->cells().of(command_class);
  (*request->cells)[ClassMetric::kRequests].Add(1);
}

void ClientSession::AnswerLocally(Request* request, const protocol::Command& command) {
  if (pool_->codec().IsError(command.answer)) pool_->cells().errors[ErrorKind::kRequest].Add(1);
  if (command.close_after) {
    error_ = true;
    state_ = State::kFinishing;
  }
  if (command.lease == protocol::Lease::kEnd) ReturnOwn();
  if (command.login_failed) pool_->cells()[PoolMetric::kLoginsFailed].Add(1);
  if (command.group != 0 && pool_->RefusesGroup(command.group)) {
    return Answer(request, parser_->RefuseGroup());
  }
  if (command.delay_ms > 0) {
    // Given by CheckPatience.
    request->fragment.reply.AppendLast(pool_->worker().buffers(), command.answer);
    delayed_ = request;
    delayed_until_ns_ = pool_->worker().loop().now_ns() + command.delay_ms * base::kNsPerMs;
    return;
  }
  Answer(request, command.answer);
}

// ---- server connections of this client's own -------------------------------

ServerSession* ClientSession::OwnConnection(LocalServer* server, Request* request,
                                            const protocol::Command& command,
                                            std::string* problem) {
  using protocol::Lease;
  const bool ends = command.lease == Lease::kEnd;
  if (ends && own_ == nullptr) {
    *problem = pool_->codec().Error("the connection that watched keys was lost; nothing was done");
    return nullptr;
  }
  const bool elsewhere = own_ != nullptr && server != &own_->server();
  if (elsewhere && (command.lease == Lease::kBegin || (ends && !command.keys.empty()))) {
    *problem = pool_->codec().CrossServer();
    if (ends) ReturnOwn();
    return nullptr;
  }
  ServerSession* session = command.lease == Lease::kOnce ? nullptr : own_;
  if (session == nullptr) session = server->Lend(command.group, this);
  if (session == nullptr) {
    *problem = pool_->codec().Error(
        fmt::format("all exclusive connections to server {} are in use (exclusive_connections: {})",
                    server->name(), pool_->settings().exclusive_connections));
    return nullptr;
  }
  if (command.lease == Lease::kBegin) own_ = session;
  if (ends) own_ = nullptr;
  if (command.lease == Lease::kOnce) {
    waiting_ = request;
    waiting_on_ = session;
    session->set_waiter(this);
  }
  return session;
}

void ClientSession::ReturnOwn() {
  ServerSession* session = std::exchange(own_, nullptr);
  if (session != nullptr) session->server().Return(session);
}

void ClientSession::OnOwnLost(ServerSession* session) {
  if (own_ == session) own_ = nullptr;
  if (waiting_on_ == session) waiting_on_ = nullptr;
}

void ClientSession::Answer(Request* request, std::string_view text) {
  pool_->cells()[PoolMetric::kLocalReplies].Add(1);
  request->fragment.reply.AppendLast(pool_->worker().buffers(), text);
  request->done = true;
  FlushReady();
}

void ClientSession::AnswerForPool(Request* request) {
  const auto& stats = pool_->worker().services().stats;
  Answer(request, pool_->codec().FormatStats(stats ? stats(pool_->name()) : protocol::Stats()));
}

// ---- 6: replies out, in order ----------------------------------------------

void ClientSession::OnRequestDone(Request* request) {
  if (request->quiet == protocol::Quiet::kAll) return OnQuietDone(request);
  if (pending_.head == request) FlushReady();
}

void ClientSession::OnQuietDone(Request* request) {
  request->cells->duration.Add(pool_->worker().loop().now_ns() - request->began_ns);
  EndTrace(request);
  Take(&quiet_, request);
  MaybeResume();
  MaybeFinish();
}

// Replies leave in the order the requests came in. One that is early waits in its
// slot; one arrival may release several behind it.
void ClientSession::FlushReady() {
  const int64_t now_ns = pool_->worker().loop().now_ns();
  while (pending_.head != nullptr && pending_.head->done) {
    Request* request = pending_.head;
    const size_t before = out_.size();
    if (request->trace == nullptr) [[likely]] {
      EmitReply(*pool_, request, &out_);
    } else {
      EmitTraced(request);
    }
    const auto emitted = static_cast<int64_t>(out_.size() - before);
    largest_out_ = std::max(largest_out_, std::exchange(front_out_, 0) + emitted);
    request->cells->duration.Add(now_ns - request->began_ns);
    Take(&pending_, request);
  }
  if (!out_.empty()) pool_->worker().loop().MarkDirty(this);
  MaybeResume();
  MaybeFinish();
}

void ClientSession::Take(List* from, Request* request) {
  from->Remove(request);
  --inflight_;
  if (request == waiting_) {
    waiting_ = nullptr;
    if (waiting_on_ != nullptr) waiting_on_->set_waiter(nullptr);
    waiting_on_ = nullptr;
  }
  if (request == delayed_) delayed_ = nullptr;
  request_bytes_ -= request->bytes;
  request->client = nullptr;
  pool_->worker().MaybeFree(request);
}

void ClientSession::EmitTraced(Request* request) {
  const size_t before = out_.size();
  EmitReply(*pool_, request, &out_);
  request->trace->reply_bytes += out_.size() - before;
  EndTrace(request);
}

void ClientSession::EndTrace(Request* request) {
  if (request->trace == nullptr) return;
  // Null when the pool has stopped asking meanwhile.
  Observer* observer = pool_->observer();
  if (observer != nullptr) observer->OnEnd(request, state_ == State::kClosed);
  pool_->worker().FreeTrace(std::exchange(request->trace, nullptr));
}

void ClientSession::Hold(Request* request, size_t bytes) {
  request->bytes += static_cast<uint32_t>(bytes);
  request_bytes_ += static_cast<int64_t>(bytes);
  // A server's connection is at work when this is called, and to close may end that: it is done
  // when the round's replies are written.
  if (request_bytes_ >= 2 * BufferCap()) pool_->worker().loop().MarkDirty(this);
}

// Twice the cap is too much for a client that leaves unread what it was given, four times for any
// other; a single reply may be larger while it is being read. The message being received does not
// count, nor twice when its value is sent on.
bool ClientSession::HoldsTooMuch() const {
  const int64_t held = request_bytes_ + static_cast<int64_t>(out_.size() + parser_->held_bytes());
  if (held < 2 * BufferCap() + kSlack) return false;
  const int64_t waited_ns = pool_->worker().loop().now_ns() - progress_ns_;
  const bool reads = out_.empty() || waited_ns < kUnreadNs;
  return !reads || held - largest_out_ >= 4 * BufferCap() + kSlack;
}

// A merged reply that outgrows what may be held is refused, and the connection stays.
void ClientSession::GiveUpMost() {
  Request* front = pending_.head;
  const bool merged = front != nullptr && front->split != nullptr && !front->done &&
                      front->bytes > BufferCap() && out_.empty();
  if (!merged) return Evict();
  RefuseOversized(*pool_, front);
  FlushReady();
}

void ClientSession::StreamFront() {
  Request* request = pending_.head;
  request->streaming = true;
  request_bytes_ -= request->bytes;
  request->bytes = 0;
  front_out_ += static_cast<int64_t>(request->fragment.reply.size());
  largest_out_ = std::max(largest_out_, front_out_);
  if (request->trace != nullptr) request->trace->reply_bytes += request->fragment.reply.size();
  out_.Splice(pool_->worker().buffers(), request->fragment.reply);
  pool_->worker().loop().MarkDirty(this);
}

void ClientSession::OnFlush() {
  if (state_ == State::kClosed || state_ == State::kHandshake) return;
  net::BufferPool& buffers = pool_->worker().buffers();
  // Its time to read begins when there is something to be read.
  if (drained_ && !out_.empty()) progress_ns_ = pool_->worker().loop().now_ns();
  while (!out_.empty() && writable_) {
    iovec iov[kMaxIov];
    const int count = out_.Gather(iov, kMaxIov);
    size_t offered = 0;
    for (int i = 0; i < count; ++i) offered += iov[i].iov_len;
    const net::IoResult result = transport_->Write(iov, count);
    if (result.status == net::IoStatus::kAgain) {
      writable_ = false;
    } else if (result.status != net::IoStatus::kOk) {
      return Close(/*as_error=*/true);
    } else {
      progress_ns_ = pool_->worker().loop().now_ns();
      out_.Consume(buffers, result.bytes);
      if (result.bytes < offered) writable_ = false;
    }
  }
  drained_ = out_.empty();
  if (drained_) largest_out_ = 0;
  if (HoldsTooMuch()) return GiveUpMost();
  MaybeResume();
  MaybeFinish();
}

void ClientSession::MaybeResume() {
  if (barrier_ && pending_.head == nullptr) barrier_ = false;
  if (state_ != State::kOpen || Blocked()) return;
  paused_ = false;
  if (readable_ || (in_ != nullptr && !incomplete_)) pool_->worker().loop().MarkReady(this);
}

// ---- the end ---------------------------------------------------------------

void ClientSession::MaybeFinish() {
  if (pending_.head != nullptr || !out_.empty()) return;
  if (leaving_ && state_ == State::kOpen && quiet_.head == nullptr && CanBeCarried()) {
    return Carry();
  }
  if (state_ == State::kOpen && draining_ && in_ == nullptr) state_ = State::kFinishing;
  if (state_ != State::kFinishing) return;
  if (input_ended_) return Close(error_);
  Linger();
}

void ClientSession::Linger() {
  state_ = State::kLingering;
  DropInput();
  progress_ns_ = pool_->worker().loop().now_ns();
  transport_->ShutdownWrite();
  readable_ = true;
  pool_->worker().loop().MarkReady(this);
}

void ClientSession::Drain(bool force) {
  draining_ = true;
  // Bytes may have arrived that were not announced yet: look once more first.
  if (state_ == State::kOpen) {
    readable_ = true;
    ReadRound();
  }
  if (state_ == State::kOpen && force) state_ = State::kFinishing;
  if (force && waiting_ != nullptr) return Close(/*as_error=*/false);
  MaybeFinish();
}

// ---- to another process -----------------------------------------------------

void ClientSession::HandOver() {
  leaving_ = true;
  MaybeFinish();
}

// TLS keys, watched keys and queued transactions cannot be carried: such a client stays until
// it has none, or leaves.
bool ClientSession::CanBeCarried() const {
  return !pool_->listens_encrypted() && own_ == nullptr && waiting_ == nullptr &&
         delayed_ == nullptr && !input_ended_ && (in_ == nullptr || in_->filled <= kCarriedInput) &&
         parser_->SaveState().has_value();
}

void ClientSession::Carry() {
  CarriedClient carried;
  carried.pool = pool_->name();
  carried.state = *parser_->SaveState();
  if (in_ != nullptr) carried.unread.assign(in_->data(), in_->filled);
  carried.fd = fcntl(transport_->fd(), F_DUPFD_CLOEXEC, 0);
  if (carried.fd < 0) return;  // it stays here, and is drained at last
  CASHEW_LOG_INFO("client handed over pool={} client={}.{}", pool_->name(), pool_->worker().index(),
                  id_);
  pool_->worker().loop().Forget(transport_->fd());
  state_ = State::kClosed;
  Release();
  pool_->worker().services().carry(std::move(carried));
}

bool ClientSession::Resume(std::string_view state, std::string_view unread) {
  if (!parser_->RestoreState(state)) return false;
  if (!unread.empty()) Keep(unread, {});
  readable_ = true;
  pool_->worker().loop().MarkReady(this);
  return true;
}

void ClientSession::CheckPatience(int64_t now_ns) {
  const pool::Settings& settings = pool_->settings();
  const bool stuck = !out_.empty() && (held_bytes() >= BufferCap() || state_ == State::kFinishing);
  if (stuck) {
    // The kernel calls a socket writable when a good part of its buffer is free, so a
    // slow but steady reader shows only there.
    const int64_t unsent = transport_->UnsentBytes();
    if (unsent < last_unsent_) progress_ns_ = now_ns;
    last_unsent_ = unsent;
  }
  if (delayed_ != nullptr && now_ns >= delayed_until_ns_) {
    pool_->cells()[PoolMetric::kLocalReplies].Add(1);
    delayed_->done = true;
    FlushReady();
    if (state_ == State::kClosed) return;
  }
  if (HoldsTooMuch()) return GiveUpMost();
  const int64_t idle_ns = now_ns - progress_ns_;
  if (state_ == State::kLingering && idle_ns >= kLingerNs) return Close(error_);
  if (state_ == State::kHandshake && idle_ns >= kHandshakeNs) {
    pool_->cells()[PoolMetric::kTlsFailures].Add(1);
    return Close(/*as_error=*/true);
  }
  // Whoever closed its side may only have finished asking, or be gone: the first to go.
  const bool gone = input_ended_ && idle_ns >= kLingerNs && pool_->worker().memory_scarce();
  if (gone && held_bytes() >= kWorthEvicting) return Evict();
  if (stuck && idle_ns >= settings.client_write_timeout_ms * base::kNsPerMs) Evict();
}

void ClientSession::Evict() {
  if (state_ == State::kClosed) return;
  pool_->cells()[PoolMetric::kClientsEvicted].Add(1);
  CASHEW_LOG_NOTICE(
      "client evicted pool={} client={}.{} held_bytes={} why=\"holds too much and does not read\"",
      pool_->name(), pool_->worker().index(), id_, held_bytes());
  Close(/*as_error=*/true);
}

void ClientSession::Abort() { Close(/*as_error=*/true); }

void ClientSession::Close(bool as_error) {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  pool_->cells()[as_error ? PoolMetric::kClientErr : PoolMetric::kClientEof].Add(1);
  CASHEW_LOG_INFO("client closed pool={} client={}.{} as_error={}", pool_->name(),
                  pool_->worker().index(), id_, as_error);
  // What a blocked command would take from its key must not go to nobody.
  if (waiting_on_ != nullptr) waiting_on_->Shutdown({});
  ReturnOwn();
  Release();
}

void ClientSession::Release() {
  pool_->worker().CountQueued(-queued_bytes_);
  for (List* list : {&pending_, &quiet_}) {
    while (list->head != nullptr) {
      EndTrace(list->head);
      Take(list, list->head);
    }
  }
  out_.Clear(pool_->worker().buffers());
  DropInput();
  transport_.reset();
  pool_->RemoveFromClients(this);
  pool_->worker().loop().Retire(this);
}

}  // namespace cashew::proxy

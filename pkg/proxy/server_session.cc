#include "pkg/proxy/server_session.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <utility>

#include "pkg/base/log.h"
#include "pkg/proxy/client_session.h"
#include "pkg/proxy/fragment.h"
#include "pkg/proxy/local_pool.h"
#include "pkg/proxy/observer.h"
#include "pkg/proxy/trace.h"

namespace cashew::proxy {
namespace {

using metrics::ErrorKind;
using metrics::ServerMetric;
using net::IoStatus;
using pool::FailureKind;

constexpr int kMaxIov = 64;
// Reads of one connection in one round: many clients wait for what it brings, but
// the others' rounds must come, too.
constexpr int kReadsPerRound = 8;
// What a connection may hold of requests that nobody waits for while memory is short.
constexpr size_t kUnwantedWhenScarce = 64 * 1024;

// Texts that clients parse (nutcracker: the C library's words for an errno).
constexpr std::string_view kTimedOut = "Connection timed out";
constexpr std::string_view kBadReply = "Invalid argument";
constexpr std::string_view kNotResolved = "Host is down";

// What clients are told of a connection that ended so.
ErrorKind KindOf(FailureKind kind) {
  switch (kind) {
    case FailureKind::kConnect:
      return ErrorKind::kUnreachable;
    case FailureKind::kLost:
      return ErrorKind::kLost;
    case FailureKind::kSilent:
      return ErrorKind::kTimeout;
    case FailureKind::kProtocol:
      return ErrorKind::kProtocol;
  }
  return ErrorKind::kLost;
}

std::string_view ClosedText(bool strict) {
  return strict ? "unknown" : "Server closed connection before it answered";
}

}  // namespace

ServerSession::ServerSession(LocalServer* server, uint8_t group)
    : server_(server),
      group_(group),
      timer_(&server->pool().worker().loop(), [this] { CheckTimeouts(); }) {}

ServerSession::~ServerSession() = default;

Worker& ServerSession::worker() { return server_->pool().worker(); }

// ---- connect ---------------------------------------------------------------

void ServerSession::Connect() {
  if (state_ != State::kClosed) return;
  // The clock itself: two attempts of one round must not look simultaneous.
  connect_began_ns_ = worker().loop().clock().NowNs();
  parser_ = server_->pool().codec().NewReplyParser(group_);
  if (!server_->address().known()) {
    return Fail(End::kError, FailureKind::kConnect, kNotResolved);
  }
  const int fd = net::StartConnect(server_->address());
  if (fd < 0) return Fail(End::kError, FailureKind::kConnect, strerror(errno));
  transport_ = server_->pool().server_transport().New(fd);
  state_ = State::kConnecting;
  worker().CountConnection(+1);
  if (!worker().loop().Add(fd, this).ok()) {
    Fail(End::kError, FailureKind::kConnect, "No space left on device");
  }
}

void ServerSession::OnConnected() {
  if (const int error = net::SocketError(transport_->fd()); error != 0) {
    return Fail(End::kError, FailureKind::kConnect, strerror(error));
  }
  state_ = State::kHandshake;
  server_->cells()[ServerMetric::kServerConnections].Add(1);
  CASHEW_LOG_INFO("server connected pool={} server={} address={}", server_->pool().name(),
                  server_->name(), server_->address().ToString());
  Handshake();
}

void ServerSession::Handshake() {
  const net::IoResult result = transport_->Handshake();
  if (result.status == IoStatus::kAgain) return;
  CountHandshake(result.status == IoStatus::kOk);
  if (result.status != IoStatus::kOk) {
    return Fail(End::kError, FailureKind::kConnect, "TLS handshake failed");
  }
  writable_ = readable_ = true;
  Greet();
}

void ServerSession::CountHandshake(bool succeeded) {
  if (!server_->pool().server_transport().encrypted()) return;
  server_->cells()[succeeded ? ServerMetric::kTlsHandshakes : ServerMetric::kTlsFailures].Add(1);
}

// ---- 5a: login and database, before any request ----------------------------

void ServerSession::Greet() {
  LocalPool& pool = server_->pool();
  greeting_ = pool.codec().NewGreeting(pool.limits(), group_);
  greeted_ = 0;
  state_ = greeting_ == nullptr ? State::kOpen : State::kGreeting;
  worker().loop().MarkDirty(this);
}

void ServerSession::WriteGreeting() {
  const std::string_view request = greeting_->request();
  while (greeted_ < request.size() && writable_) {
    iovec iov = {const_cast<char*>(request.data()) + greeted_, request.size() - greeted_};
    const net::IoResult result = transport_->Write(&iov, 1);
    if (result.status == IoStatus::kAgain) {
      writable_ = false;
    } else if (result.status != IoStatus::kOk) {
      return Fail(End::kError, FailureKind::kLost, strerror(result.error));
    } else {
      greeted_ += result.bytes;
    }
  }
}

void ServerSession::ReadGreeting() {
  while (readable_ && state_ == State::kGreeting) {
    char bytes[4096];
    iovec iov = {bytes, sizeof bytes};
    const net::IoResult result = transport_->Read(&iov, 1);
    if (result.status == IoStatus::kAgain) {
      readable_ = result.more;
      return;
    }
    if (result.status != IoStatus::kOk) {
      return Fail(End::kEof, FailureKind::kLost, ClosedText(server_->pool().settings().strict));
    }
    readable_ = result.more || hangup_;
    carry_.append(bytes, result.bytes);
    const protocol::ParseStatus status = greeting_->Check(carry_);
    if (status == protocol::ParseStatus::kNeedMore) continue;
    carry_.clear();
    if (!greeting_->problem().empty()) {
      CASHEW_LOG_WARN("server greeting pool={} server={} problem=\"{}\"", server_->pool().name(),
                      server_->name(), base::Escape(greeting_->problem(), 200));
    }
    if (status == protocol::ParseStatus::kInvalid) {
      if (greeting_->not_spoken()) server_->pool().RefuseGroup(group_);
      return Fail(End::kError, FailureKind::kConnect, std::string(greeting_->problem()));
    }
    greeting_.reset();
    state_ = State::kOpen;
    worker().loop().MarkDirty(this);
  }
}

// ---- 5: queue, write -------------------------------------------------------

void ServerSession::Enqueue(Fragment* fragment, std::string_view head, std::string_view body,
                            net::Chunk* chunk) {
  const size_t bytes = head.size() + body.size();
  fragment->next = nullptr;
  fragment->bytes = static_cast<uint32_t>(bytes);
  fragment->queued_ns = fragment->sent_ns = worker().loop().now_ns();
  queued_offset_ += bytes;
  fragment->end_offset = queued_offset_;
  (tail_ != nullptr ? tail_->next : head_) = fragment;
  tail_ = fragment;
  if (unwritten_ == nullptr) unwritten_ = fragment;
  AddGauges(fragment, /*written=*/false, +1);
  if (!fragment->own) {
    metrics::ServerCells& cells = server_->cells();
    cells[ServerMetric::kRequests].Add(1);
    cells[ServerMetric::kRequestBytes].Add(static_cast<int64_t>(bytes));
  }

  Request* request = fragment->request;
  // Who is asked, from the start: what ends before the server answers is told of, too.
  if (request->trace != nullptr) [[unlikely]] {
    request->trace->server = server_->shared_name();
  }
  if (request->client != nullptr) request->client->Hold(request, bytes);
  net::BufferPool& buffers = worker().buffers();
  out_.Append(buffers, head);
  out_.AppendEither(buffers, chunk, body);
  // Armed whenever a request waits that may expire. What it was armed for may have been answered,
  // or have had a longer time than there is now.
  if (fragment->expires && server_->pool().settings().timeout_ms > 0) {
    const int64_t deadline_ns = DeadlineOf(*fragment);
    if (!timer_.armed() || deadline_ns < timer_.at_ns()) timer_.SetAt(deadline_ns);
  }
  if (state_ == State::kOpen) {
    worker().loop().MarkDirty(this);
  } else if (state_ == State::kClosed) {
    Connect();
  }
}

void ServerSession::OnFlush() {
  if (state_ == State::kGreeting) WriteGreeting();
  if (state_ != State::kOpen) return;
  while (!out_.empty() && writable_) {
    iovec iov[kMaxIov];
    const int count = out_.Gather(iov, kMaxIov);
    size_t offered = 0;
    for (int i = 0; i < count; ++i) offered += iov[i].iov_len;
    const net::IoResult result = transport_->Write(iov, count);
    if (result.status == IoStatus::kAgain) {
      writable_ = false;
    } else if (result.status != IoStatus::kOk) {
      return Fail(End::kError, FailureKind::kLost, strerror(result.error));
    } else {
      if (result.bytes < offered) writable_ = false;
      OnWritten(result.bytes);
    }
  }
}

void ServerSession::OnWritten(size_t bytes) {
  out_.Consume(worker().buffers(), bytes);
  written_offset_ += bytes;
  const int64_t now_ns = worker().loop().now_ns();
  metrics::Histogram& waited = server_->pool().cells().queue_duration;
  int64_t requests = 0, their_bytes = 0, at_once = 0;
  for (; unwritten_ != nullptr && unwritten_->end_offset <= written_offset_;
       unwritten_ = unwritten_->next) {
    ++requests;
    their_bytes += unwritten_->bytes;
    const int64_t waited_ns = now_ns - unwritten_->queued_ns;
    unwritten_->sent_ns = now_ns;
    unwritten_->written = true;
    if (unwritten_->own) continue;
    if (waited_ns == 0) {
      ++at_once;
    } else {
      waited.Add(waited_ns);
    }
  }
  waited.AddZeros(at_once);
  metrics::ServerCells& cells = server_->cells();
  cells[ServerMetric::kInQueue].Add(-requests);
  cells[ServerMetric::kInQueueBytes].Add(-their_bytes);
  cells[ServerMetric::kOutQueue].Add(requests);
  cells[ServerMetric::kOutQueueBytes].Add(their_bytes);
}

// ---- read replies, match them to requests ----------------------------------

void ServerSession::OnReady(uint32_t events) {
  if (state_ == State::kClosed) return;
  if (state_ == State::kConnecting) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
    OnConnected();
  } else if (state_ == State::kHandshake) {
    Handshake();
  }
  if (state_ != State::kOpen && state_ != State::kGreeting) return;
  if ((events & EPOLLOUT) != 0) {
    writable_ = true;
    if (!out_.empty() || state_ == State::kGreeting) worker().loop().MarkDirty(this);
  }
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) hangup_ = true;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) readable_ = true;
  if (state_ == State::kGreeting) ReadGreeting();
  if (state_ == State::kOpen) ReadRound();
}

void ServerSession::ReadRound() {
  for (int i = 0; i < kReadsPerRound && readable_; ++i) {
    if (!ReadOnce()) return;
  }
  if (readable_) worker().loop().MarkReady(this);
}

bool ServerSession::ReadOnce() {
  iovec iov[2];
  int count = 0;
  // The rest of a large value is read to where it will stay.
  const bool direct =
      body_left_ >= net::ByteQueue::kReferenceFrom && head_ != nullptr && Wanted(*head_);
  if (direct) iov[count++] = head_->reply.Reserve(worker().buffers(), body_left_);
  char* const buffer = worker().read_buffer();
  memcpy(buffer, carry_.data(), carry_.size());
  const size_t carried = carry_.size();
  iov[count++] = {buffer + carried, Worker::kReadBuffer - carried};

  const net::IoResult result = transport_->Read(iov, count);
  switch (result.status) {
    case IoStatus::kAgain:
      readable_ = result.more;
      return true;
    case IoStatus::kEof:
      Fail(End::kEof, FailureKind::kLost, ClosedText(server_->pool().settings().strict));
      return false;
    case IoStatus::kError:
      Fail(End::kError, FailureKind::kLost, strerror(result.error));
      return false;
    case IoStatus::kOk:
      break;
  }
  readable_ = result.more || hangup_;
  last_read_ns_ = worker().loop().now_ns();
  carry_.clear();
  size_t bytes = result.bytes;
  if (direct) {
    const size_t body = std::min(bytes, iov[0].iov_len);
    bytes -= body;
    if (!CommitBody({static_cast<char*>(iov[0].iov_base), body})) return false;
  }
  return OnBytes({buffer, carried + bytes});
}

// Bytes of a value that were read to their place.
bool ServerSession::CommitBody(std::string_view bytes) {
  Fragment* fragment = head_;
  fragment->reply.Commit(bytes.size());
  const protocol::ReplyParser::Result result =
      parser_->Parse(bytes, &fragment->expect, fragment->blocks);
  if (result.status == protocol::ParseStatus::kInvalid) {
    Fail(End::kError, FailureKind::kProtocol, kBadReply);
    return false;
  }
  reply_bytes_ += static_cast<uint32_t>(bytes.size());
  body_left_ = result.body_left;
  fragment->request->client->Hold(fragment->request, bytes.size());
  if (result.status == protocol::ParseStatus::kDone) {
    return OnReplyDone(fragment, {}, result.outcome);
  }
  HoldPartial(fragment, {});
  return true;
}

bool ServerSession::OnBytes(std::string_view bytes) {
  bool answered = false;
  while (!bytes.empty()) {
    Fragment* fragment = head_;
    protocol::Expectation nothing;
    if (fragment == nullptr || !IsBegun(*fragment)) {
      if (!parser_->IsUnasked(bytes)) {
        Fail(End::kDesync, FailureKind::kProtocol, kBadReply);
        return false;
      }
      fragment = nullptr;
    }
    const protocol::ReplyParser::Result result =
        fragment == nullptr ? parser_->Parse(bytes, &nothing, nullptr)
                            : parser_->Parse(bytes, &fragment->expect, fragment->blocks);
    if (result.status == protocol::ParseStatus::kInvalid) {
      const bool desync = result.outcome == protocol::Outcome::kDesync;
      CASHEW_LOG_WARN("server out of step pool={} server={} reply=\"{}\"", server_->pool().name(),
                      server_->name(), base::Escape(bytes, 64));
      Fail(desync ? End::kDesync : End::kError, FailureKind::kProtocol, kBadReply);
      return false;
    }
    const std::string_view part = bytes.substr(result.dropped, result.consumed - result.dropped);
    bytes.remove_prefix(result.consumed);
    reply_bytes_ += static_cast<uint32_t>(result.consumed);
    if (result.status == protocol::ParseStatus::kNeedMore) {
      // What nobody will see is not read to its place.
      body_left_ = result.dropped == result.consumed && result.consumed > 0 ? 0 : result.body_left;
      if (fragment != nullptr) HoldPartial(fragment, part);
      carry_.assign(bytes);
      break;
    }
    if (result.trouble != protocol::Trouble::kNone) CountTrouble(result.trouble);
    if (result.outcome == protocol::Outcome::kUnasked) {
      server_->cells()[ServerMetric::kUnasked].Add(1);
      reply_bytes_ = 0;
      continue;
    }
    if (result.outcome == protocol::Outcome::kInterim) continue;
    if (!answered) server_->OnReply();
    answered = true;
    if (!OnReplyDone(fragment, part, result.outcome)) return false;
  }
  return true;
}

// A reply is all here; `bytes` are those that are not in fragment->reply yet.
bool ServerSession::OnReplyDone(Fragment* fragment, std::string_view bytes,
                                protocol::Outcome outcome) {
  LocalPool& pool = server_->pool();
  Request* request = fragment->request;
  if (request->quiet != protocol::Quiet::kAll && !fragment->own) {
    metrics::ServerCells& cells = server_->cells();
    cells[ServerMetric::kResponses].Add(1);
    cells[ServerMetric::kResponseBytes].Add(reply_bytes_);
    cells.response_duration.Add(last_read_ns_ - fragment->sent_ns);
  }
  reply_bytes_ = 0;
  body_left_ = 0;
  if (request->trace != nullptr) [[unlikely]] {
    TraceLeaving(*fragment);
  }
  PopHead();
  if (Wanted(*fragment)) {
    ClientSession* client = request->client;
    const bool straight_through = request->split == nullptr && client->IsFront(request) &&
                                  request->quiet == protocol::Quiet::kNo && !request->scan &&
                                  fragment->reply.empty();
    if (straight_through) {
      client->output().Append(worker().buffers(), bytes);
      if (request->trace != nullptr) [[unlikely]] {
        request->trace->reply_bytes += bytes.size();
      }
    } else {
      fragment->reply.AppendLast(worker().buffers(), bytes);
      client->Hold(request, bytes.size());
    }
  }
  FinishPart(pool, fragment, outcome);
  ReleasePart(pool, fragment);
  if (outcome == protocol::Outcome::kDesync) {
    CASHEW_LOG_WARN("server refused a valid request pool={} server={}", pool.name(),
                    server_->name());
    Fail(End::kDesync, FailureKind::kProtocol, kBadReply);
    return false;
  }
  if (close_when_idle_ && head_ == nullptr) {
    Fail(End::kOurs, FailureKind::kLost, {});
    return false;
  }
  return state_ == State::kOpen;
}

// Part of a reply has come. It waits in its slot, or is passed on if it is larger
// than a client may hold.
void ServerSession::HoldPartial(Fragment* fragment, std::string_view bytes) {
  Request* request = fragment->request;
  if (!Wanted(*fragment)) {
    fragment->reply.Clear(worker().buffers());
    return;
  }
  fragment->reply.Append(worker().buffers(), bytes);
  ClientSession* client = request->client;
  client->Hold(request, bytes.size());
  const auto cap = static_cast<size_t>(server_->pool().settings().client_max_buffer);
  const bool too_large = request->streaming || fragment->reply.size() + body_left_ > cap;
  if (too_large && request->split == nullptr && !request->scan &&
      request->quiet == protocol::Quiet::kNo && client->IsFront(request)) {
    client->StreamFront();
  }
}

void ServerSession::TraceLeaving(const Fragment& fragment) {
  if (fragment.request->trace == nullptr) return;
  TracePart(fragment, server_->shared_name(), worker().loop().now_ns());
}

void ServerSession::PopHead() {
  Fragment* fragment = head_;
  const bool written = fragment != unwritten_;
  // A reply may come before its request is wholly written (an error to a value
  // that is too large): what is left is still sent.
  if (!written) unwritten_ = fragment->next;
  AddGauges(fragment, written, -1);
  head_ = fragment->next;
  if (head_ == nullptr) tail_ = nullptr;
}

void ServerSession::AddGauges(Fragment* fragment, bool written, int64_t sign) {
  metrics::ServerCells& cells = server_->cells();
  cells[written ? ServerMetric::kOutQueue : ServerMetric::kInQueue].Add(sign);
  cells[written ? ServerMetric::kOutQueueBytes : ServerMetric::kInQueueBytes].Add(
      sign * static_cast<int64_t>(fragment->bytes));
}

// ---- timeouts --------------------------------------------------------------

// A request that may take its time (BLPOP key 5) may also be late, like any other.
int64_t ServerSession::DeadlineOf(const Fragment& fragment) const {
  const int64_t timeout_ms = server_->pool().settings().timeout_ms;
  return fragment.queued_ns +
         (timeout_ms + std::max<int64_t>(0, fragment.wait_ms)) * base::kNsPerMs;
}

void ServerSession::ArmTimer() {
  if (server_->pool().settings().timeout_ms <= 0) return;
  for (Fragment* f = head_; f != nullptr; f = f->next) {
    if (!f->expires || f->resolved) continue;
    timer_.SetAt(DeadlineOf(*f));
    return;
  }
}

// The queue is in the order of its deadlines. If the server has been silent since the first expired
// request was queued, or did not begin to take that, the connection is given up; if bytes came,
// only that request is, and its late reply will be discarded.
void ServerSession::CheckTimeouts() {
  if (server_->pool().settings().timeout_ms <= 0) return;  // there was one when this was armed
  const int64_t now = worker().loop().now_ns();
  for (Fragment* f = head_; f != nullptr; f = f->next) {
    if (!f->expires || f->resolved) continue;
    if (DeadlineOf(*f) > now) break;
    const bool silent = state_ != State::kOpen || last_read_ns_ <= f->queued_ns || !IsBegun(*f);
    if (silent) {
      CASHEW_LOG_WARN("server timed out pool={} server={} timeout_ms={}", server_->pool().name(),
                      server_->name(), server_->pool().settings().timeout_ms);
      return Fail(End::kTimeout, FailureKind::kSilent, kTimedOut);
    }
    server_->cells()[ServerMetric::kExpired].Add(1);
    TraceLeaving(*f);
    FailPart(server_->pool(), f, ErrorKind::kTimeout, kTimedOut);
    // Its client has left with half a reply, and taken this connection along: `f` may be gone.
    if (state_ == State::kClosed) return;
  }
  ArmTimer();
}

void ServerSession::CountTrouble(protocol::Trouble trouble) {
  static constexpr ServerMetric kRows[] = {ServerMetric::kLoading, ServerMetric::kReadonly,
                                           ServerMetric::kMasterDown, ServerMetric::kOutOfMemory,
                                           ServerMetric::kBusy};
  server_->cells()[kRows[static_cast<int>(trouble) - 1]].Add(1);
}

// ---- lent to one client ----------------------------------------------------

void ServerSession::LendTo(ClientSession* holder) {
  lent_ = holder != nullptr;
  holder_ = holder;
  lent_ns_ = worker().loop().now_ns();
}

void ServerSession::CleanUp() {
  protocol::Command reset;
  reset.action = protocol::Action::kForward;
  reset.expires = false;  // it may stand behind a request that waits for ever
  Request* request = worker().NewRequest();
  Fragment* fragment = UseSingle(request, reset);
  fragment->own = true;
  Enqueue(fragment, server_->pool().codec().ResetRequest(), {}, nullptr);
}

// ---- the end ---------------------------------------------------------------

void ServerSession::Shutdown(std::string_view text) { Fail(End::kOurs, FailureKind::kLost, text); }

void ServerSession::CloseWhenIdle() {
  close_when_idle_ = true;
  if (head_ == nullptr) Fail(End::kOurs, FailureKind::kLost, {});
}

void ServerSession::GiveUpUnwanted() {
  const auto cap = static_cast<size_t>(server_->pool().settings().client_max_buffer);
  const size_t most = worker().memory_scarce() ? std::min(cap, kUnwantedWhenScarce) : cap;
  if (out_.size() <= most) return;
  size_t unwanted = 0;
  for (const Fragment* f = unwritten_; f != nullptr; f = f->next) {
    if (f->resolved || f->request->client == nullptr) unwanted += f->bytes;
  }
  if (unwanted > most) Fail(End::kTimeout, FailureKind::kSilent, kTimedOut);
}

std::vector<Fragment*> ServerSession::TakeAll() {
  std::vector<Fragment*> all;
  while (head_ != nullptr) {
    TraceLeaving(*head_);
    all.push_back(head_);
    PopHead();
  }
  return all;
}

void ServerSession::CloseTransport() {
  if (transport_ != nullptr) {
    worker().CountConnection(-1);
    if (state_ > State::kConnecting) {
      server_->cells()[ServerMetric::kServerConnections].Add(-1);
    }
  }
  transport_.reset();
  parser_.reset();
  greeting_.reset();
  out_.Clear(worker().buffers());
  carry_.clear();
  timer_.Cancel();
  state_ = State::kClosed;
  queued_offset_ = written_offset_ = 0;
  reply_bytes_ = 0;
  body_left_ = 0;
  last_read_ns_ = 0;
  readable_ = writable_ = hangup_ = false;
}

// The one place where a connection ends. Every request on it fails with `text`.
void ServerSession::Fail(End end, FailureKind kind, std::string_view text) {
  static constexpr ServerMetric kCounter[] = {ServerMetric::kServerEof, ServerMetric::kServerErr,
                                              ServerMetric::kServerTimedout, ServerMetric::kDesync};
  LocalPool& pool = server_->pool();
  const bool was_up = state_ == State::kOpen || state_ == State::kHandshake;
  std::vector<Fragment*> failed = TakeAll();
  CloseTransport();
  for (ClientSession** client : {&holder_, &waiter_}) {
    if (*client != nullptr) std::exchange(*client, nullptr)->OnOwnLost(this);
  }
  if (lent_) server_->Return(this);
  bool out = false;
  if (end != End::kOurs) {
    server_->cells()[kCounter[static_cast<int>(end)]].Add(1);
    // An idle connection that closes is no failure, nor is it the server's fault
    // when the two sides lost step.
    const bool counts = end != End::kDesync && (!was_up || !failed.empty());
    CASHEW_LOG_NOTICE("server connection ended pool={} server={} outstanding={} why=\"{}\"",
                      pool.name(), server_->name(), failed.size(),
                      was_up && failed.empty() ? "closed while idle" : text);
    if (counts) out = server_->OnFailure({kind, connect_began_ns_}, std::string(text));
  }
  const ErrorKind error = KindOf(kind);
  if (out) return worker().HoldErrors(&pool, std::move(failed), error, std::string(text));
  for (Fragment* fragment : failed) {
    FailPart(pool, fragment, error, text);
    ReleasePart(pool, fragment);
  }
}

}  // namespace cashew::proxy

#include "pkg/health/probe.h"

#include <sys/epoll.h>
#include <utility>

namespace cashew::health {
namespace {

constexpr size_t kMaxReply = 4096;

}  // namespace

Probe::Probe(net::EventLoop* loop, const protocol::Codec& codec, Done done)
    : loop_(loop),
      codec_(codec),
      done_(std::move(done)),
      timer_(loop, [this] { Finish(false); }),
      to_send_(codec.ProbeRequest()) {}

Probe* Probe::Start(net::EventLoop* loop, const net::SocketAddress& address,
                    const net::TransportFactory& transport, const protocol::Codec& codec,
                    int64_t timeout_ms, Done done) {
  auto* probe = new Probe(loop, codec, std::move(done));
  const int fd = address.known() ? net::StartConnect(address) : -1;
  if (fd >= 0) {
    probe->transport_ = transport.New(fd);
    if (!loop->Add(fd, probe).ok()) probe->transport_.reset();
  }
  // A connect that failed at once is reported by the timer, from the loop.
  probe->timer_.SetAfterMs(probe->transport_ != nullptr ? timeout_ms : 0);
  return probe;
}

void Probe::Cancel() {
  done_ = nullptr;
  Finish(false);
}

void Probe::OnReady(uint32_t events) {
  if (finished_ || transport_ == nullptr) return;
  if (!connected_) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
    if (net::SocketError(transport_->fd()) != 0) return Finish(false);
    connected_ = true;
  }
  Advance();
}

void Probe::Advance() {
  if (!ready_) {
    const net::IoResult result = transport_->Handshake();
    if (result.status == net::IoStatus::kAgain) return;
    if (result.status != net::IoStatus::kOk) return Finish(false);
    ready_ = true;
  }
  while (!to_send_.empty()) {
    const iovec iov{const_cast<char*>(to_send_.data()), to_send_.size()};
    const net::IoResult result = transport_->Write(&iov, 1);
    if (result.status == net::IoStatus::kAgain) return;
    if (result.status != net::IoStatus::kOk) return Finish(false);
    to_send_.remove_prefix(result.bytes);
  }
  for (;;) {
    char buffer[512];
    const iovec iov{buffer, sizeof buffer};
    const net::IoResult result = transport_->Read(&iov, 1);
    if (result.status == net::IoStatus::kAgain) return;
    if (result.status != net::IoStatus::kOk) return Finish(false);
    reply_.append(buffer, result.bytes);
    const protocol::ParseStatus status = codec_.CheckProbe(reply_);
    if (status == protocol::ParseStatus::kDone) return Finish(true);
    if (status == protocol::ParseStatus::kInvalid || reply_.size() > kMaxReply) {
      return Finish(false);
    }
  }
}

void Probe::Finish(bool answered) {
  if (finished_) return;
  finished_ = true;
  timer_.Cancel();
  transport_.reset();
  loop_->Retire(this);
  if (done_) done_(answered);
}

}  // namespace cashew::health

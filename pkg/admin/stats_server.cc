#include "pkg/admin/stats_server.h"

#include <absl/status/status.h>
#include <algorithm>
#include <cerrno>
#include <limits>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "pkg/base/clock.h"

namespace cashew::admin {
namespace {

constexpr size_t kMaxClients = 256;
constexpr int64_t kStallNs = 5 * base::kNsPerSec;         // without a byte of progress
constexpr int64_t kTotalNs = 30 * base::kNsPerSec;        // for the whole text
constexpr int64_t kDrainNs = 1 * base::kNsPerSec;         // from our FIN to the client's
constexpr int64_t kStopNs = 250 * base::kNsPerMs;         // for open connections when we stop
constexpr int64_t kAcceptPauseNs = 100 * base::kNsPerMs;  // when out of file descriptors
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

int64_t NowNs() { return base::RealClock().NowNs(); }

bool MayRetry(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

// Rounded up, so that a deadline has passed when poll returns.
int PollTimeoutMs(int64_t deadline_ns) {
  if (deadline_ns == kNever) return -1;
  return static_cast<int>(std::max<int64_t>(0, (deadline_ns - NowNs()) / base::kNsPerMs + 1));
}

}  // namespace

struct StatsServer::Client {
  UniqueFd fd;  // none: done, to be removed
  std::shared_ptr<const std::string> text;
  int64_t last_deadline_ns;  // progress does not move it
  int64_t deadline_ns;
  size_t sent = 0;
  short events = POLLIN | POLLOUT;
  short revents = 0;

  bool sending() const { return sent < text->size(); }
};

absl::StatusOr<std::unique_ptr<StatsServer>> StatsServer::Listen(const ListenOptions& listen,
                                                                 Render render) {
  absl::StatusOr<UniqueFd> listener = admin::Listen(listen);
  if (!listener.ok()) return listener.status();
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (wake.get() < 0) return absl::ErrnoToStatus(errno, "cannot start the stats server");
  return std::unique_ptr<StatsServer>(
      new StatsServer(*std::move(listener), std::move(wake), std::move(render)));
}

StatsServer::StatsServer(UniqueFd listener, UniqueFd wake, Render render)
    : listener_(std::move(listener)),
      wake_(std::move(wake)),
      render_(std::move(render)),
      port_(BoundPort(listener_.get())) {}

StatsServer::~StatsServer() { Stop(); }

void StatsServer::Start() {
  thread_ = std::thread([this] { Run(); });
}

void StatsServer::Stop() {
  if (!thread_.joinable()) return;
  eventfd_write(wake_.get(), 1);
  thread_.join();
}

void StatsServer::Run() {
  while (WaitForEvents()) {
    for (Client& client : clients_) Serve(client);
    CloseExpired();
  }
  stopping_ = true;
  const int64_t end_ns = NowNs() + kStopNs;
  for (Client& client : clients_) {
    client.last_deadline_ns = client.deadline_ns = std::min(client.deadline_ns, end_ns);
  }
  while (!clients_.empty()) {
    WaitForEvents();
    for (Client& client : clients_) Serve(client);
    CloseExpired();
  }
}

// Waits, notes each client's events and takes new clients in.
bool StatsServer::WaitForEvents() {
  const bool accepting = !stopping_ && NowNs() >= accept_again_ns_;
  std::vector<pollfd> polled;
  polled.push_back({stopping_ ? -1 : wake_.get(), POLLIN, 0});
  polled.push_back({accepting ? listener_.get() : -1, POLLIN, 0});
  for (const Client& client : clients_) polled.push_back({client.fd.get(), client.events, 0});
  const int ready = poll(polled.data(), polled.size(), PollTimeoutMs(NextDeadlineNs()));
  if (ready < 0) return true;  // EINTR

  size_t i = 2;
  for (Client& client : clients_) client.revents = polled[i++].revents;
  if (polled[1].revents != 0) AcceptAll();
  return polled[0].revents == 0;
}

int64_t StatsServer::NextDeadlineNs() const {
  int64_t next = kNever;
  if (!stopping_ && accept_again_ns_ > NowNs()) next = accept_again_ns_;
  for (const Client& client : clients_) next = std::min(next, client.deadline_ns);
  return next;
}

// All that wait are sent the same text, so a crowd costs one.
void StatsServer::AcceptAll() {
  std::shared_ptr<const std::string> text;
  for (size_t accepted = 0; accepted < kMaxClients; ++accepted) {
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.get() < 0) {
      const bool exhausted =
          errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
      if (exhausted) accept_again_ns_ = NowNs() + kAcceptPauseNs;
      return;
    }
    if (!text) text = std::make_shared<const std::string>(render_());
    Admit(std::move(fd), text);
  }
}

void StatsServer::Admit(UniqueFd fd, std::shared_ptr<const std::string> text) {
  if (clients_.size() >= kMaxClients) clients_.pop_front();
  BoundSendBuffer(fd.get());
  const int64_t now = NowNs();
  Client& client =
      clients_.emplace_back(Client{std::move(fd), std::move(text), now + kTotalNs, now + kStallNs});
  client.revents = POLLOUT;  // most clients are done with the first send
}

void StatsServer::Serve(Client& client) {
  const short revents = std::exchange(client.revents, 0);
  if (revents == 0) return;
  if (client.events & POLLIN) Drain(client);
  if (client.fd.get() >= 0 && client.sending()) Send(client);
}

void StatsServer::Send(Client& client) {
  const std::string& text = *client.text;
  const ssize_t n = send(client.fd.get(), text.data() + client.sent, text.size() - client.sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0) {
    if (!MayRetry(errno)) client.fd.reset();
    return;
  }
  client.sent += static_cast<size_t>(n);
  const int64_t now = NowNs();
  client.deadline_ns = std::min(now + kStallNs, client.last_deadline_ns);
  if (client.sending()) return;

  shutdown(client.fd.get(), SHUT_WR);
  if ((client.events & POLLIN) == 0) {  // its FIN came long ago
    client.fd.reset();
    return;
  }
  client.events = POLLIN;
  client.deadline_ns = stopping_ ? client.deadline_ns : now + kDrainNs;
}

// Throws away what the client sent, a bounded bite at a time: it may send without end.
void StatsServer::Drain(Client& client) {
  char bite[16 * 1024];
  const ssize_t n = recv(client.fd.get(), bite, sizeof(bite), MSG_DONTWAIT);
  if (n > 0 || (n < 0 && MayRetry(errno))) return;
  if (n == 0 && client.sending()) {
    client.events = POLLOUT;  // it closed its side, as `nc -N` does, and still reads
    return;
  }
  client.fd.reset();
}

void StatsServer::CloseExpired() {
  const int64_t now = NowNs();
  clients_.remove_if([now](const Client& c) { return c.fd.get() < 0 || now >= c.deadline_ns; });
}

}  // namespace cashew::admin

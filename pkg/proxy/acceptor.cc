#include "pkg/proxy/acceptor.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "pkg/base/log.h"

namespace cashew::proxy {
namespace {

// Connections taken from one listener before the others have their turn.
constexpr int kAcceptsPerRound = 64;
// Out of descriptors: the listener rests this long instead of spinning.
constexpr int64_t kRestMs = 100;

int64_t Clients(const Door& door) {
  return std::accumulate(door.homes.begin(), door.homes.end(), int64_t{0},
                         [](int64_t sum, const Home& home) {
                           return sum + home.clients->value.load(std::memory_order_relaxed);
                         });
}

const Home& Emptiest(const Door& door) {
  return *std::min_element(door.homes.begin(), door.homes.end(), [](const Home& a, const Home& b) {
    return a.clients->value.load(std::memory_order_relaxed) <
           b.clients->value.load(std::memory_order_relaxed);
  });
}

}  // namespace

class Acceptor::Listener final : public net::IoHandler {
 public:
  Listener(Acceptor* acceptor, Door door)
      : acceptor_(acceptor),
        door_(std::move(door)),
        cells_(acceptor->services_.registry->Pool(door_.pool, acceptor->writer_)),
        rest_(&acceptor->loop_, [this] { acceptor_->loop_.Resume(door_.fd, this); }) {}
  // Others hold duplicates of the socket, so closing alone would not take it out of epoll.
  ~Listener() override {
    acceptor_->loop_.Forget(door_.fd);
    close(door_.fd);
  }

  absl::Status Start() { return acceptor_->loop_.AddLevel(door_.fd, this); }
  const Door& door() const { return door_; }

  void OnReady(uint32_t) override {
    for (int i = 0; i < kAcceptsPerRound; ++i) {
      const int fd = accept4(door_.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        Place(fd);
        continue;
      }
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) Rest();
      return;
    }
  }

 private:
  void Place(int fd) {
    if (acceptor_->AtLimit(door_)) {
      (*cells_)[metrics::PoolMetric::kClientsRefused].Add(1);
      close(fd);  // without a word, as nutcracker does
      return;
    }
    const MemoryBudget* budget = acceptor_->services_.budget;
    if (budget != nullptr && budget->Scarce()) {
      (*cells_)[metrics::PoolMetric::kClientsShed].Add(1);
      [[maybe_unused]] const ssize_t n =
          send(fd, door_.refusal.data(), door_.refusal.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      close(fd);
      return;
    }
    if (door_.no_delay) net::SetNoDelay(fd);
    const Home& home = Emptiest(door_);
    home.clients->value.fetch_add(1, std::memory_order_relaxed);
    home.worker->Post([home, pool = door_.pool, fd] {
      if (!home.worker->AddClient(pool, fd)) home.clients->value.fetch_sub(1);
    });
  }

  // EMFILE, ENFILE, ENOBUFS: the connection waits in the backlog.
  void Rest() {
    CASHEW_LOG_ERROR("cannot accept pool={} error=\"{}\"", door_.pool, strerror(errno));
    acceptor_->loop_.Suspend(door_.fd, this);
    rest_.SetAfterMs(kRestMs);
  }

  Acceptor* const acceptor_;
  const Door door_;
  const std::shared_ptr<metrics::PoolCells> cells_;
  net::Timer rest_;
};

Acceptor::Acceptor(int writer, const Services& services, int64_t max_clients)
    : services_(services),
      max_clients_(max_clients),
      loop_(*services.clock),
      cells_(services.registry->Process(writer)),
      writer_(writer) {}

Acceptor::~Acceptor() { Stop(); }

absl::Status Acceptor::AddDoor(Door door) {
  auto listener = std::make_unique<Listener>(this, std::move(door));
  if (auto status = listener->Start(); !status.ok()) return status;
  listeners_.push_back(std::move(listener));
  (*cells_)[metrics::ProcessMetric::kCurrConnections].Add(1);
  (*cells_)[metrics::ProcessMetric::kTotalConnections].Add(1);
  return absl::OkStatus();
}

void Acceptor::RemoveDoor(const std::string& pool) {
  for (auto& listener : listeners_) {
    if (listener->door().pool == pool) loop_.Retire(listener.release());
  }
  const size_t removed = std::erase(listeners_, nullptr);
  (*cells_)[metrics::ProcessMetric::kCurrConnections].Add(-static_cast<int64_t>(removed));
}

void Acceptor::Place(CarriedClient client) {
  for (const auto& listener : listeners_) {
    if (listener->door().pool != client.pool) continue;
    const Home& home = Emptiest(listener->door());
    home.clients->value.fetch_add(1, std::memory_order_relaxed);
    home.worker->Post([home, client = std::move(client)] {
      if (!home.worker->AddCarried(client)) home.clients->value.fetch_sub(1);
    });
    return;
  }
  close(client.fd);  // its pool is not served any more
}

void Acceptor::CloseAll(bool leave_queued) {
  if (!leave_queued) {
    for (auto& listener : listeners_) listener->OnReady(0);
  }
  (*cells_)[metrics::ProcessMetric::kCurrConnections].Add(-static_cast<int64_t>(listeners_.size()));
  for (auto& listener : listeners_) loop_.Retire(listener.release());
  listeners_.clear();
}

bool Acceptor::AtLimit(const Door& door) const {
  if (door.client_connections > 0 && Clients(door) >= door.client_connections) return true;
  if (max_clients_ == 0) return false;
  int64_t all = 0;
  for (const auto& listener : listeners_) all += Clients(listener->door());
  return all >= max_clients_;
}

void Acceptor::Start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "acceptor");
    loop_.Run();
  });
}

void Acceptor::Stop() {
  loop_.Stop();
  if (thread_.joinable()) thread_.join();
  listeners_.clear();
}

}  // namespace cashew::proxy

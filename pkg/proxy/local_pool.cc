#include "pkg/proxy/local_pool.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "pkg/base/log.h"
#include "pkg/proxy/client_session.h"
#include "pkg/proxy/fragment.h"
#include "pkg/proxy/server_session.h"

namespace cashew::proxy {
namespace {

// Between attempts to reach a server that failed too often. From 50 ms, so that a
// restart is noticed at once, to 1 s, so that a dead server costs next to nothing.
constexpr int64_t kFirstBackoffMs = 50;
constexpr int64_t kMaxBackoffMs = 1000;

net::SocketAddress AddressOf(const pool::Server& server) {
  // Numeric: nothing is looked up here.
  auto address = !server.unix_path.empty() ? net::UnixAddress(server.unix_path)
                 : server.ip.empty() ? absl::StatusOr<net::SocketAddress>(net::SocketAddress())
                                     : net::Resolve(server.ip, server.port, false);
  return address.ok() ? *address : net::SocketAddress();
}

}  // namespace

// ---- a server, as this worker sees it --------------------------------------

LocalServer::LocalServer(LocalPool* pool, const pool::Server& server)
    : pool_(pool),
      name_(server.name),
      cells_(pool->worker().services().registry->Server(pool->name(), server.name,
                                                        pool->worker().index())) {}

LocalServer::~LocalServer() {
  for (auto& session : sessions_) {
    session->Shutdown("Server was removed");
    pool_->worker().loop().Retire(session.release());
  }
}

void LocalServer::Update(const pool::Server& server, int connections) {
  const net::SocketAddress address = AddressOf(server);
  if (!(address == address_)) {
    address_ = address;
    // The old address: what is under way there may finish, nothing new is sent.
    for (auto& session : sessions_) {
      if (session->closed()) continue;
      session->CloseWhenIdle();
      if (!session->closed()) pool_->AddLeaving(std::move(session));
    }
    std::erase(sessions_, nullptr);
  }
  while (static_cast<int>(sessions_.size()) < connections) {
    sessions_.push_back(std::make_unique<ServerSession>(this));
  }
  if (live_ && !server.live) {
    for (auto& session : sessions_) {
      session->Shutdown(last_error_.empty() ? kNoServer : last_error_);
    }
  }
  if (!live_ && server.live) {
    failures_ = 0;
    backoff_ms_ = 0;
  }
  live_ = server.live;
}

void LocalServer::Enqueue(Fragment* fragment, uint32_t client_id, std::string_view head,
                          std::string_view body, net::Chunk* chunk) {
  ServerSession& session = *sessions_[client_id % sessions_.size()];
  if (!live_ || (session.closed() && InBackoff())) {
    FailPart(*pool_, fragment, last_error_.empty() ? kNoServer : last_error_);
    return ReleasePart(*pool_, fragment);
  }
  session.Enqueue(fragment, head, body, chunk);
}

void LocalServer::Preconnect() {
  if (live_ && !sessions_.empty()) sessions_[0]->Connect();
}

void LocalServer::Retire() {
  for (auto& session : sessions_) session->CloseWhenIdle();
}

bool LocalServer::idle() const {
  return std::all_of(sessions_.begin(), sessions_.end(),
                     [](const auto& session) { return session->idle(); });
}

bool LocalServer::InBackoff() const {
  return backoff_ms_ > 0 && pool_->worker().loop().now_ns() < retry_at_ns_;
}

bool LocalServer::OnFailure(const pool::Failure& failure, const std::string& text) {
  last_error_ = text;
  const pool::Settings& settings = pool_->settings();
  if (settings.auto_eject) {
    return pool_->worker().services().failures->OnFailure(pool_->name(), name_, failure);
  }
  if (++failures_ < settings.failure_limit) return false;
  backoff_ms_ = std::clamp(backoff_ms_ * 2, kFirstBackoffMs, kMaxBackoffMs);
  // ± 20 %, so that workers and proxies do not knock in step.
  const int64_t jitter = backoff_ms_ * (static_cast<int64_t>(pool_->worker().Random() % 401) - 200);
  retry_at_ns_ = pool_->worker().loop().now_ns() + backoff_ms_ * base::kNsPerMs + jitter * 1000;
  return false;
}

void LocalServer::OnReply() {
  failures_ = 0;
  backoff_ms_ = 0;
}

// ---- the pool on this worker -----------------------------------------------

LocalPool::LocalPool(Worker* worker, const PoolAssignment& assignment)
    : worker_(worker),
      name_(assignment.snapshot->settings().name),
      codec_(protocol::MemcachedCodec()),
      cells_(worker->services().registry->Pool(name_, worker->index())) {
  Adopt(assignment);
  if (settings().preconnect) {
    for (LocalServer* server : servers_) server->Preconnect();
  }
}

LocalPool::~LocalPool() {
  while (clients_ != nullptr) clients_->Abort();
  servers_.clear();
  by_name_.clear();
  leaving_.clear();
  for (auto& session : leaving_sessions_) {
    session->Shutdown("Server was removed");
    worker_->loop().Retire(session.release());
  }
}

void LocalPool::Adopt(const PoolAssignment& assignment) {
  snapshot_ = assignment.snapshot;
  client_count_ = assignment.clients;
  listen_transport_ = assignment.listen_transport;
  server_transport_ = assignment.server_transport;
  limits_.strict = settings().strict;
  limits_.allow_flush = settings().allow_flush;
  limits_.max_value = static_cast<size_t>(settings().client_max_buffer);

  servers_.clear();
  std::unordered_set<std::string> listed;
  for (const pool::Server& server : snapshot_->servers()) {
    listed.insert(server.name);
    std::unique_ptr<LocalServer>& local = by_name_[server.name];
    if (local == nullptr) local = std::make_unique<LocalServer>(this, server);
    local->Update(server, assignment.connections);
    servers_.push_back(local.get());
  }
  for (auto it = by_name_.begin(); it != by_name_.end();) {
    if (listed.contains(it->first)) {
      ++it;
      continue;
    }
    it->second->Retire();
    leaving_.push_back(std::move(it->second));
    it = by_name_.erase(it);
  }
}

void LocalPool::AddLeaving(std::unique_ptr<ServerSession> session) {
  leaving_sessions_.push_back(std::move(session));
}

void LocalPool::AddClient(int fd) {
  if (settings().tcp_keepalive) net::SetKeepAlive(fd);
  auto client =
      std::make_unique<ClientSession>(this, next_client_id_++, listen_transport_->New(fd));
  ClientSession* session = client.release();
  AddToClients(session);
  if (!session->Start()) session->Abort();
}

void LocalPool::AddToClients(ClientSession* client) {
  client->prev = nullptr;
  client->next = clients_;
  if (clients_ != nullptr) clients_->prev = client;
  clients_ = client;
  (*cells_)[metrics::PoolMetric::kClientsAccepted].Add(1);
  (*cells_)[metrics::PoolMetric::kClientConnections].Add(1);
  worker_->CountClient(+1);
  worker_->CountConnection(+1);
}

void LocalPool::RemoveFromClients(ClientSession* client) {
  (client->prev != nullptr ? client->prev->next : clients_) = client->next;
  if (client->next != nullptr) client->next->prev = client->prev;
  (*cells_)[metrics::PoolMetric::kClientConnections].Add(-1);
  client_count_->value.fetch_sub(1, std::memory_order_relaxed);
  worker_->CountClient(-1);
  worker_->CountConnection(-1);
}

void LocalPool::Drain(bool force) {
  for (ClientSession* client = clients_; client != nullptr;) {
    ClientSession* following = client->next;
    client->Drain(force);
    client = following;
  }
}

void LocalPool::Tick(int64_t now_ns) {
  for (ClientSession* client = clients_; client != nullptr;) {
    ClientSession* following = client->next;
    client->CheckPatience(now_ns);
    client = following;
  }
  std::erase_if(leaving_, [](const auto& server) { return server->idle(); });
  for (auto& session : leaving_sessions_) {
    if (session->closed()) worker_->loop().Retire(session.release());
  }
  std::erase(leaving_sessions_, nullptr);
}

ClientSession* LocalPool::LargestClient(int64_t* bytes) {
  ClientSession* largest = nullptr;
  for (ClientSession* client = clients_; client != nullptr; client = client->next) {
    if (client->held_bytes() <= *bytes) continue;
    *bytes = client->held_bytes();
    largest = client;
  }
  return largest;
}

}  // namespace cashew::proxy

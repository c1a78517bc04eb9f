#include "pkg/proxy/local_pool.h"

#include <algorithm>
#include <utility>

#include "pkg/base/log.h"
#include "pkg/proxy/client_session.h"
#include "pkg/proxy/fragment.h"
#include "pkg/proxy/observer.h"
#include "pkg/proxy/server_session.h"
#include "pkg/proxy/trace.h"
#include "pkg/ring/server.h"

namespace cashew::proxy {
namespace {

// Between attempts to reach a server that failed too often. From 50 ms, so that a
// restart is noticed at once, to 1 s, so that a dead server costs next to nothing.
constexpr int64_t kFirstBackoffMs = 50;
constexpr int64_t kMaxBackoffMs = 1000;
// Exclusive connections that are kept for the next client, and for how long.
constexpr size_t kExclusiveKept = 8;
constexpr int64_t kExclusiveIdleNs = 60 * base::kNsPerSec;
constexpr int64_t kGroupRefusedNs = 30 * base::kNsPerSec;

net::SocketAddress AddressOf(const pool::Server& server) {
  // Numeric: nothing is looked up here.
  auto address = !server.unix_path.empty() ? net::UnixAddress(server.unix_path)
                 : server.ip.empty() ? absl::StatusOr<net::SocketAddress>(net::SocketAddress())
                                     : net::Resolve(server.ip, server.port, false);
  return address.ok() ? *address : net::SocketAddress();
}

}  // namespace

const protocol::Codec& CodecOf(const pool::Settings& settings) {
  return settings.redis ? protocol::RedisCodec() : protocol::MemcachedCodec();
}

// ---- a server, as this worker sees it --------------------------------------

LocalServer::LocalServer(LocalPool* pool, const pool::Server& server)
    : pool_(pool),
      name_(std::make_shared<const std::string>(server.name)),
      cells_(pool->worker().services().registry->Server(pool->name(), server.name,
                                                        pool->worker().index())) {}

LocalServer::~LocalServer() {
  const auto end = [this](std::unique_ptr<ServerSession>& session) {
    session->Shutdown("Server was removed");
    pool_->worker().loop().Retire(session.release());
  };
  for (auto& group : shared_) std::for_each(group.begin(), group.end(), end);
  std::for_each(exclusive_.begin(), exclusive_.end(), end);
  std::for_each(leaving_.begin(), leaving_.end(), end);
}

template <typename Action>
void LocalServer::ForEachSession(Action action) const {
  for (const auto& group : shared_) {
    for (const auto& session : group) action(*session);
  }
  for (const auto& session : exclusive_) action(*session);
  for (const auto& session : leaving_) action(*session);
}

void LocalServer::Update(const pool::Server& server, int connections) {
  if (ip_ != server.ip || port_ != server.port || unix_path_ != server.unix_path) {
    ip_ = server.ip;
    port_ = server.port;
    unix_path_ = server.unix_path;
    address_ = AddressOf(server);
    last_error_.clear();
    LeaveAll();
  }
  connections_ = connections;
  for (auto& group : shared_) Leave(&group, static_cast<size_t>(connections));
  if (live_ && server.ejected) {
    ForEachSession([this](ServerSession& session) {
      session.Shutdown(last_error_.empty() ? kNoServer : last_error_);
    });
  } else if (live_ && !server.live) {
    LeaveAll();
  }
  if (!live_ && server.live) {
    failures_ = 0;
    backoff_ms_ = 0;
  }
  live_ = server.live;
}

// What is under way on the group's connections from the `keep`th on may finish, nothing new
// is sent on them.
void LocalServer::Leave(std::vector<std::unique_ptr<ServerSession>>* sessions, size_t keep) {
  for (size_t i = keep; i < sessions->size(); ++i) {
    std::unique_ptr<ServerSession>& session = (*sessions)[i];
    session->CloseWhenIdle();
    leaving_.push_back(std::move(session));
  }
  if (sessions->size() > keep) sessions->resize(keep);
}

void LocalServer::LeaveAll() {
  for (auto& group : shared_) Leave(&group, 0);
  Leave(&exclusive_, 0);
}

void LocalServer::Enqueue(Fragment* fragment, uint32_t client_id, uint8_t group,
                          std::string_view head, std::string_view body, net::Chunk* chunk) {
  auto& sessions = shared_[group];
  while (static_cast<int>(sessions.size()) < connections_) {
    sessions.push_back(std::make_unique<ServerSession>(this, group));
  }
  EnqueueOn(*sessions[client_id % sessions.size()], fragment, head, body, chunk);
}

void LocalServer::EnqueueOn(ServerSession& session, Fragment* fragment, std::string_view head,
                            std::string_view body, net::Chunk* chunk) {
  if (!live_ || (session.closed() && InBackoff())) {
    if (fragment->request->trace != nullptr) fragment->request->trace->server = name_;
    FailPart(*pool_, fragment, metrics::ErrorKind::kUnreachable,
             last_error_.empty() ? kNoServer : last_error_);
    return ReleasePart(*pool_, fragment);
  }
  session.Enqueue(fragment, head, body, chunk);
}

ServerSession* LocalServer::Lend(uint8_t group, ClientSession* holder) {
  ServerSession* found = nullptr;
  for (const auto& session : exclusive_) {
    if (!session->free() || session->group() != group) continue;
    found = session.get();
    if (!session->closed()) break;
  }
  if (found == nullptr) {
    if (exclusive_.size() >= pool_->exclusive_limit()) {
      // A free one of another group may go.
      const auto other = std::find_if(exclusive_.begin(), exclusive_.end(),
                                      [](const auto& session) { return session->free(); });
      if (other == exclusive_.end()) {
        (*cells_)[metrics::ServerMetric::kExclusiveRefused].Add(1);
        return nullptr;
      }
      (*other)->Shutdown({});
      pool_->worker().loop().Retire(other->release());
      exclusive_.erase(other);
    }
    exclusive_.push_back(std::make_unique<ServerSession>(this, group));
    found = exclusive_.back().get();
  }
  found->LendTo(holder);
  (*cells_)[metrics::ServerMetric::kExclusive].Add(1);
  return found;
}

void LocalServer::Return(ServerSession* session) {
  if (!session->lent()) return;
  session->LendTo(nullptr);
  (*cells_)[metrics::ServerMetric::kExclusive].Add(-1);
  if (!session->closed()) session->CleanUp();
}

void LocalServer::Tick(int64_t now_ns) {
  for (auto& session : leaving_) {
    if (session->closed()) pool_->worker().loop().Retire(session.release());
  }
  std::erase(leaving_, nullptr);
  ForEachSession([](ServerSession& session) { session.GiveUpUnwanted(); });
  size_t free = 0;
  for (auto& session : exclusive_) {
    if (!session->free()) continue;
    const bool old = now_ns - session->lent_ns() > kExclusiveIdleNs;
    if (++free <= kExclusiveKept && !old && !session->closed()) continue;
    session->Shutdown({});
    pool_->worker().loop().Retire(session.release());
  }
  std::erase(exclusive_, nullptr);
}

void LocalServer::Preconnect() {
  if (!live_) return;
  if (shared_[0].empty()) shared_[0].push_back(std::make_unique<ServerSession>(this, uint8_t{0}));
  shared_[0][0]->Connect();
}

void LocalServer::Retire() {
  ForEachSession([](ServerSession& session) { session.CloseWhenIdle(); });
}

bool LocalServer::idle() const {
  bool idle = true;
  ForEachSession([&idle](const ServerSession& session) { idle = idle && session.idle(); });
  return idle;
}

bool LocalServer::InBackoff() const {
  return backoff_ms_ > 0 && pool_->worker().loop().now_ns() < retry_at_ns_;
}

bool LocalServer::OnFailure(const pool::Failure& failure, const std::string& text) {
  last_error_ = text;
  const pool::Settings& settings = pool_->settings();
  if (settings.auto_eject) {
    return pool_->worker().services().failures->OnFailure(pool_->name(), *name_, failure);
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
      codec_(CodecOf(assignment.snapshot->settings())),
      cells_(worker->services().registry->Pool(name_, worker->index())) {
  Adopt(assignment);
}

LocalPool::~LocalPool() {
  while (clients_ != nullptr) clients_->Abort();
  servers_.clear();
  leaving_.clear();
}

void LocalPool::Adopt(const PoolAssignment& assignment) {
  snapshot_ = assignment.snapshot;
  client_count_ = assignment.clients;
  listen_transport_ = assignment.listen_transport;
  server_transport_ = assignment.server_transport;
  limits_.strict = settings().strict;
  limits_.allow_flush = settings().allow_flush;
  limits_.max_value = static_cast<size_t>(settings().client_max_buffer);
  limits_.password = settings().redis_auth;
  limits_.user = settings().redis_user;
  limits_.database = settings().redis_db;
  limits_.cluster_commands = settings().cluster_commands;
  limits_.dangerous_commands = settings().dangerous_commands;
  exclusive_limit_ = static_cast<size_t>(assignment.exclusive);
  AdoptObserver();

  AdoptServers(assignment.connections);
}

void LocalPool::AdoptObserver() {
  if (!Observer::Wanted(settings())) return observer_.reset();
  if (observer_ == nullptr) observer_ = std::make_unique<Observer>(this);
  observer_->Adopt(settings());
}

// Both lists are in index order: one pass finds who stays, who is new and who has left.
void LocalPool::AdoptServers(int connections) {
  std::vector<std::unique_ptr<LocalServer>> before = std::move(servers_);
  servers_.clear();
  servers_.reserve(snapshot_->servers().size());
  auto old = before.begin();
  const auto retire = [this](std::unique_ptr<LocalServer> server) {
    server->Retire();
    leaving_.push_back(std::move(server));
  };
  for (const pool::Server& server : snapshot_->servers()) {
    while (old != before.end() && ring::NameLess((*old)->name(), server.name)) {
      retire(std::move(*old++));
    }
    const bool stays = old != before.end() && (*old)->name() == server.name;
    servers_.push_back(stays ? std::move(*old++) : std::make_unique<LocalServer>(this, server));
    servers_.back()->Update(server, connections);
    if (!stays && settings().preconnect) servers_.back()->Preconnect();
  }
  while (old != before.end()) retire(std::move(*old++));
}

void LocalPool::AddClient(int fd) {
  if (settings().tcp_keepalive) net::SetKeepAlive(fd);
  auto client =
      std::make_unique<ClientSession>(this, next_client_id_++, listen_transport_->New(fd));
  ClientSession* session = client.release();
  AddToClients(session);
  if (!session->Start()) session->Abort();
}

void LocalPool::AddCarried(const CarriedClient& client) {
  auto session =
      std::make_unique<ClientSession>(this, next_client_id_++, listen_transport_->New(client.fd));
  ClientSession* added = session.release();
  AddToClients(added);
  if (!added->Start() || !added->Resume(client.state, client.unread)) added->Abort();
}

void LocalPool::HandOver() {
  for (ClientSession* client = clients_; client != nullptr;) {
    ClientSession* following = client->next;
    client->HandOver();
    client = following;
  }
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
  for (const auto& server : servers_) server->Tick(now_ns);
  std::erase_if(leaving_, [](const auto& server) { return server->idle(); });
}

void LocalPool::RefuseGroup(uint8_t group) {
  group_refused_until_ns_[group] = worker_->loop().now_ns() + kGroupRefusedNs;
}

bool LocalPool::RefusesGroup(uint8_t group) const {
  return group_refused_until_ns_[group] > worker_->loop().now_ns();
}

ClientSession* LocalPool::LargestClient(int64_t* bytes) {
  ClientSession* largest = nullptr;
  for (ClientSession* client = clients_; client != nullptr; client = client->next) {
    if (client->held_bytes() <= std::max(*bytes, ClientSession::kWorthEvicting)) continue;
    *bytes = client->held_bytes();
    largest = client;
  }
  return largest;
}

}  // namespace cashew::proxy

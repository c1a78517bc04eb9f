#include "pkg/health/board.h"

#include <set>
#include <utility>

namespace cashew::health {

using metrics::ServerMetric;

Board::Board(const base::Clock& clock, metrics::Registry* registry, int writers, int writer)
    : clock_(clock), registry_(registry), writers_(writers), writer_(writer) {}

void Board::SetListener(Listener listener) { listener_ = std::move(listener); }

void Board::SetServers(const pool::Settings& settings, const std::vector<std::string>& names) {
  base::MutexLock lock(&mu_);
  Pool& pool = pools_[settings.name];
  pool.settings = settings;
  const std::set<std::string> listed(names.begin(), names.end());
  std::erase_if(pool.servers, [&](const auto& entry) { return !listed.contains(entry.first); });
  for (const std::string& name : names) {
    Server& server = pool.servers[name];
    if (server.own != nullptr) continue;
    server.own = registry_->Server(settings.name, name, writer_);
    for (int w = 0; w < writers_; ++w) {
      server.replies.push_back(registry_->Server(settings.name, name, w));
    }
  }
}

void Board::RemovePool(const std::string& pool) {
  base::MutexLock lock(&mu_);
  pools_.erase(pool);
}

Board::Server* Board::Find(const std::string& pool, const std::string& server, int* limit) {
  const auto p = pools_.find(pool);
  if (p == pools_.end()) return nullptr;
  *limit = p->second.settings.failure_limit;
  const auto s = p->second.servers.find(server);
  return s == p->second.servers.end() ? nullptr : &s->second;
}

bool Board::Count(Server* server, int limit) {
  int64_t replies = 0;
  for (const auto& cells : server->replies) replies += (*cells)[ServerMetric::kResponses].Get();
  if (replies != server->replies_then) server->failures = 0;
  server->replies_then = replies;
  server->last_failure_ns = clock_.NowNs();
  if (++server->failures < limit) return false;
  Out(server);
  return true;
}

void Board::Out(Server* server) {
  server->failures = 0;
  server->out = true;
  (*server->own)[ServerMetric::kEjects].Add(1);
  (*server->own)[ServerMetric::kServerEjectedAt].Set(clock_.WallUs());
}

bool Board::OnFailure(const std::string& pool, const std::string& name,
                      const pool::Failure& failure) {
  bool ejected = false;
  {
    base::MutexLock lock(&mu_);
    int limit = 1;
    Server* server = Find(pool, name, &limit);
    if (server == nullptr) return false;
    if (server->out) return true;
    if (server->last_failure_ns != 0 && failure.connect_began_ns < server->last_failure_ns) {
      return false;
    }
    ejected = Count(server, limit);
  }
  if (ejected) {
    if (listener_.ejected) listener_.ejected(pool, name);
  } else if (failure.kind == pool::FailureKind::kSilent && listener_.suspected) {
    listener_.suspected(pool, name);
  }
  return ejected;
}

bool Board::OnProbeFailure(const std::string& pool, const std::string& name) {
  {
    base::MutexLock lock(&mu_);
    int limit = 1;
    Server* server = Find(pool, name, &limit);
    if (server == nullptr || server->out) return server != nullptr;
    if (!Count(server, limit)) return false;
  }
  if (listener_.ejected) listener_.ejected(pool, name);
  return true;
}

bool Board::Eject(const std::string& pool, const std::string& name) {
  {
    base::MutexLock lock(&mu_);
    int limit = 1;
    Server* server = Find(pool, name, &limit);
    if (server == nullptr || server->out) return false;
    Out(server);
  }
  if (listener_.ejected) listener_.ejected(pool, name);
  return true;
}

void Board::Readmit(const std::string& pool, const std::string& name) {
  base::MutexLock lock(&mu_);
  int limit = 1;
  Server* server = Find(pool, name, &limit);
  if (server == nullptr) return;
  if (server->out) (*server->own)[ServerMetric::kReadmissions].Add(1);
  server->out = false;
  server->failures = 0;
}

void Board::Inherit(const std::string& pool, const std::string& name) {
  base::MutexLock lock(&mu_);
  int limit = 1;
  if (Server* server = Find(pool, name, &limit); server != nullptr) server->out = true;
}

bool Board::IsOut(const std::string& pool, const std::string& name) const {
  base::MutexLock lock(&mu_);
  const auto p = pools_.find(pool);
  if (p == pools_.end()) return false;
  const auto s = p->second.servers.find(name);
  return s != p->second.servers.end() && s->second.out;
}

metrics::ServerCells* Board::cells(const std::string& pool, const std::string& name) {
  base::MutexLock lock(&mu_);
  int limit = 1;
  Server* server = Find(pool, name, &limit);
  return server == nullptr ? nullptr : server->own.get();
}

}  // namespace cashew::health

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pkg/metrics/cells.h"
#include "pkg/net/socket.h"
#include "pkg/pool/snapshot.h"
#include "pkg/protocol/codec.h"
#include "pkg/proxy/worker.h"

namespace cashew::proxy {

class ClientSession;
class LocalPool;
class Observer;
class ServerSession;

// The protocol that a pool speaks.
const protocol::Codec& CodecOf(const pool::Settings& settings);

// A server as one worker sees it: this worker's connections to it, its counters,
// and how patient to be with it. Kept across snapshots by the server's name.
class LocalServer {
 public:
  LocalServer(LocalPool* pool, const pool::Server& server);
  ~LocalServer();

  // Takes address and liveness from a snapshot.
  void Update(const pool::Server& server, int connections);
  // Queues a fragment, on the connection that this client always uses: of the group's,
  // which is opened on first use. `head` and `body` are what to send; `chunk` holds
  // `body`, or is null.
  void Enqueue(Fragment* fragment, uint32_t client_id, uint8_t group, std::string_view head,
               std::string_view body, net::Chunk* chunk);
  void EnqueueOn(ServerSession& session, Fragment* fragment, std::string_view head,
                 std::string_view body, net::Chunk* chunk);
  // Lends a connection that nobody else uses meanwhile. Null when this worker's share of
  // exclusive_connections is lent.
  ServerSession* Lend(uint8_t group, ClientSession* holder);
  // Takes it back: it is lent again when the server has answered the request that cleans
  // it up.
  void Return(ServerSession* session);
  void Preconnect();
  // No new requests will come: its connections close when they owe nothing.
  void Retire();
  bool idle() const;
  // Forgets connections that have drained; closes free exclusive ones that nobody used for a
  // while.
  void Tick(int64_t now_ns);

  // Called by its sessions.
  void OnReply();
  // Counts a failure; true when the server is out and a new ring is coming.
  bool OnFailure(const pool::Failure& failure, const std::string& text);

  const std::string& name() const { return *name_; }
  const std::shared_ptr<const std::string>& shared_name() const { return name_; }
  const net::SocketAddress& address() const { return address_; }
  LocalPool& pool() { return *pool_; }
  metrics::ServerCells& cells() { return *cells_; }

 private:
  bool InBackoff() const;
  void Leave(std::vector<std::unique_ptr<ServerSession>>* sessions, size_t keep);
  void LeaveAll();
  template <typename Action>
  void ForEachSession(Action action) const;

  LocalPool* const pool_;
  const std::shared_ptr<const std::string> name_;  // outlived by traces of its requests
  std::string ip_;
  uint16_t port_ = 0;
  std::string unix_path_;
  net::SocketAddress address_;  // unknown: the name does not resolve
  bool live_ = true;
  std::shared_ptr<metrics::ServerCells> cells_;
  int connections_ = 1;
  std::array<std::vector<std::unique_ptr<ServerSession>>, protocol::Codec::kGroups> shared_;
  std::vector<std::unique_ptr<ServerSession>> exclusive_;  // lent, being cleaned up, or free
  // To an address that the server has left, or too many by now: they drain, then close.
  std::vector<std::unique_ptr<ServerSession>> leaving_;
  int failures_ = 0;  // in a row, as seen here
  int64_t backoff_ms_ = 0;
  int64_t retry_at_ns_ = 0;
  std::string last_error_;
};

// A pool on one of its home workers: the present snapshot, this worker's servers
// and clients of the pool.
class LocalPool {
 public:
  LocalPool(Worker* worker, const PoolAssignment& assignment);
  ~LocalPool();

  void Adopt(const PoolAssignment& assignment);
  void AddClient(int fd);
  // One that another process served until now.
  void AddCarried(const CarriedClient& client);
  void HandOver();
  bool listens_encrypted() const { return listen_transport_->encrypted(); }
  void Drain(bool force);
  void Tick(int64_t now_ns);

  Worker& worker() { return *worker_; }
  const std::string& name() const { return name_; }
  const pool::Snapshot& snapshot() const { return *snapshot_; }
  const pool::Settings& settings() const { return snapshot_->settings(); }
  const protocol::Codec& codec() const { return codec_; }
  metrics::PoolCells& cells() { return *cells_; }
  // Null when the pool asks for none.
  Observer* observer() { return observer_.get(); }
  LocalServer& server(uint32_t index) { return *servers_[index]; }
  size_t server_count() const { return servers_.size(); }
  const net::TransportFactory& server_transport() const { return *server_transport_; }
  const net::TransportFactory& listen_transport() const { return *listen_transport_; }
  const protocol::Codec::Limits& limits() const { return limits_; }
  // How many connections to each server may be lent by this worker.
  size_t exclusive_limit() const { return exclusive_limit_; }
  // Servers of this pool were found not to speak a group's protocol; forgotten after a
  // while, since servers are upgraded.
  void RefuseGroup(uint8_t group);
  bool RefusesGroup(uint8_t group) const;

  void AddToClients(ClientSession* client);
  void RemoveFromClients(ClientSession* client);
  bool CountsIn(const std::shared_ptr<ClientCount>& clients) const {
    return client_count_ == clients;
  }
  bool has_clients() const { return clients_ != nullptr; }
  ClientSession* LargestClient(int64_t* bytes);

 private:
  void AdoptServers(int connections);
  void AdoptObserver();

  Worker* const worker_;
  const std::string name_;
  const protocol::Codec& codec_;
  std::shared_ptr<const pool::Snapshot> snapshot_;
  protocol::Codec::Limits limits_;
  size_t exclusive_limit_ = 0;
  std::array<int64_t, protocol::Codec::kGroups> group_refused_until_ns_{};
  std::shared_ptr<ClientCount> client_count_;
  std::shared_ptr<const net::TransportFactory> listen_transport_;
  std::shared_ptr<const net::TransportFactory> server_transport_;
  std::shared_ptr<metrics::PoolCells> cells_;
  std::unique_ptr<Observer> observer_;
  std::vector<std::unique_ptr<LocalServer>> servers_;  // by the snapshot's index
  std::vector<std::unique_ptr<LocalServer>> leaving_;  // servers no longer listed, draining
  ClientSession* clients_ = nullptr;
  uint32_t next_client_id_ = 0;
};

}  // namespace cashew::proxy

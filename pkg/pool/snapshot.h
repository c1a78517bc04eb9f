#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/base/secret.h"
#include "pkg/hash/hash.h"
#include "pkg/ring/ring.h"

// A server pool as data: its settings, its servers, and the ring over those that
// are live, frozen together. Whoever holds a Snapshot sees one consistent pool; a
// change is a new Snapshot.

namespace cashew::pool {

enum class EjectMode : uint8_t {
  kRehash,    // nutcracker's: the ring is rebuilt from live servers
  kKeepRing,  // keys never move; requests to a dead server fail at once
};

// What the data path needs to know of a pool's configuration.
struct Settings {
  std::string name;
  bool strict = false;  // nutcracker's bytes and hang-ups
  bool redis = false;
  hash::Kind hash = hash::Kind::kFnv1a_64;
  std::optional<std::array<char, 2>> hash_tag;
  ring::Distribution distribution = ring::Distribution::kKetama;
  int64_t timeout_ms = 0;  // of a request, from queueing to reply; 0: none
  bool auto_eject = false;
  EjectMode eject_mode = EjectMode::kRehash;
  int failure_limit = 2;
  int64_t retry_timeout_ms = 30'000;
  bool miss_on_error = false;  // a read of a failed server answers as a miss
  bool preconnect = false;
  bool tcp_keepalive = false;
  bool allow_flush = false;
  base::Secret redis_auth;  // what clients must say, and what servers are told
  std::string redis_user;   // of the servers; empty: their default user
  int redis_db = 0;
  bool cluster_commands = false;
  bool dangerous_commands = false;
  int exclusive_connections = 64;  // to each server, in use by one client; all workers together
  int server_connections = 1;      // to each server, all workers together
  int64_t client_connections = 0;  // 0: no limit of the pool's own
  int64_t client_max_inflight = 1024;
  int64_t client_max_buffer = int64_t{64} << 20;
  int64_t client_write_timeout_ms = 10'000;
  // What is noticed of its requests; 0 is off. See traffic.h.
  int64_t hot_keys_sample = 0;    // one key in so many is counted
  int64_t slow_log_ms = 0;        // a request that takes as long is kept
  int64_t access_log_sample = 0;  // one request in so many is a line of the log
};

struct Server {
  std::string name;  // identity, and place in the ring
  std::string host;
  uint16_t port = 0;
  std::string unix_path;  // set: host and port do not count
  std::string ip;         // numeric; empty until the host resolves
  uint32_t weight = 1;
  bool live = true;      // takes new requests
  bool ejected = false;  // not live because it failed: what is under way there fails too
};

class Snapshot {
 public:
  // `servers` in index order (ring::NameLess). Builds the ring: off the data path.
  // `version` counts the server list's changes, not those of health; 0: no list yet.
  Snapshot(std::shared_ptr<const Settings> settings, std::vector<Server> servers, uint64_t version);

  const Settings& settings() const { return *settings_; }
  const std::vector<Server>& servers() const { return servers_; }
  const ring::Ring& ring() const { return ring_; }
  uint64_t version() const { return version_; }
  hash::HashFunction hash() const { return hash_; }
  int live_servers() const { return live_; }
  // Names, weights, hash and distribution: equal on replicas that agree.
  uint32_t membership_checksum() const { return membership_checksum_; }

 private:
  const std::shared_ptr<const Settings> settings_;
  const std::vector<Server> servers_;
  const uint64_t version_;
  const hash::HashFunction hash_;
  const ring::Ring ring_;
  int live_ = 0;
  uint32_t membership_checksum_ = 0;
};

// The index of the server that a key belongs to, or -1 when there is none: hash
// tag, hash, ring. `random` is drawn by the caller when ring().needs_random().
int32_t Route(const Snapshot& snapshot, std::string_view key, uint32_t random);

// Something went wrong with a server, as one worker saw it.
enum class FailureKind : uint8_t {
  kConnect,   // refused, unreachable, or no answer to connect
  kLost,      // closed or reset with requests outstanding
  kSilent,    // no byte for the pool's timeout
  kProtocol,  // bytes that are no reply
};

struct Failure {
  FailureKind kind = FailureKind::kConnect;
  int64_t connect_began_ns = 0;  // of the connection that failed, base::Clock
};

// Counts failures and decides who is out. Called by workers when a connection
// fails (never per request); thread-safe.
class FailureSink {
 public:
  virtual ~FailureSink() = default;
  // True when the server is out, by this failure or an earlier one: a snapshot
  // without it is on its way to every worker.
  virtual bool OnFailure(const std::string& pool, const std::string& server,
                         const Failure& failure) = 0;
};

}  // namespace cashew::pool

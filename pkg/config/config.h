// A configuration file as plain, validated structs.
//
// This module is the only place that sees YAML. It reads what twemproxy (nutcracker 0.5.0)
// reads, with the same meaning and defaults, plus the keys Cashew adds. A file is
// either wholly good, or every fault in it is listed at once, each with its file,
// line, pool, key, the value found and what would be right:
//
//   LoadResult result = LoadFile("conf/nutcracker.yml");
//   if (!result.ok()) for (const Problem& p : result.errors) Print(p.ToString());
//
// Nothing here touches the network: host names are checked for form and resolved by
// whoever binds or connects. No exception leaves the module. Functions may be called
// from any thread. Durations are milliseconds and sizes are bytes, as the names say.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/base/secret.h"
#include "pkg/hash/hash.h"
#include "pkg/ring/ring.h"

namespace cashew::config {

// Where in the file something was written. Equality means the same settings, wherever they
// stand: a file whose lines only moved is equal to what it was.
struct Located {
  int line = 0;  // 1-based; 0: not from a file

  bool operator==(const Located&) const { return true; }
};

// Where to listen or connect: host and port, or a unix socket path.
struct Address : Located {
  std::string host;        // without brackets: "::1" for "[::1]:22121"; "*" as written
  uint16_t port = 0;       // 0 only for a unix path
  std::string unix_path;   // set: the other two are empty
  uint32_t unix_mode = 0;  // listen only; 0: not given, leave the mode to the umask
  std::string text;        // as written, without a server's weight and name

  bool is_unix() const { return !unix_path.empty(); }
  bool operator==(const Address&) const = default;
};

struct Server : Located {
  Address address;
  uint32_t weight = 1;  // 1 .. 2^31-1
  // Identity: the ketama label, the key in the stats JSON. Given, or else derived:
  // `host:port`, the host alone when the port is 11211, a unix path followed by ':'.
  std::string name;
  bool named = false;  // the name was given

  bool operator==(const Server&) const = default;
};

enum class Compat : uint8_t { kImproved, kStrict };
enum class Membership : uint8_t { kStatic, kGrpc };
enum class EjectMode : uint8_t { kRehash, kKeepRing };
enum class GetErrors : uint8_t { kError, kMiss };

// Active probing; a pool without one detects passively and probes only ejected servers.
struct HealthCheck {
  int64_t interval_ms = 2000;
  int64_t timeout_ms = 400;
  int rise = 2;  // answers in a row that re-admit a server
  int fall = 3;  // failures in a row that eject it

  bool operator==(const HealthCheck&) const = default;
};

struct TlsListen {
  std::string cert, key;  // files; both always set
  std::string client_ca;  // file; empty: clients need no certificate

  bool operator==(const TlsListen&) const = default;
};

struct TlsServers {
  std::string ca;           // file; empty: the system's store
  std::string cert, key;    // files; both or neither
  std::string server_name;  // expected in the certificate; empty: the server's host

  bool operator==(const TlsServers&) const = default;
};

struct GrpcTls {
  std::string cert, key, client_ca;       // files; all set
  std::vector<std::string> allowed_sans;  // subject alternative names let in; never empty
  std::vector<std::string> admin_sans;    // … that may also administer; none unless given

  bool operator==(const GrpcTls&) const = default;
};

struct Pool : Located {  // `line` is that of its name
  std::string name;

  // twemproxy's keys; defaults are nutcracker 0.5.0's.
  Address listen;
  hash::Kind hash = hash::Kind::kFnv1a_64;
  std::optional<std::array<char, 2>> hash_tag;
  ring::Distribution distribution = ring::Distribution::kKetama;
  int64_t timeout_ms = 0;  // 0: wait for ever
  int backlog = 512;
  int64_t client_connections = 0;  // most at one time; 0: no limit of the pool's own
  bool redis = false;
  bool tcpkeepalive = false;
  bool reuseport = false;
  bool preconnect = false;
  bool auto_eject_hosts = false;
  base::Secret redis_auth;  // empty: none
  int redis_db = 0;
  int server_connections = 1;  // to each server in total; at least 1
  int64_t server_retry_timeout_ms = 30000;
  int server_failure_limit = 2;  // at least 1: nutcracker's 0 acts like 1 and is stored as 1
  std::vector<Server> servers;   // sorted by name: shorter first, then bytewise

  // What Cashew adds.
  Compat compat = Compat::kImproved;
  Membership membership = Membership::kStatic;
  EjectMode eject_mode = EjectMode::kRehash;
  GetErrors get_errors = GetErrors::kError;
  int64_t hold_down_ms = 30000;
  std::optional<HealthCheck> health_check;
  std::optional<TlsListen> tls_listen;
  std::optional<TlsServers> tls_servers;
  std::string redis_user;  // of the servers, with redis_auth; empty: their default user
  bool cluster_commands = false;
  bool dangerous_commands = false;
  int exclusive_connections = 64;  // to each server in total
  bool allow_flush = false;
  bool allow_empty = false;
  int64_t client_max_inflight = 1024;             // requests
  int64_t client_max_buffer = int64_t{64} << 20;  // bytes
  int64_t client_write_timeout_ms = 10000;
  // What is noticed of its requests; 0: nothing.
  int64_t hot_keys_sample = 0;    // one key in so many
  int64_t slow_log_ms = 0;        // requests that take as long
  int64_t access_log_sample = 0;  // one request in so many

  bool operator==(const Pool&) const = default;
};

struct Global : Located {
  bool present = false;  // the file has a `global` section
  int workers = 0;       // 0: auto, the CPUs the cgroup grants
  // `host:port`, `unix:PATH` (grpc only) or `off`; checked for form. An address that was
  // configured must be had; a default one that cannot be had is only worth a warning.
  std::string admin = "127.0.0.1:9151";
  bool admin_configured = false;
  bool admin_public = false;  // /config and /status for clients on other machines, too
  std::string grpc;  // empty unless configured: the app picks a unix socket in its run directory
  bool grpc_configured = false;
  std::optional<GrpcTls> grpc_tls;
  std::string state_dir;  // empty unless configured: the app's default
  int64_t drain_timeout_ms = 30000;
  int64_t drain_grace_ms = 0;
  bool watch_config = false;                // reload when the file changes
  int64_t max_client_connections = 100000;  // 0: as many as the file limit allows
  int64_t max_buffer_memory = 0;            // bytes; 0: auto, half of what the cgroup grants
  int64_t slow_log_size = 128;              // slow requests that are kept

  bool operator==(const Global&) const = default;
};

struct Config {
  Global global;
  std::vector<Pool> pools;  // sorted by name: shorter first, then bytewise

  bool operator==(const Config&) const = default;
};

// One fault, or one warning, for a person to read.
struct Problem {
  std::string file;
  int line = 0;      // 1-based; 0: not tied to a line
  std::string pool;  // empty: not inside a pool
  std::string key;   // dotted for nested keys ("health_check.rise"); empty: the pool itself
  std::string text;  // what was found and what would be right

  // `nutcracker.yml:7: pool "alpha": server_failure_limit: "x" is not a number; give …`
  std::string ToString() const;
};

struct LoadResult {
  Config config;                  // complete only when ok()
  std::vector<Problem> errors;    // by line
  std::vector<Problem> warnings;  // by line

  bool ok() const { return errors.empty(); }
};

// Files over this size are refused unread.
inline constexpr size_t kMaxFileBytes = size_t{16} << 20;

// Reads and checks a file. An unreadable file is one error, without a line.
LoadResult LoadFile(const std::string& path);

// The same for text in memory; `file_name_for_messages` is what problems call it.
LoadResult LoadText(std::string_view yaml, const std::string& file_name_for_messages);

}  // namespace cashew::config

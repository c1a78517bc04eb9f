#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// The words in which a pool's servers are changed and shown, between whoever updates them
// (gRPC, a file, an operator) and the control thread that owns them. Plain data.

namespace cashew::pool {

enum class ServerState : uint8_t {
  kReady,     // takes requests
  kDown,      // takes none; keep_ring: requests to it fail at once
  kDraining,  // rehash: takes none; keep_ring: is still served
};

// "ready", "down", "draining".
const char* ServerStateName(ServerState state);

// A server as an updater lists it. Checked: the name is not empty, host and port are set,
// the weight is at least 1.
struct ServerSpec {
  std::string name;
  std::string host;  // a name or a numeric address, without brackets
  uint16_t port = 0;
  std::string unix_path;  // from files only, never from the network
  uint32_t weight = 1;
  std::string zone;
  ServerState state = ServerState::kReady;

  bool operator==(const ServerSpec&) const = default;
  // host:port, [v6]:port, or the path.
  std::string Address() const;
};

// What a person said of a server, above every list.
struct Override {
  std::optional<ServerState> state = std::nullopt;
  std::optional<uint32_t> weight = std::nullopt;
  int64_t expires_us = 0;  // wall clock; 0: until cleared

  bool operator==(const Override&) const = default;
};

struct ServerView {
  ServerSpec spec;  // as listed
  std::string ip;   // where connections go; empty: the name does not resolve
  bool healthy = true;
  bool routed = true;  // takes new requests
  bool held = false;   // left the list, keeps its place for hold_down
  std::optional<Override> override;

  bool operator==(const ServerView&) const = default;
};

// A pool at one moment. Immutable once shared.
struct PoolView {
  std::string name;
  bool redis = false;
  bool updatable = false;  // membership: grpc
  bool keep_ring = false;
  std::string hash;
  std::string distribution;
  uint64_t version = 0;  // 0: no list yet
  uint32_t membership_checksum = 0;
  uint32_t ring_checksum = 0;
  uint32_t live_servers = 0;
  std::vector<ServerView> servers;  // in index order
  std::string updater;              // of the stream that owns it; empty: none
  std::string source;               // "config", "state", "SetServers", "stream"
  std::string source_version;
  int64_t updated_us = 0;  // wall clock, of the last accepted list; 0: none yet
};

// What an accepted (or, in a dry run, acceptable) list changed.
struct Applied {
  uint64_t version = 0;
  std::vector<std::string> added;  // names
  std::vector<std::string> removed;
  std::vector<std::string> changed;
  uint32_t ring_checksum = 0;
  uint32_t membership_checksum = 0;
};

}  // namespace cashew::pool

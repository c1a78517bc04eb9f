// EndpointSlices → the servers of a pool. Pure functions.
//
//   name     the pod's (targetRef), else the hostname, else address:port. It is the server's
//            identity and place in the ring: a pod that comes back with another address
//            moves no key.
//   address  the endpoint's first address and the port that the pool asks for, by name or
//            number. Of a dual-stack pod the preferred family, the other where that is
//            missing.
//   state    from `serving` and `terminating`, never from `ready` alone, which is always true
//            with publishNotReadyAddresses: serving and not terminating is READY, serving and
//            terminating DRAINING, else DOWN. Unset serving is as ready, unset ready is true
//            (the API's own rules).
//   one pod  in several entries: one that is not terminating wins, then the uid seen last.
//   notes    where pods' annotations are followed: their name in the place of the pod's, so that
//   two
//            pods of one name are as one pod, and their weight. A value that is none is left out
//            with a warning.
//
// The servers come in natural order of their names (mc-2 before mc-10), so that every replica
// sends the same list whatever the order of the slices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/k8s/pod_annotations.h"
#include "pkg/k8s/slice_store.h"

namespace cashew::k8s {

enum class ServerState : uint8_t { kReady, kDraining, kDown };
enum class IpFamily : uint8_t { kIpv4, kIpv6 };

struct MappedServer {
  std::string name;
  std::string address;  // host:port or [v6]:port
  std::string zone;
  ServerState state = ServerState::kReady;
  uint32_t weight = 1;

  friend bool operator==(const MappedServer&, const MappedServer&) = default;
};

// What the mapper needs to know of a pool.
struct MapOptions {
  std::string port;  // name or number; empty: the only TCP port there is
  IpFamily prefer = IpFamily::kIpv4;
};

struct MapResult {
  std::vector<MappedServer> servers;
  // Entries of the slices, usable or not. Servers empty and this above 0 is a mistake of
  // somebody's (a port's name), not a Service without pods.
  size_t endpoints = 0;
  std::vector<std::string> warnings;  // what was left out and why, each once
};

// `pods` null: annotations are not followed.
MapResult MapSlices(const SliceSnapshot& snapshot, const MapOptions& options,
                    const PodNotes* pods = nullptr);

ServerState StateOf(const Conditions& conditions);

// "READY", "DRAINING", "DOWN".
const char* StateName(ServerState state);

// Whether `a` comes before `b` with runs of digits compared as numbers.
bool NaturalLess(std::string_view a, std::string_view b);

}  // namespace cashew::k8s

// EndpointSlices as the API server sends them (discovery.k8s.io/v1), read from JSON.
//
// Nothing of a body is trusted (api_json.h). Null endpoints are none. A list or an event is taken
// whole or refused whole: half a list would look like servers that left.
//
// Pure functions; any thread.
#pragma once

#include <absl/status/statusor.h>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/k8s/api_objects.h"

namespace cashew::k8s {

enum class AddressType : uint8_t { kIpv4, kIpv6, kFqdn, kOther };

struct EndpointPort {
  std::string name;              // empty: the Service's only port has no name
  std::optional<uint16_t> port;  // unset: all ports, which no cache server means
  bool tcp = true;
};

// The three conditions as sent; the nil rules are the mapper's.
struct Conditions {
  std::optional<bool> ready;
  std::optional<bool> serving;
  std::optional<bool> terminating;
};

struct Endpoint {
  std::vector<std::string> addresses;  // of one endpoint, all alike: the first is used
  Conditions conditions;
  std::string hostname;
  std::string pod;  // targetRef.name when it is a Pod
  std::string uid;  // targetRef.uid
  std::string zone;
  uint64_t seen = 0;  // when SliceStore first saw the uid; larger is later
};

struct EndpointSlice {
  std::string name;
  std::string resource_version;
  AddressType address_type = AddressType::kOther;
  std::vector<EndpointPort> ports;
  std::vector<Endpoint> endpoints;
  uint64_t received = 0;  // when SliceStore took it; larger is later
};

using SliceList = ObjectList<EndpointSlice>;
using SliceEvent = WatchEvent<EndpointSlice>;

absl::StatusOr<SliceList> ParseSliceList(std::string_view json);

// One line of a watch.
absl::StatusOr<SliceEvent> ParseSliceEvent(std::string_view json);

}  // namespace cashew::k8s

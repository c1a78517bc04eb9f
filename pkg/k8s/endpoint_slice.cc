#include "pkg/k8s/endpoint_slice.h"

#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"
#include "pkg/k8s/api_json.h"

namespace cashew::k8s {

namespace {

using api::Array;
using api::Fail;
using api::Find;
using api::Flag;
using api::Json;
using api::Object;
using api::Text;

std::optional<uint16_t> PortNumber(const Json& port, std::string_view path) {
  const Json* value = Find(port, "port", path);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer() || *value < 1 || *value > 65535) {
    Fail(fmt::format("{}.port", path), base::Escape(value->dump(), 40), "a port");
  }
  return value->get<uint16_t>();
}

EndpointPort ReadPort(const Json& port, std::string_view path) {
  const std::string protocol = Text(port, "protocol", path);
  return {.name = Text(port, "name", path),
          .port = PortNumber(port, path),
          .tcp = protocol.empty() || protocol == "TCP"};
}

Endpoint ReadEndpoint(const Json& json, const std::string& path) {
  Endpoint endpoint;
  for (const Json& address : Array(json, "addresses", path)) {
    if (!address.is_string()) Fail(path + ".addresses", address.type_name(), "strings");
    endpoint.addresses.push_back(address);
  }
  if (const Json* conditions = Object(json, "conditions", path)) {
    endpoint.conditions = {.ready = Flag(*conditions, "ready", path),
                           .serving = Flag(*conditions, "serving", path),
                           .terminating = Flag(*conditions, "terminating", path)};
  }
  endpoint.hostname = Text(json, "hostname", path);
  endpoint.zone = Text(json, "zone", path);
  if (const Json* target = Object(json, "targetRef", path)) {
    endpoint.uid = Text(*target, "uid", path);
    if (Text(*target, "kind", path) == "Pod") endpoint.pod = Text(*target, "name", path);
  }
  return endpoint;
}

AddressType ReadAddressType(std::string_view text) {
  if (text == "IPv4") return AddressType::kIpv4;
  if (text == "IPv6") return AddressType::kIpv6;
  if (text == "FQDN") return AddressType::kFqdn;
  return AddressType::kOther;
}

EndpointSlice ReadSlice(const Json& json, const std::string& path) {
  EndpointSlice slice;
  if (const Json* metadata = Object(json, "metadata", path)) {
    slice.name = Text(*metadata, "name", path + ".metadata");
    slice.resource_version = Text(*metadata, "resourceVersion", path + ".metadata");
  }
  if (slice.name.empty()) throw api::Malformed{path + ".metadata.name is missing"};
  slice.address_type = ReadAddressType(Text(json, "addressType", path));
  size_t i = 0;
  for (const Json& port : Array(json, "ports", path)) {
    slice.ports.push_back(ReadPort(port, fmt::format("{}.ports[{}]", path, i++)));
  }
  i = 0;
  for (const Json& endpoint : Array(json, "endpoints", path)) {
    slice.endpoints.push_back(ReadEndpoint(endpoint, fmt::format("{}.endpoints[{}]", path, i++)));
  }
  return slice;
}

}  // namespace

absl::StatusOr<SliceList> ParseSliceList(std::string_view json) {
  return api::Guarded(json, "EndpointSliceList", [](const Json& list) {
    return api::ReadList<EndpointSlice>(list, "EndpointSliceList", &ReadSlice);
  });
}

absl::StatusOr<SliceEvent> ParseSliceEvent(std::string_view json) {
  return api::Guarded(json, "watch event", [](const Json& event) {
    return api::ReadEvent<EndpointSlice>(event, &ReadSlice);
  });
}

}  // namespace cashew::k8s

#include "pkg/k8s/endpoint_slice.h"

#include <cstddef>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

using Json = nlohmann::json;

// An EndpointSlice is seven levels deep, inside a list eight.
constexpr int kMaxDepth = 32;
constexpr size_t kShownBytes = 300;

// Thrown and caught in this file only.
struct Malformed {
  std::string text;
};

[[noreturn]] void Fail(std::string_view path, std::string_view found, std::string_view wanted) {
  throw Malformed{fmt::format("{} is {}, not {}", path, found, wanted)};
}

// Who wrote each field, a third of an object's bytes, is dropped as it is read.
Json Parse(std::string_view text) {
  const auto keep = [](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) throw Malformed{fmt::format("nested deeper than {} levels", kMaxDepth)};
    return event != Json::parse_event_t::key || parsed != "managedFields";
  };
  try {
    return Json::parse(text.begin(), text.end(), keep);
  } catch (const Json::exception& e) {
    throw Malformed{base::Escape(e.what(), kShownBytes)};
  }
}

// The member, or nullptr when it is absent or null.
const Json* Find(const Json& object, const char* key, std::string_view path) {
  if (!object.is_object()) Fail(path, object.type_name(), "an object");
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::string Text(const Json& object, const char* key, std::string_view path) {
  const Json* value = Find(object, key, path);
  if (value == nullptr) return "";
  if (!value->is_string()) {
    Fail(fmt::format("{}.{}", path, key), value->type_name(), "a string");
  }
  return value->get_ref<const std::string&>();
}

std::optional<bool> Flag(const Json& object, const char* key, std::string_view path) {
  const Json* value = Find(object, key, path);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) {
    Fail(fmt::format("{}.{}", path, key), value->type_name(), "true or false");
  }
  return value->get<bool>();
}

const Json* Object(const Json& object, const char* key, std::string_view path) {
  const Json* value = Find(object, key, path);
  if (value != nullptr && !value->is_object()) {
    Fail(fmt::format("{}.{}", path, key), value->type_name(), "an object");
  }
  return value;
}

const Json& Array(const Json& object, const char* key, std::string_view path) {
  static const Json kNone = Json::array();
  const Json* value = Find(object, key, path);
  if (value == nullptr) return kNone;
  if (!value->is_array()) {
    Fail(fmt::format("{}.{}", path, key), value->type_name(), "an array");
  }
  return *value;
}

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
  if (slice.name.empty()) throw Malformed{path + ".metadata.name is missing"};
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

SliceList ReadList(const Json& json) {
  const std::string kind = Text(json, "kind", "the body");
  if (kind != "EndpointSliceList") {
    Fail("kind", fmt::format("\"{}\"", base::Escape(kind, 64)), "\"EndpointSliceList\"");
  }
  SliceList list;
  if (const Json* metadata = Object(json, "metadata", "list")) {
    list.resource_version = Text(*metadata, "resourceVersion", "metadata");
    list.continue_token = Text(*metadata, "continue", "metadata");
  }
  // Without a version there is nothing to watch from.
  if (list.resource_version.empty()) throw Malformed{"metadata.resourceVersion is missing"};
  size_t i = 0;
  for (const Json& item : Array(json, "items", "list")) {
    list.slices.push_back(ReadSlice(item, fmt::format("items[{}]", i++)));
  }
  return list;
}

ApiStatus ReadStatus(const Json& json) {
  ApiStatus status;
  status.reason = base::Escape(Text(json, "reason", "status"), 64);
  status.message = base::Escape(Text(json, "message", "status"), kShownBytes);
  const Json* code = Find(json, "code", "status");
  if (code != nullptr && code->is_number_integer() && *code >= 0 && *code < 1000) {
    status.code = code->get<int>();
  }
  return status;
}

WatchEvent::Type ReadEventType(const std::string& type) {
  static constexpr std::pair<std::string_view, WatchEvent::Type> kTypes[] = {
      {"ADDED", WatchEvent::Type::kAdded},     {"MODIFIED", WatchEvent::Type::kModified},
      {"DELETED", WatchEvent::Type::kDeleted}, {"BOOKMARK", WatchEvent::Type::kBookmark},
      {"ERROR", WatchEvent::Type::kError},
  };
  for (const auto& [name, value] : kTypes) {
    if (type == name) return value;
  }
  throw Malformed{fmt::format("unknown event type \"{}\"", base::Escape(type, 64))};
}

WatchEvent ReadEvent(const Json& json) {
  WatchEvent event;
  event.type = ReadEventType(Text(json, "type", "the event"));
  const Json* object = Object(json, "object", "the event");
  if (object == nullptr) throw Malformed{"the event has no object"};
  if (event.type == WatchEvent::Type::kError) {
    event.status = ReadStatus(*object);
    return event;
  }
  if (event.type == WatchEvent::Type::kBookmark) {
    if (const Json* metadata = Object(*object, "metadata", "object")) {
      event.slice.resource_version = Text(*metadata, "resourceVersion", "metadata");
    }
  } else {
    event.slice = ReadSlice(*object, "object");
  }
  if (event.slice.resource_version.empty()) {
    throw Malformed{"object.metadata.resourceVersion is missing"};
  }
  return event;
}

template <typename T>
absl::StatusOr<T> Guarded(std::string_view text, const char* what, T (*read)(const Json&)) {
  try {
    return read(Parse(text));
  } catch (const Malformed& malformed) {
    return absl::InvalidArgumentError(fmt::format("malformed {}: {}", what, malformed.text));
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(
        fmt::format("malformed {}: {}", what, base::Escape(e.what(), kShownBytes)));
  }
}

}  // namespace

absl::StatusOr<SliceList> ParseSliceList(std::string_view json) {
  return Guarded<SliceList>(json, "EndpointSliceList", &ReadList);
}

absl::StatusOr<WatchEvent> ParseWatchEvent(std::string_view json) {
  return Guarded<WatchEvent>(json, "watch event", &ReadEvent);
}

ApiStatus ParseApiStatus(int http_code, std::string_view body) {
  auto status = Guarded<ApiStatus>(body, "Status", &ReadStatus);
  if (!status.ok())
    return {.code = http_code, .reason = "", .message = base::Escape(body, kShownBytes)};
  status->code = http_code;
  return *std::move(status);
}

}  // namespace cashew::k8s

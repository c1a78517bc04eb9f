// Reading the API server's JSON: what all kinds of objects have in common.
//
// Nothing of a body is trusted. A missing field or a null is what the API documents for it; a
// field of another type is an error that names its path. A list or an event is taken whole or
// refused whole.
//
// Pure functions; any thread. Malformed does not leave this library's files: Guarded() makes it a
// status.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <cstdint>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pkg/base/log.h"
#include "pkg/k8s/api_objects.h"

namespace cashew::k8s::api {

inline constexpr size_t kShownBytes = 300;  // of what is not understood

using Json = nlohmann::json;

// Thrown by everything below but Guarded().
struct Malformed {
  std::string text;
};

// "PATH is FOUND, not WANTED".
[[noreturn]] void Fail(std::string_view path, std::string_view found, std::string_view wanted);

// A body, without metadata.managedFields.
Json Parse(std::string_view text);

// The member, or nullptr when it is absent or null.
const Json* Find(const Json& object, const char* key, std::string_view path);
const Json* Object(const Json& object, const char* key, std::string_view path);
// Absent or null: empty.
std::string Text(const Json& object, const char* key, std::string_view path);
const Json& Array(const Json& object, const char* key, std::string_view path);
std::optional<bool> Flag(const Json& object, const char* key, std::string_view path);

// The beginning of a list of that kind.
struct ListHead {
  std::string resource_version;
  std::string continue_token;
};
ListHead ReadListHead(const Json& json, std::string_view kind);

EventType ReadEventType(const Json& json);
ApiStatus ReadStatus(const Json& json);
std::string ReadBookmark(const Json& object);  // its resource version

// Of `read(object, path)`, which makes a T with a resource_version out of an object.
template <typename T>
using Reader = T (*)(const Json& object, const std::string& path);

template <typename T>
ObjectList<T> ReadList(const Json& json, std::string_view kind, Reader<T> read) {
  ListHead head = ReadListHead(json, kind);
  ObjectList<T> list{.items = {},
                     .resource_version = std::move(head.resource_version),
                     .continue_token = std::move(head.continue_token)};
  size_t i = 0;
  for (const Json& item : Array(json, "items", "list")) {
    list.items.push_back(read(item, fmt::format("items[{}]", i++)));
  }
  return list;
}

template <typename T>
WatchEvent<T> ReadEvent(const Json& json, Reader<T> read) {
  WatchEvent<T> event;
  event.type = ReadEventType(json);
  const Json* object = Object(json, "object", "the event");
  if (object == nullptr) throw Malformed{"the event has no object"};
  if (event.type == EventType::kError) {
    event.status = ReadStatus(*object);
    return event;
  }
  if (event.type == EventType::kBookmark) {
    event.object.resource_version = ReadBookmark(*object);
  } else {
    event.object = read(*object, "object");
  }
  if (event.object.resource_version.empty()) {
    throw Malformed{"object.metadata.resourceVersion is missing"};
  }
  return event;
}

// What `read` makes of the text, or INVALID_ARGUMENT "malformed WHAT: …".
template <typename Read>
auto Guarded(std::string_view text, std::string_view what, Read read)
    -> absl::StatusOr<decltype(read(Json()))> {
  try {
    return read(Parse(text));
  } catch (const Malformed& malformed) {
    return absl::InvalidArgumentError(fmt::format("malformed {}: {}", what, malformed.text));
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(
        fmt::format("malformed {}: {}", what, base::Escape(e.what(), kShownBytes)));
  }
}

}  // namespace cashew::k8s::api

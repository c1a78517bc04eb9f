// What lists and watches of any kind of object are made of, once read (api_json.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cashew::k8s {

// What an API server says when it refuses (kind: Status).
struct ApiStatus {
  int code = 0;
  std::string reason;   // "Expired", "Forbidden", …
  std::string message;  // bounded and escaped, for a log line
};

// The body of a refused request. Anything that is no Status gives an empty reason and the
// beginning of the body as message.
ApiStatus ParseApiStatus(int http_code, std::string_view body);

// One page of a list.
template <typename T>
struct ObjectList {
  std::vector<T> items;
  std::string resource_version;
  std::string continue_token;  // empty: the last page
};

enum class EventType : uint8_t { kAdded, kModified, kDeleted, kBookmark, kError };

template <typename T>
struct WatchEvent {
  EventType type = EventType::kError;
  T object;          // kBookmark: resource_version alone
  ApiStatus status;  // kError
};

}  // namespace cashew::k8s

#include "pkg/k8s/api_json.h"

namespace cashew::k8s {

namespace api {

namespace {

// An EndpointSlice is seven levels deep, inside a list eight; a pod's metadata less.
constexpr int kMaxDepth = 32;

}  // namespace

void Fail(std::string_view path, std::string_view found, std::string_view wanted) {
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

ListHead ReadListHead(const Json& json, std::string_view kind) {
  const std::string found = Text(json, "kind", "the body");
  if (found != kind) {
    Fail("kind", fmt::format("\"{}\"", base::Escape(found, 64)), fmt::format("\"{}\"", kind));
  }
  ListHead head;
  if (const Json* metadata = Object(json, "metadata", "list")) {
    head.resource_version = Text(*metadata, "resourceVersion", "metadata");
    head.continue_token = Text(*metadata, "continue", "metadata");
  }
  // Without a version there is nothing to watch from.
  if (head.resource_version.empty()) throw Malformed{"metadata.resourceVersion is missing"};
  return head;
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

EventType ReadEventType(const Json& json) {
  const std::string type = Text(json, "type", "the event");
  static constexpr std::pair<std::string_view, EventType> kTypes[] = {
      {"ADDED", EventType::kAdded},     {"MODIFIED", EventType::kModified},
      {"DELETED", EventType::kDeleted}, {"BOOKMARK", EventType::kBookmark},
      {"ERROR", EventType::kError},
  };
  for (const auto& [name, value] : kTypes) {
    if (type == name) return value;
  }
  throw Malformed{fmt::format("unknown event type \"{}\"", base::Escape(type, 64))};
}

std::string ReadBookmark(const Json& object) {
  const Json* metadata = Object(object, "metadata", "object");
  return metadata == nullptr ? "" : Text(*metadata, "resourceVersion", "metadata");
}

}  // namespace api

ApiStatus ParseApiStatus(int http_code, std::string_view body) {
  auto status = api::Guarded(body, "Status", &api::ReadStatus);
  if (!status.ok()) {
    return {.code = http_code, .reason = "", .message = base::Escape(body, api::kShownBytes)};
  }
  status->code = http_code;
  return *std::move(status);
}

}  // namespace cashew::k8s

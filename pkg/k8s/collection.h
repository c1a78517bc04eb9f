// What a reflector fills: the objects of one kind, read from the API server's JSON.
//
// Not thread-safe: the reflector's thread calls all of it.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pkg/k8s/api_objects.h"

namespace cashew::k8s {

class Collection {
 public:
  struct Page {
    std::string resource_version;
    std::string continue_token;  // empty: the last page
  };
  struct Event {
    EventType type = EventType::kError;
    std::string resource_version;
    ApiStatus status;      // kError
    bool changed = false;  // what is known is different now
  };

  virtual ~Collection() = default;

  // A list: its pages are put aside, and taken as all there is by EndList(), whole or, on an
  // error, not at all.
  virtual void BeginList() = 0;
  virtual absl::StatusOr<Page> TakePage(std::string_view json) = 0;
  virtual absl::Status EndList() = 0;

  // One line of a watch. INVALID_ARGUMENT: cannot be read; RESOURCE_EXHAUSTED: too much.
  virtual absl::StatusOr<Event> TakeEvent(std::string_view json) = 0;

  // How many there are, for people.
  virtual size_t size() const = 0;
};

// `Store` keeps objects of type T, which have a name and a resource_version:
//   absl::Status Replace(std::vector<T>)      all there are; on an error nothing changed
//   absl::StatusOr<bool> Apply(T)             adds or replaces one; whether that changed anything
//   bool Remove(const std::string& name)
//   size_t size() const
template <typename T, typename Store>
class CollectionOf final : public Collection {
 public:
  using ParseList = absl::StatusOr<ObjectList<T>> (*)(std::string_view json);
  using ParseEvent = absl::StatusOr<WatchEvent<T>> (*)(std::string_view json);

  // `store` outlives this.
  CollectionOf(Store& store, ParseList parse_list, ParseEvent parse_event)
      : store_(store), parse_list_(parse_list), parse_event_(parse_event) {}

  void BeginList() override { pages_.clear(); }

  absl::StatusOr<Page> TakePage(std::string_view json) override {
    auto list = parse_list_(json);
    if (!list.ok()) return list.status();
    std::move(list->items.begin(), list->items.end(), std::back_inserter(pages_));
    return Page{std::move(list->resource_version), std::move(list->continue_token)};
  }

  absl::Status EndList() override { return store_.Replace(std::exchange(pages_, {})); }

  absl::StatusOr<Event> TakeEvent(std::string_view json) override {
    auto parsed = parse_event_(json);
    if (!parsed.ok()) return parsed.status();
    Event event{.type = parsed->type,
                .resource_version = parsed->object.resource_version,
                .status = std::move(parsed->status)};
    switch (event.type) {
      case EventType::kAdded:
      case EventType::kModified: {
        auto changed = store_.Apply(std::move(parsed->object));
        if (!changed.ok()) return changed.status();
        event.changed = *changed;
        break;
      }
      case EventType::kDeleted:
        event.changed = store_.Remove(parsed->object.name);
        break;
      case EventType::kBookmark:
      case EventType::kError:
        break;
    }
    return event;
  }

  size_t size() const override { return store_.size(); }

 private:
  Store& store_;
  const ParseList parse_list_;
  const ParseEvent parse_event_;
  std::vector<T> pages_;
};

}  // namespace cashew::k8s

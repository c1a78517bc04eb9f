#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace cashew::app {

// Who owns which pool's list: the open update streams, by updater. A pool has one owner; a
// second stream of the same updater is that updater come back, and replaces the first.
// Control thread only.
class Streams {
 public:
  // `end` is called when this side ends the stream.
  void Open(uint64_t id, std::function<void(absl::Status)> end);
  // Forgets it; its pools belong to nobody then. Unknown ids are ignored.
  void Close(uint64_t id);

  // `updater` speaks for `pool` on the stream. ALREADY_EXISTS: another updater's stream owns
  // it. ABORTED: the stream was replaced, or is not known. INVALID_ARGUMENT: the stream spoke
  // under another name before.
  absl::Status Claim(uint64_t id, const std::string& updater, const std::string& pool);

  // Of the stream that owns the pool; empty: nobody does.
  std::string UpdaterOf(const std::string& pool) const;
  // The pool takes no lists any more: the stream that owns it, if one does, ends with `why`, so
  // that its updater learns of it.
  void EndOwner(const std::string& pool, const absl::Status& why);
  size_t size() const { return streams_.size(); }

 private:
  void End(uint64_t id, const absl::Status& why);

  struct Stream {
    std::string updater;  // empty: has not said
    std::function<void(absl::Status)> end;
  };

  std::map<uint64_t, Stream> streams_;
  std::map<std::string, uint64_t> owners_;  // pool → stream
};

}  // namespace cashew::app

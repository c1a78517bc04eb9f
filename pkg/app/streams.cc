#include "pkg/app/streams.h"

#include <utility>

#include "fmt/format.h"

namespace cashew::app {

void Streams::Open(uint64_t id, std::function<void(absl::Status)> end) {
  streams_[id].end = std::move(end);
}

void Streams::Close(uint64_t id) {
  streams_.erase(id);
  std::erase_if(owners_, [id](const auto& owned) { return owned.second == id; });
}

absl::Status Streams::Claim(uint64_t id, const std::string& updater, const std::string& pool) {
  const auto stream = streams_.find(id);
  if (stream == streams_.end()) {
    return absl::AbortedError(fmt::format("another stream of updater \"{}\" took over", updater));
  }
  if (updater.empty()) {
    return absl::InvalidArgumentError("updater: must name who sends the list");
  }
  if (!stream->second.updater.empty() && stream->second.updater != updater) {
    return absl::InvalidArgumentError(fmt::format("updater: the stream began as \"{}\", not \"{}\"",
                                                  stream->second.updater, updater));
  }
  const auto owner = owners_.find(pool);
  if (owner != owners_.end() && owner->second != id &&
      streams_.at(owner->second).updater != updater) {
    return absl::AlreadyExistsError(fmt::format("pool \"{}\" is owned by the stream of \"{}\"",
                                                pool, streams_.at(owner->second).updater));
  }
  if (stream->second.updater.empty()) {
    stream->second.updater = updater;
    std::vector<uint64_t> replaced;
    for (const auto& [other, state] : streams_) {
      if (other != id && state.updater == updater) replaced.push_back(other);
    }
    for (const uint64_t other : replaced) {
      End(other,
          absl::AbortedError(fmt::format("another stream of updater \"{}\" took over", updater)));
    }
  }
  owners_[pool] = id;
  return absl::OkStatus();
}

std::string Streams::UpdaterOf(const std::string& pool) const {
  const auto owner = owners_.find(pool);
  return owner == owners_.end() ? "" : streams_.at(owner->second).updater;
}

void Streams::EndOwner(const std::string& pool, const absl::Status& why) {
  const auto owner = owners_.find(pool);
  if (owner != owners_.end()) End(owner->second, why);
}

void Streams::End(uint64_t id, const absl::Status& why) {
  const auto end = std::move(streams_.at(id).end);
  Close(id);
  end(why);
}

}  // namespace cashew::app

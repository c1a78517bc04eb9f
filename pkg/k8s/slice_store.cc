#include "pkg/k8s/slice_store.h"

#include <utility>

#include "fmt/format.h"

namespace cashew::k8s {

namespace {

absl::Status CheckSize(size_t slices, size_t endpoints) {
  if (slices <= SliceStore::kMaxSlices && endpoints <= SliceStore::kMaxEndpoints) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      fmt::format("{} slices with {} endpoints; at most {} and {} are taken", slices, endpoints,
                  SliceStore::kMaxSlices, SliceStore::kMaxEndpoints));
}

}  // namespace

absl::Status SliceStore::Replace(std::vector<EndpointSlice> slices) {
  size_t endpoints = 0;
  for (const EndpointSlice& slice : slices) endpoints += slice.endpoints.size();
  if (absl::Status status = CheckSize(slices.size(), endpoints); !status.ok()) return status;
  Slices next;
  for (EndpointSlice& slice : slices) {
    Stamp(slice);
    std::string name = slice.name;
    next[std::move(name)] = std::make_shared<const EndpointSlice>(std::move(slice));
  }
  slices_ = std::move(next);
  endpoint_count_ = 0;  // counted again: a page may repeat a slice
  for (const auto& [name, slice] : slices_) endpoint_count_ += slice->endpoints.size();
  ForgetOldUids();
  return absl::OkStatus();
}

absl::StatusOr<bool> SliceStore::Apply(EndpointSlice slice) {
  const auto old = slices_.find(slice.name);
  const size_t replaced = old == slices_.end() ? 0 : old->second->endpoints.size();
  const size_t endpoints = endpoint_count_ - replaced + slice.endpoints.size();
  const size_t slices = slices_.size() + (old == slices_.end() ? 1 : 0);
  if (absl::Status status = CheckSize(slices, endpoints); !status.ok()) return status;
  Stamp(slice);
  endpoint_count_ = endpoints;
  std::string name = slice.name;
  slices_[std::move(name)] = std::make_shared<const EndpointSlice>(std::move(slice));
  if (first_seen_.size() > 2 * endpoint_count_ + 64) ForgetOldUids();
  return true;
}

bool SliceStore::Remove(const std::string& name) {
  const auto it = slices_.find(name);
  if (it == slices_.end()) return false;
  endpoint_count_ -= it->second->endpoints.size();
  slices_.erase(it);
  return true;
}

SliceSnapshot SliceStore::Snapshot(std::string resource_version) const {
  SliceSnapshot snapshot{.slices = {}, .resource_version = std::move(resource_version)};
  snapshot.slices.reserve(slices_.size());
  for (const auto& [name, slice] : slices_) snapshot.slices.push_back(slice);
  return snapshot;
}

void SliceStore::Stamp(EndpointSlice& slice) {
  slice.received = ++arrivals_;
  for (Endpoint& endpoint : slice.endpoints) {
    if (endpoint.uid.empty()) continue;
    endpoint.seen = first_seen_.try_emplace(endpoint.uid, slice.received).first->second;
  }
}

// A pod that has left every slice and comes back is a pod that comes now.
void SliceStore::ForgetOldUids() {
  absl::flat_hash_map<std::string, uint64_t> kept;
  for (const auto& [name, slice] : slices_) {
    for (const Endpoint& endpoint : slice->endpoints) {
      if (!endpoint.uid.empty()) kept.try_emplace(endpoint.uid, endpoint.seen);
    }
  }
  first_seen_ = std::move(kept);
}

}  // namespace cashew::k8s

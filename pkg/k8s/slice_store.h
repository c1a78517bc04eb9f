// The EndpointSlices of one Service as they are now: what a list replaced and watch events
// changed. Counts arrivals, so that of two entries of one pod the later can be told.
//
// One thread at a time. Snapshots are immutable and may go anywhere.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pkg/k8s/endpoint_slice.h"

namespace cashew::k8s {

// All slices at one moment, ordered by name.
struct SliceSnapshot {
  std::vector<std::shared_ptr<const EndpointSlice>> slices;
  std::string resource_version;
};

class SliceStore {
 public:
  // What is beyond is no cache Service: a proxy takes 4,096 servers.
  static constexpr size_t kMaxSlices = 10'000;
  static constexpr size_t kMaxEndpoints = 200'000;

  // Takes `slices` as all there are. On an error nothing changed.
  absl::Status Replace(std::vector<EndpointSlice> slices);
  // Adds or replaces one. On an error nothing changed. Every event of a slice is a change.
  absl::StatusOr<bool> Apply(EndpointSlice slice);
  bool Remove(const std::string& name);

  SliceSnapshot Snapshot(std::string resource_version) const;
  size_t size() const { return endpoint_count_; }  // endpoints, usable or not

 private:
  using Slices = std::map<std::string, std::shared_ptr<const EndpointSlice>>;

  void Stamp(EndpointSlice& slice);
  void ForgetOldUids();

  Slices slices_;
  size_t endpoint_count_ = 0;
  uint64_t arrivals_ = 0;
  absl::flat_hash_map<std::string, uint64_t> first_seen_;  // by uid
};

}  // namespace cashew::k8s

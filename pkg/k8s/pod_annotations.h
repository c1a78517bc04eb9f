// What pods' annotations say of them as servers. Of a pod only its metadata is asked for.
//
//   cashew/weight: "3"       1 to 1,000; a server's share of the keys, beside those of the others
//   cashew/name: "cache-a"   its name in the ring, in the place of the pod's own
//
// Taken as text here; mapper.h says what becomes of values that are none.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/base/clock.h"
#include "pkg/k8s/api_objects.h"

namespace cashew::k8s {

inline constexpr char kWeightAnnotation[] = "cashew/weight";
inline constexpr char kNameAnnotation[] = "cashew/name";

struct PodNote {
  std::string name;  // the pod's
  std::string resource_version = {};
  std::string weight = {};       // as annotated; empty: not
  std::string server_name = {};  // as annotated; empty: not

  bool empty() const { return weight.empty() && server_name.empty(); }
};

using PodNotes = std::map<std::string, PodNote, std::less<>>;  // by the pod's name

absl::StatusOr<ObjectList<PodNote>> ParsePodList(std::string_view json);

// One line of a watch.
absl::StatusOr<WatchEvent<PodNote>> ParsePodEvent(std::string_view json);

// The annotated pods of a namespace. A pod that is gone is kept for a minute: its endpoint may go
// later than it does, and must not become another server meanwhile.
//
// One thread at a time. Snapshots are immutable and may go anywhere.
class PodStore {
 public:
  static constexpr size_t kMaxNotes = 200'000;
  static constexpr int64_t kKeptGoneMs = 60'000;

  // `clock` outlives this.
  explicit PodStore(const base::Clock& clock) : clock_(clock) {}

  // Takes `pods` as all there are. On an error nothing changed.
  absl::Status Replace(std::vector<PodNote> pods);
  // Adds or replaces one. Both say whether any pod's annotations are different now: pods that are
  // gone are forgotten meanwhile.
  absl::StatusOr<bool> Apply(PodNote pod);
  bool Remove(const std::string& name);

  size_t size() const { return notes_.size(); }
  std::shared_ptr<const PodNotes> Snapshot() const;

 private:
  bool ForgetGone();

  const base::Clock& clock_;
  PodNotes notes_;
  std::map<std::string, int64_t> gone_ns_;  // when; of those in notes_ that are
};

}  // namespace cashew::k8s

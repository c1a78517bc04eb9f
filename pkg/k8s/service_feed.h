// The slices of one Service and, where they are followed, its pods' annotations, put together:
// a new state for each pool of that Service whenever either changed. Nothing is offered before
// both are known, since a list without its weights and names would move keys. Later each is as it
// was last heard of: a pod that came while the pods' watch was away has no annotations until that
// is back.
//
// Any thread.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pkg/base/mutex.h"
#include "pkg/k8s/feeder.h"
#include "pkg/k8s/mapper.h"
#include "pkg/k8s/pod_annotations.h"
#include "pkg/k8s/slice_store.h"

namespace cashew::k8s {

class ServiceFeed {
 public:
  struct Follower {
    std::string pool;
    MapOptions options;
  };

  // `feeder` outlives this.
  ServiceFeed(Feeder& feeder, std::vector<Follower> followers, bool with_pods)
      : feeder_(feeder), followers_(std::move(followers)), with_pods_(with_pods) {}

  void OnSlices(SliceSnapshot slices);
  void OnPods(std::shared_ptr<const PodNotes> pods);

 private:
  void Offer() CASHEW_REQUIRES(mu_);

  Feeder& feeder_;
  const std::vector<Follower> followers_;
  const bool with_pods_;
  base::Mutex mu_;
  std::shared_ptr<const SliceSnapshot> slices_ CASHEW_GUARDED_BY(mu_);  // null: not known yet
  std::shared_ptr<const PodNotes> pods_ CASHEW_GUARDED_BY(mu_);         // likewise
};

}  // namespace cashew::k8s

#include "pkg/k8s/service_feed.h"

#include <utility>

namespace cashew::k8s {

void ServiceFeed::OnSlices(SliceSnapshot slices) {
  base::MutexLock lock(&mu_);
  slices_ = std::make_shared<const SliceSnapshot>(std::move(slices));
  Offer();
}

void ServiceFeed::OnPods(std::shared_ptr<const PodNotes> pods) {
  base::MutexLock lock(&mu_);
  pods_ = std::move(pods);
  Offer();
}

void ServiceFeed::Offer() {
  if (slices_ == nullptr || (with_pods_ && pods_ == nullptr)) return;
  for (const Follower& follower : followers_) {
    feeder_.Offer(follower.pool, slices_->resource_version,
                  [slices = slices_, pods = pods_, options = follower.options] {
                    return MapSlices(*slices, options, pods.get());
                  });
  }
}

}  // namespace cashew::k8s

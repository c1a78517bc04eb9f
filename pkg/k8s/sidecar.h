// All of it together: sources (reflectors, DNS) → service feeds → feeder → sender, by pool.
//
//   auto sidecar = Sidecar::Create(options, metrics);
//   if (!sidecar.ok()) return sidecar.status();
//   (*sidecar)->Start();
//   …
//   (*sidecar)->Stop();
//
// Pools that follow the same Service share one watch, and Services of one namespace that of its
// pods, where annotations are followed.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pkg/base/clock.h"
#include "pkg/k8s/api_access.h"
#include "pkg/k8s/channel.h"
#include "pkg/k8s/collection.h"
#include "pkg/k8s/dns_source.h"
#include "pkg/k8s/feeder.h"
#include "pkg/k8s/metrics.h"
#include "pkg/k8s/pod_annotations.h"
#include "pkg/k8s/pool_spec.h"
#include "pkg/k8s/reflector.h"
#include "pkg/k8s/sender.h"
#include "pkg/k8s/service_feed.h"
#include "pkg/k8s/slice_store.h"
#include "pkg/k8s/waitable_mutex.h"

namespace cashew::k8s {

struct SidecarOptions {
  std::vector<PoolSpec> pools;      // name_space filled in
  std::optional<ApiAccess> access;  // needed unless every pool goes by DNS
  ChannelOptions channel;
  std::string updater;
  IpFamily prefer = IpFamily::kIpv4;
  // Follow pods' annotations (pod_annotations.h), of those that the label selector takes.
  bool pod_annotations = false;
  std::string pod_selector;
  FeederOptions feeder;
  // Instead of sending: called with every list, on the feeder's thread.
  std::function<void(const std::string& pool, const ServerList& list)> dry_run;
};

class Sidecar {
 public:
  // `metrics` outlives the result.
  static absl::StatusOr<std::unique_ptr<Sidecar>> Create(SidecarOptions options, Metrics& metrics);
  // Stops.
  ~Sidecar();

  void Start();
  void Stop();

  // Why this is not ready, one line a pool; empty once the proxy has taken a list of each.
  // What was ready stays so: while the API server is away the proxy's lists are still right.
  std::vector<std::string> NotReadyReasons() const;

  // Waits until each pool had a result: a list that the proxy took (dry run: that was shown),
  // one that it refused, or one that was not sent. The first that was no success is the error.
  absl::Status WaitForEach(int64_t timeout_ms);

 private:
  Sidecar(SidecarOptions options, std::shared_ptr<grpc::Channel> channel, Metrics& metrics);

  // What follows one Service, or one namespace's pods: store and collection before the reflector
  // that fills them.
  struct SliceSource {
    explicit SliceSource(Feeder& feeder, std::vector<ServiceFeed::Follower> followers,
                         bool with_pods)
        : feed(feeder, std::move(followers), with_pods) {}
    ServiceFeed feed;
    SliceStore store;
    CollectionOf<EndpointSlice, SliceStore> slices{store, &ParseSliceList, &ParseSliceEvent};
    std::unique_ptr<Reflector> reflector;
  };
  struct PodSource {
    PodStore store{base::RealClock()};
    CollectionOf<PodNote, PodStore> pods{store, &ParsePodList, &ParsePodEvent};
    std::vector<ServiceFeed*> feeds;
    std::unique_ptr<Reflector> reflector;
  };

  void AddService(const std::vector<PoolSpec>& pools, Metrics& metrics);
  void AddPods(const std::string& name_space, std::vector<ServiceFeed*> feeds, Metrics& metrics);
  void AddDns(const PoolSpec& pool, Metrics& metrics);
  // Sources of the API server's that had no complete list yet.
  std::vector<std::string> NotListed() const;
  void OnList(const std::string& pool, ServerList list);
  void SetResult(const std::string& pool, absl::Status status);

  const SidecarOptions options_;
  std::vector<std::string> names_;
  std::unique_ptr<Sender> sender_;  // null in a dry run
  std::unique_ptr<Feeder> feeder_;
  std::vector<std::unique_ptr<SliceSource>> services_;
  std::vector<std::unique_ptr<PodSource>> pods_;
  std::vector<std::unique_ptr<DnsSource>> dns_sources_;

  mutable WaitableMutex mutex_;
  std::map<std::string, absl::Status> results_ CASHEW_GUARDED_BY(mutex_.mutex());
};

}  // namespace cashew::k8s

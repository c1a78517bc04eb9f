#include "pkg/k8s/sidecar.h"

#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

// Metadata of pods is some 4 KiB each before what is not kept of it is dropped.
constexpr size_t kMaxPodListBytes = 256 << 20;
constexpr int64_t kMaxPodBackoffMs = 5'000;

Resource SlicesOf(const std::string& name_space, const std::string& service) {
  return {.group = "discovery.k8s.io",
          .plural = "endpointslices",
          .name_space = name_space,
          .label_selector = "kubernetes.io/service-name=" + service,
          .source = fmt::format("{}/{}", name_space, service)};
}

Resource PodsOf(const std::string& name_space, const std::string& selector) {
  return {.group = "",
          .plural = "pods",
          .name_space = name_space,
          .label_selector = selector,
          .metadata_only = true,
          .source = "pods:" + name_space};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Sidecar>> Sidecar::Create(SidecarOptions options, Metrics& metrics) {
  if (absl::Status status = CheckPools(options.pools); !status.ok()) return status;
  std::shared_ptr<grpc::Channel> channel;
  if (!options.dry_run) {
    auto made = MakeChannel(options.channel);
    if (!made.ok()) return made.status();
    channel = *std::move(made);
  }
  return std::unique_ptr<Sidecar>(new Sidecar(std::move(options), std::move(channel), metrics));
}

Sidecar::Sidecar(SidecarOptions options, std::shared_ptr<grpc::Channel> channel, Metrics& metrics)
    : options_(std::move(options)) {
  std::vector<Feeder::PoolOptions> feeds;
  std::map<std::pair<std::string, std::string>, std::vector<PoolSpec>> services;
  for (const PoolSpec& pool : options_.pools) {
    names_.push_back(pool.pool);
    feeds.push_back({.pool = pool.pool, .allow_empty = pool.allow_empty});
    if (pool.dns_name.empty()) services[{pool.name_space, pool.service}].push_back(pool);
  }
  if (channel != nullptr) {
    sender_ = std::make_unique<Sender>(
        SenderOptions{.updater = options_.updater}, std::move(channel), names_, metrics,
        [this](const std::string& pool, const absl::Status& status) { SetResult(pool, status); });
  }
  feeder_ = std::make_unique<Feeder>(
      options_.feeder, feeds, base::RealClock(), metrics,
      Feeder::Sinks{
          .list = [this](const std::string& pool,
                         ServerList list) { OnList(pool, std::move(list)); },
          .kept =
              [this](const std::string& pool, const std::string& why) {
                SetResult(pool, absl::FailedPreconditionError(why));
              },
      });
  std::map<std::string, std::vector<ServiceFeed*>> by_namespace;
  for (const auto& [service, pools] : services) {
    AddService(pools, metrics);
    by_namespace[service.first].push_back(&services_.back()->feed);
  }
  if (options_.pod_annotations) {
    for (auto& [name_space, of_it] : by_namespace) AddPods(name_space, std::move(of_it), metrics);
  }
  for (const PoolSpec& pool : options_.pools) {
    if (!pool.dns_name.empty()) AddDns(pool, metrics);
  }
}

Sidecar::~Sidecar() { Stop(); }

void Sidecar::AddService(const std::vector<PoolSpec>& pools, Metrics& metrics) {
  const std::string& name_space = pools[0].name_space;
  const std::string& service = pools[0].service;
  std::vector<ServiceFeed::Follower> followers;
  for (const PoolSpec& pool : pools) {
    followers.push_back({pool.pool, {.port = pool.port, .prefer = options_.prefer}});
  }
  services_.push_back(
      std::make_unique<SliceSource>(*feeder_, std::move(followers), options_.pod_annotations));
  SliceSource* source = services_.back().get();
  ReflectorOptions reflector_options;
  reflector_options.resource = SlicesOf(name_space, service);
  source->reflector =
      std::make_unique<Reflector>(reflector_options, *options_.access, base::RealClock(),
                                  metrics.ForSource(reflector_options.resource.source),
                                  source->slices, [source](const std::string& version) {
                                    source->feed.OnSlices(source->store.Snapshot(version));
                                  });
}

void Sidecar::AddPods(const std::string& name_space, std::vector<ServiceFeed*> feeds,
                      Metrics& metrics) {
  pods_.push_back(std::make_unique<PodSource>());
  PodSource* source = pods_.back().get();
  source->feeds = std::move(feeds);
  ReflectorOptions reflector_options;
  reflector_options.resource = PodsOf(name_space, options_.pod_selector);
  reflector_options.max_list_bytes = kMaxPodListBytes;
  // Slices that are heard of before the pods behind them lack weights and names.
  reflector_options.backoff.max_ms = kMaxPodBackoffMs;
  source->reflector =
      std::make_unique<Reflector>(reflector_options, *options_.access, base::RealClock(),
                                  metrics.ForSource(reflector_options.resource.source),
                                  source->pods, [source](const std::string&) {
                                    const auto pods = source->store.Snapshot();
                                    for (ServiceFeed* feed : source->feeds) feed->OnPods(pods);
                                  });
}

void Sidecar::AddDns(const PoolSpec& pool, Metrics& metrics) {
  DnsOptions dns_options;
  dns_options.name = pool.dns_name;
  dns_options.port = pool.port;
  dns_options.prefer = options_.prefer;
  dns_sources_.push_back(std::make_unique<DnsSource>(
      dns_options, base::RealClock(), metrics.ForSource("dns:" + pool.dns_name),
      [this, name = pool.pool](MapResult result) {
        feeder_->Offer(name, "dns", [result = std::move(result)] { return result; });
      }));
}

void Sidecar::Start() {
  if (sender_ != nullptr) sender_->Start();
  feeder_->Start();
  for (const auto& source : pods_) source->reflector->Start();
  for (const auto& source : services_) source->reflector->Start();
  for (const auto& source : dns_sources_) source->Start();
}

void Sidecar::Stop() {
  for (const auto& source : pods_) source->reflector->Stop();
  for (const auto& source : services_) source->reflector->Stop();
  for (const auto& source : dns_sources_) source->Stop();
  feeder_->Stop();
  if (sender_ != nullptr) sender_->Stop();
}

std::vector<std::string> Sidecar::NotReadyReasons() const {
  std::vector<std::string> reasons;
  if (sender_ == nullptr) return reasons;
  for (const std::string& pool : sender_->NeverAcked()) {
    reasons.push_back(fmt::format("pool \"{}\": the proxy has taken no list yet", pool));
  }
  if (!reasons.empty()) {
    for (std::string& source : NotListed()) {
      reasons.push_back(fmt::format("source \"{}\": no complete list yet", std::move(source)));
    }
  }
  return reasons;
}

std::vector<std::string> Sidecar::NotListed() const {
  std::vector<std::string> sources;
  const auto look_at = [&](const Reflector& reflector) {
    if (!reflector.synced()) sources.push_back(reflector.source());
  };
  for (const auto& service : services_) look_at(*service->reflector);
  for (const auto& pods : pods_) look_at(*pods->reflector);
  return sources;
}

absl::Status Sidecar::WaitForEach(int64_t timeout_ms) {
  const int64_t until_ns = base::RealClock().NowNs() + timeout_ms * base::kNsPerMs;
  base::MutexLock lock(&mutex_.mutex());
  while (results_.size() < names_.size()) {
    const int64_t left_ns = until_ns - base::RealClock().NowNs();
    if (left_ns <= 0) {
      std::string why;
      for (const std::string& source : NotListed()) why += "; no complete list of " + source;
      return absl::DeadlineExceededError(fmt::format("{} of {} pools had no result within {} s{}",
                                                     names_.size() - results_.size(), names_.size(),
                                                     timeout_ms / 1000, why));
    }
    mutex_.WaitMs(left_ns / base::kNsPerMs + 1);
  }
  for (const auto& [pool, status] : results_) {
    if (!status.ok()) {
      return absl::Status(status.code(),
                          fmt::format("pool \"{}\": {}", pool, std::string(status.message())));
    }
  }
  return absl::OkStatus();
}

void Sidecar::OnList(const std::string& pool, ServerList list) {
  if (sender_ != nullptr) {
    sender_->Set(pool, std::move(list));
    return;
  }
  options_.dry_run(pool, list);
  SetResult(pool, absl::OkStatus());
}

void Sidecar::SetResult(const std::string& pool, absl::Status status) {
  base::MutexLock lock(&mutex_.mutex());
  results_[pool] = std::move(status);
  mutex_.NotifyAll();
}

}  // namespace cashew::k8s

#include "pkg/k8s/metrics.h"

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include "pkg/base/build_info.h"

namespace cashew::k8s {

struct Metrics::Impl {
  prometheus::Registry registry;
  std::unique_ptr<StreamMetrics> stream;

  prometheus::Counter& Counter(const char* name, const char* help,
                               const prometheus::Labels& labels) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
  }
  prometheus::Gauge& Gauge(const char* name, const char* help, const prometheus::Labels& labels) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {
  impl_
      ->Gauge("cashew_sidecar_build_info", "1, with the version as a label",
              {{"version", base::kVersion}})
      .Set(1);
  impl_->stream = std::make_unique<StreamMetrics>(StreamMetrics{
      impl_->Counter("cashew_sidecar_streams_total", "streams opened to the proxy", {}),
      impl_->Counter("cashew_sidecar_stream_errors_total",
                     "streams to the proxy that failed or ended", {}),
      impl_->Gauge("cashew_sidecar_stream_connected", "1 while the proxy answers on a stream", {}),
  });
}

Metrics::~Metrics() = default;

SourceMetrics Metrics::ForSource(const std::string& source) {
  const prometheus::Labels labels{{"source", source}};
  const auto counter = [&](const char* name, const char* help) -> prometheus::Counter& {
    return impl_->Counter(name, help, labels);
  };
  const auto gauge = [&](const char* name, const char* help) -> prometheus::Gauge& {
    return impl_->Gauge(name, help, labels);
  };
  return {
      counter("cashew_sidecar_lists_total", "complete lists received"),
      counter("cashew_sidecar_watches_total", "watches opened"),
      counter("cashew_sidecar_watch_events_total", "watch events other than bookmarks"),
      counter("cashew_sidecar_watch_bookmarks_total", "bookmarks received"),
      counter("cashew_sidecar_source_errors_total", "lists, watches and look-ups that failed"),
      counter("cashew_sidecar_source_expired_total", "times the API server said 410 Gone"),
      counter("cashew_sidecar_source_forbidden_total", "times the API server said 403"),
      gauge("cashew_sidecar_source_endpoints",
            "endpoints listed, usable or not; of pods, those with annotations"),
      gauge("cashew_sidecar_source_synced", "1 once a complete list was received"),
      gauge("cashew_sidecar_source_heard_timestamp_seconds",
            "when the source last said something, Unix time"),
  };
}

PoolMetrics Metrics::ForPool(const std::string& pool) {
  const prometheus::Labels labels{{"pool", pool}};
  const auto counter = [&](const char* name, const char* help) -> prometheus::Counter& {
    return impl_->Counter(name, help, labels);
  };
  const auto gauge = [&](const char* name, const char* help) -> prometheus::Gauge& {
    return impl_->Gauge(name, help, labels);
  };
  const auto servers = [&](const char* state) -> prometheus::Gauge& {
    return impl_->Gauge("cashew_sidecar_servers", "servers in the list last mapped, by state",
                        {{"pool", pool}, {"state", state}});
  };
  return {
      counter("cashew_sidecar_updates_sent_total", "lists sent to the proxy"),
      counter("cashew_sidecar_updates_acked_total", "lists that the proxy runs"),
      counter("cashew_sidecar_updates_refused_total", "lists that the proxy refused"),
      counter("cashew_sidecar_updates_kept_empty_total",
              "empty lists that were not sent, the last good one being kept"),
      servers("ready"),
      servers("draining"),
      servers("down"),
      gauge(
          "cashew_sidecar_list_warnings",
          "endpoints and annotations that the list last mapped could not take; the log names them"),
      gauge("cashew_sidecar_pool_in_sync", "1 when the proxy runs the newest list"),
      gauge("cashew_sidecar_pool_acked_timestamp_seconds",
            "when the proxy last took a list, Unix time"),
      gauge("cashew_sidecar_membership_checksum",
            "cashew_membership_checksum as of the proxy's last answer"),
  };
}

StreamMetrics& Metrics::stream() { return *impl_->stream; }

std::string Metrics::Text() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace cashew::k8s

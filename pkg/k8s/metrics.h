// What the sidecar tells of itself, in Prometheus' text format. Names follow the proxy's
// pattern, with the prefix cashew_sidecar_.
//
// Any thread; a metric lives as long as its Metrics.
#pragma once

#include <memory>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <string>

namespace cashew::k8s {

// Of one followed Service, DNS name or namespace's pods, label `source`.
struct SourceMetrics {
  prometheus::Counter& lists;    // complete ones
  prometheus::Counter& watches;  // opened
  prometheus::Counter& events;   // watch events other than bookmarks
  prometheus::Counter& bookmarks;
  prometheus::Counter& errors;       // requests that failed, for any reason
  prometheus::Counter& expired;      // 410 Gone
  prometheus::Counter& forbidden;    // 403
  prometheus::Gauge& endpoints;      // in all slices, usable or not; annotated pods
  prometheus::Gauge& synced;         // 1 once a complete list came
  prometheus::Gauge& heard_seconds;  // Unix time of the last good answer, event or bookmark
};

// Of one pool, label `pool`.
struct PoolMetrics {
  prometheus::Counter& sent;
  prometheus::Counter& acked;
  prometheus::Counter& nacked;
  prometheus::Counter& kept_empty;  // empty results that were not sent
  prometheus::Gauge& ready;         // servers by state in the list last mapped
  prometheus::Gauge& draining;
  prometheus::Gauge& down;
  prometheus::Gauge& warnings;       // of the list last mapped
  prometheus::Gauge& in_sync;        // 1: the proxy runs the newest list
  prometheus::Gauge& acked_seconds;  // Unix time of the last ACK
  prometheus::Gauge& checksum;       // cashew_membership_checksum of the last ACK
};

// Of the stream to the proxy.
struct StreamMetrics {
  prometheus::Counter& opened;
  prometheus::Counter& failed;
  prometheus::Gauge& connected;
};

class Metrics {
 public:
  Metrics();
  ~Metrics();

  SourceMetrics ForSource(const std::string& source);
  PoolMetrics ForPool(const std::string& pool);
  StreamMetrics& stream();

  std::string Text() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace cashew::k8s

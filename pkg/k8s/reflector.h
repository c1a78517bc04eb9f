// Follows the objects of one kind in one namespace, with client-go's manners
// (k8s.io/client-go/tools/cache/reflector.go):
//
//   list    in pages of 500, from the API server's newest state; taken whole or not at all
//   watch   from the list's version, with bookmarks, closed by the server after 5 to 10 minutes
//           and opened again from the last version heard
//   410     Gone, as an answer, as an event or between two pages: list again
//   else    wait (backoff.h; Retry-After when that is longer) and try again; a watch that
//           fails three times in a row, or says something malformed, is given up for a list
//
// What is known is never dropped because the API server is away. A watch that is silent for
// longer than it should live is cut.
//
// One thread of its own; the collection is filled and on_change called on it, first with the first
// complete list, then after every change.
#pragma once

#include <absl/status/status.h>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <thread>

#include "pkg/base/clock.h"
#include "pkg/k8s/api_access.h"
#include "pkg/k8s/backoff.h"
#include "pkg/k8s/collection.h"
#include "pkg/k8s/http_client.h"
#include "pkg/k8s/metrics.h"
#include "pkg/k8s/token_source.h"
#include "pkg/k8s/waitable_mutex.h"

namespace cashew::k8s {

// Which objects.
struct Resource {
  std::string group;  // empty: the core group
  std::string version = "v1";
  std::string plural;  // "endpointslices"
  std::string name_space;
  std::string label_selector;  // empty: all
  bool metadata_only = false;  // PartialObjectMetadata instead of the objects
  std::string source;          // what log lines call it, as the metrics' label does: "demo/mc"
};

struct ReflectorOptions {
  Resource resource;
  int page_size = 500;
  int64_t list_timeout_ms = 60'000;
  // The server ends a watch after a time in [min, 2 × min); silent for so long and the grace,
  // it is dead.
  int64_t min_watch_s = 300;
  int64_t watch_grace_ms = 30'000;
  // A slice is at most 1.5 MB in etcd; all of a Service that a proxy takes are about 2 MB.
  size_t max_list_bytes = 32 << 20;
  size_t max_line_bytes = 4 << 20;
  // A watch that ends sooner and said nothing counts as failed; one that lives longer than
  // `good_watch_ms` makes earlier failures forgotten.
  int64_t short_watch_ms = 1'000;
  int64_t good_watch_ms = 30'000;
  BackoffOptions backoff;
};

class Reflector {
 public:
  // `version` is the collection's resourceVersion.
  using OnChange = std::function<void(const std::string& version)>;

  // `collection`, `clock` and what `metrics` refers to outlive this.
  Reflector(ReflectorOptions options, const ApiAccess& access, const base::Clock& clock,
            SourceMetrics metrics, Collection& collection, OnChange on_change);
  // Stops.
  ~Reflector();

  Reflector(const Reflector&) = delete;
  Reflector& operator=(const Reflector&) = delete;

  void Start();
  // Ends a request that runs, and the thread. No on_change after it returned.
  void Stop();

  // Whether a complete list came. Any thread.
  bool synced() const { return synced_; }
  const std::string& source() const { return options_.resource.source; }

 private:
  // What a list or a watch leaves to do.
  struct Next {
    bool list = false;        // list; else watch
    bool wait = false;        // the back-off first
    int64_t at_least_ms = 0;  // Retry-After
  };
  struct Watching;  // of the watch that runs

  void Run();
  void Wait(const Next& next);
  bool stopped();

  Next List();
  absl::Status ListPages(std::string* version, HttpResult* result);
  Next ListFailed(const absl::Status& status, const HttpResult& result);

  Next Watch();
  absl::Status OnLine(std::string_view line, Watching* watching);
  Next WatchEnded(const Watching& watching, const HttpResult& result);
  Next WatchFailed(std::string_view why, int64_t retry_after_ms, bool list);

  HttpResult Get(const char* kind, const std::string& query, int64_t total_ms, int64_t idle_ms,
                 const HttpSink& sink);
  void LogRefusal(const char* verb, const HttpResult& result);
  void Publish();
  void Heard();

  const ReflectorOptions options_;
  const std::string base_url_;
  const base::Clock& clock_;
  const SourceMetrics metrics_;
  const OnChange on_change_;
  TokenSource tokens_;
  HttpClient http_;

  WaitableMutex wait_;
  bool stopped_ CASHEW_GUARDED_BY(wait_.mutex()) = false;
  std::thread thread_;
  std::atomic<bool> synced_ = false;

  // The thread's own.
  Collection& collection_;
  std::string version_;
  Backoff backoff_;
  std::mt19937_64 random_;
  int watch_failures_ = 0;
};

}  // namespace cashew::k8s

#include "pkg/k8s/reflector.h"

#include <algorithm>
#include <malloc.h>
#include <random>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"
#include "pkg/k8s/line_splitter.h"

namespace cashew::k8s {

namespace {

constexpr int kWatchFailuresBeforeList = 3;
constexpr int kMaxPages = 1'000;

// Why OnLine() ended a watch; told apart by these codes.
absl::Status Gone() { return absl::OutOfRangeError("the version is too old"); }

bool IsBusy(int code) { return code == 429 || code >= 500; }

std::string UrlOf(const std::string& server, const Resource& resource) {
  const std::string api = resource.group.empty() ? "api" : fmt::format("apis/{}", resource.group);
  std::string url = fmt::format("{}/{}/{}/namespaces/{}/{}?", server, api, resource.version,
                                UrlEscape(resource.name_space), resource.plural);
  if (!resource.label_selector.empty()) {
    url += "labelSelector=" + UrlEscape(resource.label_selector) + "&";
  }
  return url;
}

}  // namespace

struct Reflector::Watching {
  int64_t opened_ns = 0;
  uint64_t events = 0;  // bookmarks included
  ApiStatus refusal;    // of an ERROR event
};

Reflector::Reflector(ReflectorOptions options, const ApiAccess& access, const base::Clock& clock,
                     SourceMetrics metrics, Collection& collection, OnChange on_change)
    : options_(std::move(options)),
      base_url_(UrlOf(access.server, options_.resource)),
      clock_(clock),
      metrics_(metrics),
      on_change_(std::move(on_change)),
      tokens_(access.token_file, access.token, clock),
      http_(access),
      collection_(collection),
      backoff_(options_.backoff, std::random_device()()),
      random_(std::random_device()()) {}

Reflector::~Reflector() { Stop(); }

void Reflector::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Reflector::Stop() {
  {
    base::MutexLock lock(&wait_.mutex());
    stopped_ = true;
  }
  wait_.NotifyAll();
  http_.Cancel();
  if (thread_.joinable()) thread_.join();
}

void Reflector::Run() {
  Next next{.list = true};
  while (!stopped()) {
    next = next.list ? List() : Watch();
    if (next.wait) Wait(next);
  }
}

void Reflector::Wait(const Next& next) {
  const int64_t wait_ms = std::max(backoff_.NextMs(), next.at_least_ms);
  const int64_t until_ns = clock_.NowNs() + wait_ms * base::kNsPerMs;
  base::MutexLock lock(&wait_.mutex());
  while (!stopped_) {
    const int64_t left_ns = until_ns - clock_.NowNs();
    if (left_ns <= 0) return;
    wait_.WaitMs(left_ns / base::kNsPerMs + 1);
  }
}

bool Reflector::stopped() {
  base::MutexLock lock(&wait_.mutex());
  return stopped_;
}

Reflector::Next Reflector::List() {
  std::string version;
  HttpResult result;
  collection_.BeginList();
  absl::Status status = ListPages(&version, &result);
  malloc_trim(0);  // a page's text and JSON tree are many times what is kept of them
  if (status.ok()) status = collection_.EndList();
  if (!status.ok()) return ListFailed(status, result);
  version_ = std::move(version);
  metrics_.lists.Increment();
  metrics_.synced.Set(1);
  synced_ = true;
  watch_failures_ = 0;
  CASHEW_LOG_INFO("listed source={} size={} version={}", options_.resource.source,
                  collection_.size(), base::Escape(version_, 64));
  Publish();
  return {.list = false};
}

// All pages, or why not. OK with a result that is no 200 is for ListFailed() as well.
absl::Status Reflector::ListPages(std::string* version, HttpResult* result) {
  std::string continue_token;
  size_t bytes_left = options_.max_list_bytes;
  for (int page = 0; page < kMaxPages; ++page) {
    std::string body;
    const auto take = [&](std::string_view bytes) {
      if (bytes.size() > bytes_left) {
        return absl::ResourceExhaustedError(
            fmt::format("the list is larger than {} bytes", options_.max_list_bytes));
      }
      bytes_left -= bytes.size();
      body.append(bytes);
      return absl::OkStatus();
    };
    std::string query = fmt::format("limit={}", options_.page_size);
    if (!continue_token.empty()) query += "&continue=" + UrlEscape(continue_token);
    *result = Get("List", query, options_.list_timeout_ms, 0, take);
    if (!result->transport.ok()) return result->transport;
    if (result->code != 200) return absl::UnknownError("refused");
    auto taken = collection_.TakePage(body);
    if (!taken.ok()) return taken.status();
    *version = std::move(taken->resource_version);
    continue_token = std::move(taken->continue_token);
    if (continue_token.empty()) return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(fmt::format("the list has more than {} pages", kMaxPages));
}

Reflector::Next Reflector::ListFailed(const absl::Status& status, const HttpResult& result) {
  if (absl::IsCancelled(status)) return {.list = true};
  metrics_.errors.Increment();
  if (result.transport.ok() && result.code != 200) {
    LogRefusal("list", result);
  } else {
    CASHEW_LOG_WARN("list failed source={} reason=\"{}\"", options_.resource.source,
                    std::string(status.message()));
  }
  return {.list = true, .wait = true, .at_least_ms = result.retry_after_ms};
}

Reflector::Next Reflector::Watch() {
  std::uniform_int_distribution<int64_t> lifetimes(options_.min_watch_s,
                                                   2 * options_.min_watch_s - 1);
  const int64_t lifetime_s = lifetimes(random_);
  Watching watching;
  watching.opened_ns = clock_.NowNs();
  LineSplitter lines(options_.max_line_bytes);
  const std::string query =
      fmt::format("watch=1&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
                  lifetime_s, UrlEscape(version_));
  metrics_.watches.Increment();
  const HttpResult result =
      Get("", query, 0, lifetime_s * 1000 + options_.watch_grace_ms, [&](std::string_view bytes) {
        return lines.Feed(bytes, [&](std::string_view line) { return OnLine(line, &watching); });
      });
  return WatchEnded(watching, result);
}

absl::Status Reflector::OnLine(std::string_view line, Watching* watching) {
  auto event = collection_.TakeEvent(line);
  if (!event.ok()) return event.status();
  if (event->type == EventType::kError) {
    watching->refusal = event->status;
    if (event->status.code == 410) return Gone();
    return absl::AbortedError(fmt::format("the API server ended the watch: code {} {} {}",
                                          event->status.code, event->status.reason,
                                          event->status.message));
  }
  ++watching->events;
  backoff_.Reset();
  watch_failures_ = 0;
  version_ = std::move(event->resource_version);
  (event->type == EventType::kBookmark ? metrics_.bookmarks : metrics_.events).Increment();
  if (event->changed) {
    Publish();
  } else {
    Heard();
  }
  return absl::OkStatus();
}

Reflector::Next Reflector::WatchEnded(const Watching& watching, const HttpResult& result) {
  const absl::Status& status = result.transport;
  if (absl::IsCancelled(status)) return {};
  const int64_t lived_ms = (clock_.NowNs() - watching.opened_ns) / base::kNsPerMs;
  if (lived_ms >= options_.good_watch_ms && result.code == 200) {
    backoff_.Reset();
    watch_failures_ = 0;
  }
  if (absl::IsOutOfRange(status) || result.code == 410) {
    metrics_.expired.Increment();
    CASHEW_LOG_INFO("version expired, listing again source={} version={}", options_.resource.source,
                    base::Escape(version_, 64));
    return {.list = true, .wait = true};
  }
  if (status.ok() && result.code != 200) {
    LogRefusal("watch", result);
    return WatchFailed("", result.retry_after_ms, false);
  }
  if (status.ok()) {
    if (watching.events > 0 || lived_ms >= options_.short_watch_ms) return {};
    return WatchFailed("it ended at once and without an event", 0, false);
  }
  // What cannot be read, or was refused by an event, is not asked for again from there.
  const bool list = absl::IsInvalidArgument(status) || absl::IsResourceExhausted(status) ||
                    (absl::IsAborted(status) && !IsBusy(watching.refusal.code));
  return WatchFailed(std::string(status.message()), 0, list);
}

Reflector::Next Reflector::WatchFailed(std::string_view why, int64_t retry_after_ms, bool list) {
  metrics_.errors.Increment();
  ++watch_failures_;
  if (!why.empty()) {
    CASHEW_LOG_WARN("watch failed source={} reason=\"{}\"", options_.resource.source, why);
  }
  return {.list = list || watch_failures_ >= kWatchFailuresBeforeList,
          .wait = true,
          .at_least_ms = retry_after_ms};
}

// A token that was replaced is tried once at once; what else is refused waits.
// `kind` is a list's suffix of the kind of object that is wanted.
HttpResult Reflector::Get(const char* kind, const std::string& query, int64_t total_ms,
                          int64_t idle_ms, const HttpSink& sink) {
  HttpRequest request{.url = base_url_ + query,
                      .accept = options_.resource.metadata_only
                                    ? fmt::format("application/json;as=PartialObjectMetadata{};"
                                                  "g=meta.k8s.io;v=v1",
                                                  kind)
                                    : "application/json",
                      .bearer = tokens_.Get(),
                      .total_timeout_ms = total_ms,
                      .idle_timeout_ms = idle_ms};
  HttpResult result = http_.Get(request, sink);
  if (result.transport.ok() && result.code == 401 && tokens_.Refused()) {
    request.bearer = tokens_.Get();
    result = http_.Get(request, sink);
  }
  return result;
}

void Reflector::LogRefusal(const char* verb, const HttpResult& result) {
  if (result.code == 410) {
    metrics_.expired.Increment();
    CASHEW_LOG_INFO("{} expired, listing again source={}", verb, options_.resource.source);
    return;
  }
  const ApiStatus status = ParseApiStatus(result.code, result.body);
  if (result.code == 403) {
    metrics_.forbidden.Increment();
    const Resource& resource = options_.resource;
    CASHEW_LOG_ERROR(
        "not allowed to {} {}{} in namespace {}: bind a Role with the verbs get, list and watch on "
        "{} (apiGroup {}) to this service account message=\"{}\"",
        verb, resource.plural, resource.group.empty() ? "" : "." + resource.group,
        resource.name_space, resource.plural, resource.group.empty() ? "\"\"" : resource.group,
        status.message);
    return;
  }
  CASHEW_LOG_WARN("{} refused source={} code={} reason={} message=\"{}\"", verb,
                  options_.resource.source, status.code, status.reason, status.message);
}

void Reflector::Publish() {
  Heard();
  metrics_.endpoints.Set(static_cast<double>(collection_.size()));
  on_change_(version_);
}

void Reflector::Heard() { metrics_.heard_seconds.Set(static_cast<double>(clock_.WallUs()) / 1e6); }

}  // namespace cashew::k8s

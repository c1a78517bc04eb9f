// GET over HTTP or HTTPS with the answer handed on as it arrives (libcurl).
//
// One request at a time, on the caller's thread, which waits; Cancel() from any thread ends
// the wait at once. Connections are kept from one request to the next. HTTP/1.1 only: a watch
// has a connection of its own, so a dead one is seen by its silence. No redirects, no
// cookies, no proxy from the environment. gzip is accepted and undone; limits count what comes
// out of it.
#pragma once

#include <absl/status/status.h>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "pkg/base/secret.h"
#include "pkg/k8s/api_access.h"

namespace cashew::k8s {

struct HttpRequest {
  std::string url;
  std::string accept = "application/json";
  base::Secret bearer;  // empty: no Authorization
  int64_t connect_timeout_ms = 10'000;
  int64_t total_timeout_ms = 0;  // 0: none
  int64_t idle_timeout_ms = 0;   // without a byte; 0: none
};

struct HttpResult {
  // OK: the answer came whole, whatever its code. CANCELLED: Cancel(). Else what went
  // wrong: no connection, a certificate, a cut body, silence, or the sink's own error.
  absl::Status transport;
  int code = 0;                // 0: no answer
  std::string body;            // of an answer other than 200: its first 64 KiB
  int64_t retry_after_ms = 0;  // 0: not said
};

// Takes the body of a 200 in pieces. An error ends the request and is its result.
using HttpSink = std::function<absl::Status(std::string_view)>;

class HttpClient {
 public:
  explicit HttpClient(const ApiAccess& access);
  ~HttpClient();

  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  HttpResult Get(const HttpRequest& request, const HttpSink& sink);

  // Ends the request that runs and every later one. Any thread.
  void Cancel();

 private:
  struct Impl;  // keeps libcurl's header out of here
  const std::unique_ptr<Impl> impl_;
};

// `text` with everything but letters, digits and -._~ as %XX.
std::string UrlEscape(std::string_view text);

}  // namespace cashew::k8s

#include "pkg/k8s/http_client.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <curl/curl.h>
#include <mutex>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

constexpr size_t kMaxErrorBody = 64 * 1024;
constexpr int64_t kLongestWaitMs = 60'000;
constexpr int64_t kMaxRetryAfterSeconds = 300;

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void InitLibrary() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

curl_blob BlobOf(const std::string& bytes) {
  return {const_cast<char*>(bytes.data()), bytes.size(), CURL_BLOB_COPY};
}

}  // namespace

struct HttpClient::Impl {
  CURL* easy = nullptr;
  CURLM* multi = nullptr;
  std::atomic<bool> cancelled{false};
  std::array<char, CURL_ERROR_SIZE> error{};

  // Of the request that runs.
  const HttpSink* sink = nullptr;
  HttpResult* result = nullptr;
  absl::Status sink_status;
  int64_t last_byte_ms = 0;

  // Libcurl's callback: returning another number than it was given ends the request.
  static size_t OnBody(char* data, size_t size, size_t count, void* self) {
    return static_cast<Impl*>(self)->TakeBody({data, size * count}) ? size * count : 0;
  }

  bool TakeBody(std::string_view bytes) {
    last_byte_ms = NowMs();
    long code = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
    if (code == 200) {
      sink_status = (*sink)(bytes);
      return sink_status.ok();
    }
    result->body.append(
        bytes.substr(0, kMaxErrorBody - std::min(kMaxErrorBody, result->body.size())));
    return true;
  }

  void Identify(const ApiAccess& access) {
    // Without this the system's folder of authorities is trusted beside the given file.
    curl_easy_setopt(easy, CURLOPT_CAPATH, nullptr);
    if (!access.ca_data.empty()) {
      const curl_blob blob = BlobOf(access.ca_data);
      curl_easy_setopt(easy, CURLOPT_CAINFO, nullptr);
      curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
    } else if (!access.ca_file.empty()) {
      curl_easy_setopt(easy, CURLOPT_CAINFO, access.ca_file.c_str());
    }
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);  // the file may be replaced
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    if (access.skip_tls_verify) {
      curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
      curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    SetPem(CURLOPT_SSLCERT, CURLOPT_SSLCERT_BLOB, access.cert_file, access.cert_data);
    SetPem(CURLOPT_SSLKEY, CURLOPT_SSLKEY_BLOB, access.key_file, access.key_data.Reveal());
    curl_easy_setopt(easy, CURLOPT_PROXY, access.proxy.c_str());
  }

  void SetPem(CURLoption file_option, CURLoption blob_option, const std::string& file,
              const std::string& data) {
    if (!data.empty()) {
      const curl_blob blob = BlobOf(data);
      curl_easy_setopt(easy, blob_option, &blob);
    } else if (!file.empty()) {
      curl_easy_setopt(easy, file_option, file.c_str());
    }
  }

  void SetManners() {
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "cashew-sidecar");
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 15L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error.data());
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Impl::OnBody);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
  }

  // Until the request is over, one way or another.
  absl::Status Drive(const HttpRequest& request) {
    for (;;) {
      int running = 0;
      const CURLMcode code = curl_multi_perform(multi, &running);
      if (code != CURLM_OK) return absl::InternalError(curl_multi_strerror(code));
      if (cancelled) return absl::CancelledError("stopped");
      if (running == 0) return Outcome();
      int64_t wait_ms = kLongestWaitMs;
      if (request.idle_timeout_ms > 0) {
        wait_ms = last_byte_ms + request.idle_timeout_ms - NowMs();
        if (wait_ms <= 0) {
          return absl::DeadlineExceededError(
              fmt::format("no byte came for {} s", request.idle_timeout_ms / 1000));
        }
      }
      curl_multi_poll(multi, nullptr, 0, static_cast<int>(std::min(wait_ms, kLongestWaitMs)),
                      nullptr);
    }
  }

  absl::Status Outcome() {
    int left = 0;
    const CURLMsg* message = curl_multi_info_read(multi, &left);
    if (message == nullptr) return absl::InternalError("the request ended without a result");
    if (message->data.result == CURLE_OK) return absl::OkStatus();
    if (!sink_status.ok()) return sink_status;
    const std::string text =
        error[0] != '\0' ? error.data() : curl_easy_strerror(message->data.result);
    return absl::UnavailableError(base::Escape(text, 300));
  }

  void ReadAnswer() {
    long code = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
    result->code = static_cast<int>(code);
    curl_off_t seconds = 0;
    curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &seconds);
    result->retry_after_ms =
        std::clamp<int64_t>(static_cast<int64_t>(seconds), 0, kMaxRetryAfterSeconds) * 1000;
  }
};

HttpClient::HttpClient(const ApiAccess& access) : impl_(std::make_unique<Impl>()) {
  InitLibrary();
  impl_->easy = curl_easy_init();
  impl_->multi = curl_multi_init();
  impl_->SetManners();
  impl_->Identify(access);
}

HttpClient::~HttpClient() {
  curl_easy_cleanup(impl_->easy);
  curl_multi_cleanup(impl_->multi);
}

HttpResult HttpClient::Get(const HttpRequest& request, const HttpSink& sink) {
  HttpResult result;
  impl_->sink = &sink;
  impl_->result = &result;
  impl_->sink_status = absl::OkStatus();
  impl_->error[0] = '\0';
  impl_->last_byte_ms = NowMs();

  curl_easy_setopt(impl_->easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(impl_->easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(request.connect_timeout_ms));
  curl_easy_setopt(impl_->easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.total_timeout_ms));
  const std::string authorization = "Authorization: Bearer " + request.bearer.Reveal();
  curl_slist* headers = curl_slist_append(nullptr, ("Accept: " + request.accept).c_str());
  if (!request.bearer.empty()) headers = curl_slist_append(headers, authorization.c_str());
  curl_easy_setopt(impl_->easy, CURLOPT_HTTPHEADER, headers);

  curl_multi_add_handle(impl_->multi, impl_->easy);
  result.transport = impl_->Drive(request);
  impl_->ReadAnswer();
  curl_multi_remove_handle(impl_->multi, impl_->easy);
  curl_easy_setopt(impl_->easy, CURLOPT_HTTPHEADER, nullptr);
  curl_slist_free_all(headers);
  return result;
}

void HttpClient::Cancel() {
  impl_->cancelled = true;
  curl_multi_wakeup(impl_->multi);
}

std::string UrlEscape(std::string_view text) {
  static constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string escaped;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

}  // namespace cashew::k8s

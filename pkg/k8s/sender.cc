#include "pkg/k8s/sender.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

namespace pb = membership::v1;

constexpr int64_t kLongestWaitMs = 3'600'000;
constexpr size_t kShownBytes = 500;

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double UnixSeconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

pb::ServerState StateOf(ServerState state) {
  switch (state) {
    case ServerState::kReady:
      return pb::SERVER_STATE_READY;
    case ServerState::kDraining:
      return pb::SERVER_STATE_DRAINING;
    case ServerState::kDown:
      return pb::SERVER_STATE_DOWN;
  }
  return pb::SERVER_STATE_UNSPECIFIED;
}

void Fill(const ServerList& list, pb::StreamServersRequest* request) {
  request->set_source_version(list.source_version);
  for (const MappedServer& mapped : list.servers) {
    pb::Server* server = request->add_servers();
    server->set_name(mapped.name);
    server->set_address(mapped.address);
    server->set_zone(mapped.zone);
    server->set_state(StateOf(mapped.state));
    if (mapped.weight != 1) server->set_weight(mapped.weight);
  }
}

}  // namespace

Sender::Sender(SenderOptions options, std::shared_ptr<grpc::Channel> channel,
               const std::vector<std::string>& pools, Metrics& metrics, OnAnswer on_answer)
    : options_(std::move(options)),
      stub_(pb::MembershipService::NewStub(channel)),
      stream_metrics_(metrics.stream()),
      on_answer_(std::move(on_answer)),
      reconnect_(options_.reconnect, std::random_device()()) {
  for (const std::string& pool : pools) {
    pools_.try_emplace(pool, metrics.ForPool(pool), options_.refused, std::random_device()());
  }
}

Sender::~Sender() { Stop(); }

void Sender::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Sender::Stop() {
  {
    base::MutexLock lock(&mutex_.mutex());
    stopped_ = true;
  }
  mutex_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void Sender::Set(const std::string& pool_name, ServerList list) {
  base::MutexLock lock(&mutex_.mutex());
  Pool& pool = pools_.at(pool_name);
  if (pool.wanted && pool.wanted->SameServers(list)) return;
  pool.wanted = std::move(list);
  ++pool.wanted_number;
  pool.retry_ms = 0;
  pool.backoff.Reset();
  pool.metrics.in_sync.Set(0);
  mutex_.NotifyAll();
}

std::vector<std::string> Sender::NeverAcked() const {
  base::MutexLock lock(&mutex_.mutex());
  std::vector<std::string> names;
  for (const auto& [name, pool] : pools_) {
    if (!pool.ever_acked) names.push_back(name);
  }
  return names;
}

void Sender::Run() {
  while (WaitForWork()) {
    const grpc::Status status = RunStream();
    bool answered = false;
    {
      base::MutexLock lock(&mutex_.mutex());
      answered = std::exchange(answered_, false);
      ForgetSent();
    }
    stream_metrics_.connected.Set(0);
    WaitToReconnect(status, answered);
  }
}

// Until some pool has a list; false when stopped.
bool Sender::WaitForWork() {
  base::MutexLock lock(&mutex_.mutex());
  while (!stopped_) {
    for (const auto& [name, pool] : pools_) {
      if (pool.wanted) return true;
    }
    mutex_.Wait();
  }
  return false;
}

grpc::Status Sender::RunStream() {
  Stream stream;
  stream.rpc = stub_->StreamServers(&stream.context);
  std::thread reader([this, &stream] { ReadAll(&stream); });
  WriteAll(&stream);
  Goodbye(&stream);
  reader.join();
  return stream.rpc->Finish();
}

void Sender::ReadAll(Stream* stream) {
  Response response;
  while (stream->rpc->Read(&response)) OnResponse(response);
  base::MutexLock lock(&mutex_.mutex());
  stream->ended = true;
  mutex_.NotifyAll();
}

void Sender::WriteAll(Stream* stream) {
  for (;;) {
    Request request;
    if (!NextRequest(stream, &request)) return;
    if (!stream->rpc->Write(request)) return;
  }
}

// Waits for the next list to send; false when the stream is over.
bool Sender::NextRequest(Stream* stream, Request* request) {
  base::MutexLock lock(&mutex_.mutex());
  for (;;) {
    if (stopped_ || stream->ended) return false;
    const int64_t now_ms = NowMs();
    int64_t wake_ms = now_ms + kLongestWaitMs;
    for (auto& [name, pool] : pools_) {
      if (pool.waiting_nonce != 0) {
        const int64_t deadline_ms = pool.sent_ms + options_.answer_timeout_ms;
        if (now_ms >= deadline_ms) {
          CASHEW_LOG_WARN("the proxy did not answer, reconnecting pool={} waited_ms={}", name,
                          now_ms - pool.sent_ms);
          return false;
        }
        wake_ms = std::min(wake_ms, deadline_ms);
        continue;
      }
      if (!pool.wanted) continue;
      if (pool.retry_ms > now_ms) {
        wake_ms = std::min(wake_ms, pool.retry_ms);
        continue;
      }
      if (pool.sent_number == pool.wanted_number && pool.retry_ms == 0) continue;
      pool.sent_number = pool.wanted_number;
      pool.waiting_nonce = ++nonce_;
      pool.sent_ms = now_ms;
      pool.sent_servers = pool.wanted->servers.size();
      pool.retry_ms = 0;
      pool.metrics.sent.Increment();
      request->set_pool(name);
      request->set_nonce(nonce_);
      request->set_updater(options_.updater);
      Fill(*pool.wanted, request);
      return true;
    }
    mutex_.WaitMs(wake_ms - now_ms);
  }
}

// A stream that we end ends in good order, if the proxy plays along; any other is cut.
void Sender::Goodbye(Stream* stream) {
  base::MutexLock lock(&mutex_.mutex());
  if (stopped_ && !stream->ended) {
    mutex_.mutex().Unlock();
    stream->rpc->WritesDone();
    mutex_.mutex().Lock();
    const int64_t until_ms = NowMs() + options_.goodbye_ms;
    while (!stream->ended && NowMs() < until_ms) mutex_.WaitMs(until_ms - NowMs());
  }
  if (!stream->ended) stream->context.TryCancel();
}

// The next stream starts from nothing.
void Sender::ForgetSent() {
  for (auto& [name, pool] : pools_) {
    pool.sent_number = 0;
    pool.waiting_nonce = 0;
    pool.retry_ms = 0;
    pool.metrics.in_sync.Set(0);
  }
}

void Sender::OnResponse(const Response& response) {
  absl::Status answer;
  {
    base::MutexLock lock(&mutex_.mutex());
    if (!answered_) stream_metrics_.opened.Increment();
    answered_ = true;
    stream_metrics_.connected.Set(1);
    const auto it = pools_.find(response.pool());
    // Not ours, or an answer to what is no longer asked.
    if (it == pools_.end() || response.nonce() != it->second.waiting_nonce) return;
    answer = TakeAnswer(it->second, response);
    mutex_.NotifyAll();
  }
  if (on_answer_) on_answer_(response.pool(), answer);
}

absl::Status Sender::TakeAnswer(Pool& pool, const Response& response) {
  pool.waiting_nonce = 0;
  pool.metrics.checksum.Set(response.membership_checksum());
  if (response.has_error()) {
    const std::string reason = base::Escape(response.error().message(), kShownBytes);
    pool.metrics.nacked.Increment();
    pool.retry_ms = NowMs() + pool.backoff.NextMs();
    CASHEW_LOG_ERROR("list refused, the last good one stays pool={} code={} reason=\"{}\"",
                     response.pool(), response.error().code(), reason);
    return absl::Status(static_cast<absl::StatusCode>(response.error().code()), reason);
  }
  pool.backoff.Reset();
  pool.ever_acked = true;
  pool.metrics.acked.Increment();
  pool.metrics.acked_seconds.Set(UnixSeconds());
  pool.metrics.in_sync.Set(pool.sent_number == pool.wanted_number ? 1 : 0);
  CASHEW_LOG_NOTICE("list taken by the proxy pool={} servers={} version={} checksum={:08x}",
                    response.pool(), pool.sent_servers, response.version(),
                    response.membership_checksum());
  return absl::OkStatus();
}

void Sender::WaitToReconnect(const grpc::Status& status, bool answered) {
  base::MutexLock lock(&mutex_.mutex());
  if (stopped_) return;
  stream_metrics_.failed.Increment();
  std::string error = fmt::format("code={} reason=\"{}\"", static_cast<int>(status.error_code()),
                                  base::Escape(status.error_message(), kShownBytes));
  // ABORTED: another stream has our name. Two that take it from each other do so slowly.
  if (answered && status.error_code() != grpc::StatusCode::ABORTED) reconnect_.Reset();
  // Every attempt fails alike while the proxy is away: said once.
  if (answered || error != last_error_) CASHEW_LOG_WARN("stream to the proxy ended {}", error);
  last_error_ = std::move(error);
  const int64_t until_ms = NowMs() + reconnect_.NextMs();
  while (!stopped_ && NowMs() < until_ms) mutex_.WaitMs(until_ms - NowMs());
}

}  // namespace cashew::k8s

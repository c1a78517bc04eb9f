// Sends server lists to the proxy beside it: one StreamServers stream for all pools
// (proto/cashew/membership/v1/membership.proto), as their owner.
//
//   Sender sender({.updater = "web-0"}, channel, pools, metrics, on_answer);
//   sender.Start();
//   sender.Set("cache", {servers, resource_version});   // whenever it changes
//
// At most one list of a pool is on its way; what is set meanwhile follows the answer, and only
// the newest does. An ACK is the end of it. A refused list (NACK) stays unsent until it
// changes or a back-off is over; the proxy keeps its last good one. When the stream ends,
// from either side, it is opened again and every pool's newest list is sent anew, since a
// proxy that restarted owes nobody its memory. A list without an answer for
// `answer_timeout_ms` ends the stream.
//
// Set() may be called on any thread. Two threads of its own: one writes and reconnects,
// one reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <grpcpp/grpcpp.h>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "cashew/membership/v1/membership.grpc.pb.h"

#include "pkg/k8s/backoff.h"
#include "pkg/k8s/mapper.h"
#include "pkg/k8s/metrics.h"
#include "pkg/k8s/waitable_mutex.h"

namespace cashew::k8s {

struct SenderOptions {
  std::string updater;  // who speaks: the pod's name; two that share one replace each other
  BackoffOptions reconnect{.first_ms = 200, .max_ms = 5'000};
  BackoffOptions refused{};
  int64_t answer_timeout_ms = 30'000;
  // How long Stop() lets the proxy see the stream's end before it is cut.
  int64_t goodbye_ms = 1'000;
};

struct ServerList {
  std::vector<MappedServer> servers;
  std::string source_version;  // for people: a resourceVersion

  // Versions differ without a difference, and are not worth a message.
  bool SameServers(const ServerList& other) const { return servers == other.servers; }
};

class Sender {
 public:
  // Every answer of the proxy: OK for an ACK, else the reason. On the reading thread.
  using OnAnswer = std::function<void(const std::string& pool, const absl::Status& status)>;

  // `metrics` outlives this. `on_answer` may be empty.
  Sender(SenderOptions options, std::shared_ptr<grpc::Channel> channel,
         const std::vector<std::string>& pools, Metrics& metrics, OnAnswer on_answer);
  // Stops.
  ~Sender();

  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  void Start();
  // Ends the stream and the threads. No on_answer after it returned.
  void Stop();

  // The pool's newest list. Nothing happens when its servers are those of the one before.
  // REQUIRES: `pool` is one of the constructor's.
  void Set(const std::string& pool, ServerList list);

  // Pools of which no list was acknowledged yet.
  std::vector<std::string> NeverAcked() const;

 private:
  using Request = membership::v1::StreamServersRequest;
  using Response = membership::v1::StreamServersResponse;
  using Stub = membership::v1::MembershipService::Stub;

  struct Pool {
    Pool(PoolMetrics pool_metrics, BackoffOptions refused_backoff, uint64_t seed)
        : metrics(pool_metrics), backoff(refused_backoff, seed) {}

    const PoolMetrics metrics;
    std::optional<ServerList> wanted;
    uint64_t wanted_number = 0;  // counts Set()s
    uint64_t sent_number = 0;    // of the list last sent on this stream; 0: none
    uint64_t waiting_nonce = 0;  // of the list that has no answer; 0: none
    size_t sent_servers = 0;
    int64_t sent_ms = 0;
    int64_t retry_ms = 0;  // when a refused list is sent again; 0: was not refused
    bool ever_acked = false;
    Backoff backoff;
  };

  // Of the stream that is open.
  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> rpc;
    bool ended = false;  // nothing more comes; guarded by mutex_
  };

  void Run();
  bool WaitForWork();
  grpc::Status RunStream();
  void ReadAll(Stream* stream);
  void WriteAll(Stream* stream);
  bool NextRequest(Stream* stream, Request* request);
  void Goodbye(Stream* stream);
  void ForgetSent();
  void OnResponse(const Response& response);
  absl::Status TakeAnswer(Pool& pool, const Response& response);
  void WaitToReconnect(const grpc::Status& status, bool answered);

  const SenderOptions options_;
  const std::unique_ptr<Stub> stub_;
  StreamMetrics& stream_metrics_;
  const OnAnswer on_answer_;
  std::thread thread_;

  mutable WaitableMutex mutex_;
  bool stopped_ CASHEW_GUARDED_BY(mutex_.mutex()) = false;
  bool answered_ CASHEW_GUARDED_BY(mutex_.mutex()) = false;  // on this stream
  uint64_t nonce_ CASHEW_GUARDED_BY(mutex_.mutex()) = 0;
  std::map<std::string, Pool> pools_ CASHEW_GUARDED_BY(mutex_.mutex());
  Backoff reconnect_;       // the writing thread's
  std::string last_error_;  // the writing thread's
};

}  // namespace cashew::k8s

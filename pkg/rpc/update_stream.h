// One StreamServers call: a sidecar's lists in, one response for each out.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "cashew/membership/v1/membership.pb.h"
#include "grpcpp/support/server_callback.h"

#include "pkg/base/mutex.h"
#include "pkg/rpc/backend.h"
#include "pkg/rpc/long_calls.h"

namespace cashew::rpc {

// Reads a list, gives it to the backend, reads the next while fewer than kMaxInFlight wait for
// their answer to be written: a client that does not read its answers is not read either.
// Every nonce gets its response; those of one pool in the order of their requests, a pool that
// is slow to change does not hold up another.
//
// A list that is not accepted gets a response with `error` and what the pool runs instead; the
// stream goes on. The stream ends with
//   INVALID_ARGUMENT  `updater` is empty, or another than in the request before
//   ABORTED           another stream of this updater took over (what the backend says)
//   OK                the client has finished sending and got every response
//
// Callbacks of the backend hold a reference and may come at any time, also after OnDone.
// CloseStream is called exactly once, also after the backend ended the stream itself. The
// backend is never called with the lock held. gRPC never runs a reaction inside a Start call,
// so those are made under the lock.
class UpdateStream final : public grpc::ServerBidiReactor<membership::v1::StreamServersRequest,
                                                          membership::v1::StreamServersResponse>,
                           public LongCall,
                           public std::enable_shared_from_this<UpdateStream> {
 public:
  static constexpr size_t kMaxInFlight = 4;

  // The new stream belongs to gRPC. Both arguments outlive it.
  static UpdateStream* Start(Backend* backend, LongCalls* calls);

  UpdateStream(Backend* backend, LongCalls* calls) : backend_(backend), calls_(calls) {}

  void End(const absl::Status& status) override;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  using Request = membership::v1::StreamServersRequest;
  using Response = membership::v1::StreamServersResponse;

  // A request on its way. `response` is set when it can be written.
  struct Slot {
    uint64_t ticket;
    std::string pool;
    uint64_t nonce;
    std::optional<Response> response;
  };

  void Open();
  absl::Status CheckRequest(const Request& request);
  void Submit(Request request);
  uint64_t AddSlot(const Request& request);
  void Answer(uint64_t ticket, const absl::StatusOr<pool::Applied>& result);
  Response MakeResponse(const Slot& slot, const absl::StatusOr<pool::Applied>& result) const;
  void CloseOnce();

  void ReadMore() CASHEW_REQUIRES(mu_);
  void WriteMore() CASHEW_REQUIRES(mu_);
  std::deque<Slot>::iterator FirstWritable() CASHEW_REQUIRES(mu_);
  bool Drained() const CASHEW_REQUIRES(mu_);

  Backend* const backend_;
  LongCalls* const calls_;
  std::shared_ptr<UpdateStream> self_;  // until OnDone

  std::string updater_;  // of the first request; touched by one read at a time

  base::Mutex mu_;
  bool ended_ CASHEW_GUARDED_BY(mu_) = false;          // Finish was called: start nothing more
  bool close_ CASHEW_GUARDED_BY(mu_) = false;          // CloseStream is due, or done
  std::optional<uint64_t> id_ CASHEW_GUARDED_BY(mu_);  // the backend's; set once
  bool reading_ CASHEW_GUARDED_BY(mu_) = false;        // until the list is with the backend
  bool writing_ CASHEW_GUARDED_BY(mu_) = false;
  bool read_all_ CASHEW_GUARDED_BY(mu_) = false;  // the client sends no more
  uint64_t next_ticket_ CASHEW_GUARDED_BY(mu_) = 0;
  std::deque<Slot> slots_ CASHEW_GUARDED_BY(mu_);  // in the order of the requests
  Request request_;                                // gRPC's until OnReadDone
  Response response_;                              // gRPC's while writing_
};

}  // namespace cashew::rpc

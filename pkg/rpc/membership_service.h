// cashew.membership.v1.MembershipService over Backend. What each method promises is said in
// proto/cashew/membership/v1/membership.proto.
#pragma once

#include "cashew/membership/v1/membership.grpc.pb.h"

#include "pkg/rpc/backend.h"
#include "pkg/rpc/long_calls.h"
#include "pkg/rpc/watch_hub.h"

namespace cashew::rpc {

namespace detail {
using MembershipStub = membership::v1::MembershipService;
// Watches write bytes that are encoded already; see watch_hub.h.
using MembershipBase =
    MembershipStub::WithRawCallbackMethod_WatchPool<MembershipStub::WithCallbackMethod_ListPools<
        MembershipStub::WithCallbackMethod_GetPool<MembershipStub::WithCallbackMethod_SetServers<
            MembershipStub::WithCallbackMethod_StreamServers<MembershipStub::Service>>>>>;
}  // namespace detail

// Thread-safe. `backend` outlives it.
class MembershipService final : public detail::MembershipBase {
 public:
  explicit MembershipService(Backend* backend);

  // Ends the streams and watches with UNAVAILABLE, and lets no new one begin. The backend's
  // watches are closed. For the server that stops.
  void Stop();

 private:
  grpc::ServerUnaryReactor* ListPools(grpc::CallbackServerContext* context,
                                      const membership::v1::ListPoolsRequest* request,
                                      membership::v1::ListPoolsResponse* response) override;
  grpc::ServerUnaryReactor* GetPool(grpc::CallbackServerContext* context,
                                    const membership::v1::GetPoolRequest* request,
                                    membership::v1::GetPoolResponse* response) override;
  grpc::ServerUnaryReactor* SetServers(grpc::CallbackServerContext* context,
                                       const membership::v1::SetServersRequest* request,
                                       membership::v1::SetServersResponse* response) override;
  grpc::ServerBidiReactor<membership::v1::StreamServersRequest,
                          membership::v1::StreamServersResponse>*
  StreamServers(grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchPool(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request) override;

  Backend* const backend_;
  LongCalls streams_;
  LongCalls watches_;
  WatchHub hub_;
};

}  // namespace cashew::rpc

#include "pkg/rpc/membership_service.h"

#include <string>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"
#include "pkg/rpc/convert.h"
#include "pkg/rpc/status.h"
#include "pkg/rpc/unary_call.h"
#include "pkg/rpc/update_stream.h"

namespace cashew::rpc {
namespace {

// A sidecar holds one stream: far beyond any use. Each may have kMaxInFlight lists in memory.
constexpr size_t kMaxStreams = 256;
// Dashboards and scripts; a watch costs a few KiB while its client reads.
constexpr size_t kMaxWatches = 4096;

absl::Status NoPool(const std::string& name) {
  return absl::NotFoundError(fmt::format("no pool \"{}\"", base::Escape(name, 80)));
}

// A watch that is refused.
class RefusedWatch final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit RefusedWatch(const absl::Status& status) { Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

MembershipService::MembershipService(Backend* backend)
    : backend_(backend), streams_(kMaxStreams), watches_(kMaxWatches), hub_(backend) {}

void MembershipService::Stop() {
  const absl::Status stopping = absl::UnavailableError("the proxy is stopping");
  streams_.EndAll(stopping);
  watches_.EndAll(stopping);
  hub_.Stop();
}

grpc::ServerUnaryReactor* MembershipService::ListPools(
    grpc::CallbackServerContext* context, const membership::v1::ListPoolsRequest* request,
    membership::v1::ListPoolsResponse* response) {
  for (const auto& view : backend_->Pools()) {
    FillPool(*view, Servers::kOmit, response->add_pools());
  }
  return AnswerNow(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* MembershipService::GetPool(grpc::CallbackServerContext* context,
                                                     const membership::v1::GetPoolRequest* request,
                                                     membership::v1::GetPoolResponse* response) {
  const auto view = backend_->Pool(request->pool());
  if (view == nullptr) return AnswerNow(context, NoPool(request->pool()));
  FillPool(*view, Servers::kInclude, response->mutable_pool());
  return AnswerNow(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* MembershipService::SetServers(
    grpc::CallbackServerContext* context, const membership::v1::SetServersRequest* request,
    membership::v1::SetServersResponse* response) {
  absl::StatusOr<std::vector<pool::ServerSpec>> servers = ParseServers(request->servers());
  if (!servers.ok()) {
    backend_->OnMalformed(request->pool(), servers.status());
    return AnswerNow(context, servers.status());
  }
  Later<pool::Applied> call = AnswerLater<pool::Applied>(response, &FillApplied);
  backend_->SetServers({request->pool(), *std::move(servers), request->expected_version(),
                        request->dry_run(), request->take_over()},
                       std::move(call.done));
  return call.reactor;
}

grpc::ServerBidiReactor<membership::v1::StreamServersRequest,
                        membership::v1::StreamServersResponse>*
MembershipService::StreamServers(grpc::CallbackServerContext* context) {
  return UpdateStream::Start(backend_, &streams_);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* MembershipService::WatchPool(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  membership::v1::WatchPoolRequest parsed;
  grpc::ByteBuffer bytes(*request);  // shares the bytes; what parses them wants its own
  if (!grpc::SerializationTraits<membership::v1::WatchPoolRequest>::Deserialize(&bytes, &parsed)
           .ok()) {
    return new RefusedWatch(absl::InvalidArgumentError("the request is no WatchPoolRequest"));
  }
  if (backend_->Pool(parsed.pool()) == nullptr) return new RefusedWatch(NoPool(parsed.pool()));
  return Watcher::Start(parsed.pool(), &hub_, &watches_);
}

}  // namespace cashew::rpc

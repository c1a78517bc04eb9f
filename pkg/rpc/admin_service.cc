#include "pkg/rpc/admin_service.h"

#include <unistd.h>
#include <utility>

#include "pkg/base/build_info.h"
#include "pkg/rpc/convert.h"
#include "pkg/rpc/unary_call.h"

namespace cashew::rpc {
namespace {

constexpr size_t kHotKeysShown = 20;

template <typename Response>
void FillVersion(const uint64_t& version, Response* out) {
  out->set_version(version);
}

void FillUpgraded(const Upgraded& upgraded, adminpb::UpgradeResponse* out) {
  out->set_pid(upgraded.pid);
  out->set_version(ToText(upgraded.version));
}

}  // namespace

AdminService::Reactor AdminService::GetStatus(Context context,
                                              const adminpb::GetStatusRequest* request,
                                              adminpb::GetStatusResponse* response) {
  response->set_version(base::kVersion);
  response->set_pid(getpid());
  FillStatus(backend_->Status(), response);
  for (const auto& view : backend_->Pools()) {
    FillPool(*view, Servers::kOmit, response->add_pools());
  }
  return AnswerNow(context, absl::OkStatus());
}

AdminService::Reactor AdminService::GetStats(Context context,
                                             const adminpb::GetStatsRequest* request,
                                             adminpb::GetStatsResponse* response) {
  response->set_json(ToText(backend_->StatsJson()));
  return AnswerNow(context, absl::OkStatus());
}

AdminService::Reactor AdminService::Locate(Context context, const adminpb::LocateRequest* request,
                                           adminpb::LocateResponse* response) {
  const absl::StatusOr<Location> location = backend_->Locate(request->pool(), request->key());
  if (location.ok()) FillLocation(*location, response);
  return AnswerNow(context, location.status());
}

AdminService::Reactor AdminService::GetHotKeys(Context context,
                                               const adminpb::GetHotKeysRequest* request,
                                               adminpb::GetHotKeysResponse* response) {
  Later<pool::HotKeys> call = AnswerLater<pool::HotKeys>(response, &FillHotKeys);
  const size_t limit = request->limit() == 0 ? kHotKeysShown : request->limit();
  backend_->GetHotKeys(request->pool(), limit, std::move(call.done));
  return call.reactor;
}

AdminService::Reactor AdminService::GetSlowLog(Context context,
                                               const adminpb::GetSlowLogRequest* request,
                                               adminpb::GetSlowLogResponse* response) {
  using Slow = std::vector<pool::SlowRequest>;
  Later<Slow> call = AnswerLater<Slow>(response, &FillSlowLog);
  backend_->GetSlowLog(
      request->pool(), request->reset(),
      [limit = request->limit(), done = std::move(call.done)](absl::StatusOr<Slow> slow) {
        if (slow.ok() && limit != 0 && slow->size() > limit) slow->resize(limit);
        done(std::move(slow));
      });
  return call.reactor;
}

AdminService::Reactor AdminService::SetOverride(Context context,
                                                const adminpb::SetOverrideRequest* request,
                                                adminpb::SetOverrideResponse* response) {
  const absl::StatusOr<pool::Override> how = ParseOverride(*request, clock_->WallUs());
  if (!how.ok()) return AnswerNow(context, how.status());
  Later<uint64_t> call = AnswerLater<uint64_t>(response, &FillVersion);
  backend_->SetOverride(request->pool(), request->server(), *how, std::move(call.done));
  return call.reactor;
}

AdminService::Reactor AdminService::ClearOverride(Context context,
                                                  const adminpb::ClearOverrideRequest* request,
                                                  adminpb::ClearOverrideResponse* response) {
  Later<uint64_t> call = AnswerLater<uint64_t>(response, &FillVersion);
  backend_->ClearOverride(request->pool(), request->server(), std::move(call.done));
  return call.reactor;
}

AdminService::Reactor AdminService::Reload(Context context, const adminpb::ReloadRequest* request,
                                           adminpb::ReloadResponse* response) {
  Later<Reloaded> call = AnswerLater<Reloaded>(response, &FillReloaded);
  backend_->Reload(std::move(call.done));
  return call.reactor;
}

AdminService::Reactor AdminService::Stop(Context context, const adminpb::StopRequest* request,
                                         adminpb::StopResponse* response) {
  backend_->Stop();
  return AnswerNow(context, absl::OkStatus());
}

AdminService::Reactor AdminService::Upgrade(Context context, const adminpb::UpgradeRequest* request,
                                            adminpb::UpgradeResponse* response) {
  Later<Upgraded> call = AnswerLater<Upgraded>(response, &FillUpgraded);
  backend_->Upgrade(std::move(call.done));
  return call.reactor;
}

}  // namespace cashew::rpc

// cashew.admin.v1.AdminService over Backend. What each method promises is said in
// proto/cashew/admin/v1/admin.proto.
#pragma once

#include "cashew/admin/v1/admin.grpc.pb.h"

#include "pkg/base/clock.h"
#include "pkg/rpc/backend.h"

namespace cashew::rpc {

// Thread-safe. Both arguments outlive it; the clock says when an override expires.
class AdminService final : public admin::v1::AdminService::CallbackService {
 public:
  AdminService(Backend* backend, const base::Clock* clock) : backend_(backend), clock_(clock) {}

 private:
  using Context = grpc::CallbackServerContext*;
  using Reactor = grpc::ServerUnaryReactor*;

  Reactor GetStatus(Context context, const admin::v1::GetStatusRequest* request,
                    admin::v1::GetStatusResponse* response) override;
  Reactor GetStats(Context context, const admin::v1::GetStatsRequest* request,
                   admin::v1::GetStatsResponse* response) override;
  Reactor Locate(Context context, const admin::v1::LocateRequest* request,
                 admin::v1::LocateResponse* response) override;
  Reactor GetHotKeys(Context context, const admin::v1::GetHotKeysRequest* request,
                     admin::v1::GetHotKeysResponse* response) override;
  Reactor GetSlowLog(Context context, const admin::v1::GetSlowLogRequest* request,
                     admin::v1::GetSlowLogResponse* response) override;
  Reactor SetOverride(Context context, const admin::v1::SetOverrideRequest* request,
                      admin::v1::SetOverrideResponse* response) override;
  Reactor ClearOverride(Context context, const admin::v1::ClearOverrideRequest* request,
                        admin::v1::ClearOverrideResponse* response) override;
  Reactor Reload(Context context, const admin::v1::ReloadRequest* request,
                 admin::v1::ReloadResponse* response) override;
  Reactor Stop(Context context, const admin::v1::StopRequest* request,
               admin::v1::StopResponse* response) override;
  Reactor Upgrade(Context context, const admin::v1::UpgradeRequest* request,
                  admin::v1::UpgradeResponse* response) override;

  Backend* const backend_;
  const base::Clock* const clock_;
};

}  // namespace cashew::rpc

// A unary call that the backend answers later.
//
//   Later<pool::Applied> call = AnswerLater<pool::Applied>(response, &FillApplied);
//   backend_->SetServers(std::move(update), std::move(call.done));
//   return call.reactor;
//
// The call ends once: with the backend's answer, with CANCELLED when the client gave up first,
// or with UNAVAILABLE when the backend drops `done` uncalled. A `done` that comes when the
// call is over does nothing.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"

#include "pkg/base/mutex.h"
#include "pkg/rpc/backend.h"
#include "pkg/rpc/status.h"

namespace cashew::rpc {

// Keeps itself alive until OnDone; whoever may answer later holds a reference of its own, so
// an answer that comes after OnDone finds the object.
class UnaryCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<UnaryCall> {
 public:
  static std::shared_ptr<UnaryCall> Make() {
    auto call = std::make_shared<UnaryCall>();
    call->self_ = call;
    return call;
  }

  // The first caller ends the call; `fill`, which writes the response, runs for an OK of that
  // one only.
  void End(const absl::Status& status, const std::function<void()>& fill = nullptr) {
    {
      base::MutexLock lock(&mu_);
      if (std::exchange(ended_, true)) return;
    }
    // The response and the reactor are alive: OnDone comes after Finish.
    if (status.ok() && fill != nullptr) fill();
    Finish(ToGrpc(status));
  }

  void OnCancel() override { End(absl::CancelledError("the client gave up")); }
  void OnDone() override { std::exchange(self_, nullptr); }

 private:
  std::shared_ptr<UnaryCall> self_;
  base::Mutex mu_;
  bool ended_ CASHEW_GUARDED_BY(mu_) = false;
};

// The answer is known already.
inline grpc::ServerUnaryReactor* AnswerNow(grpc::CallbackServerContext* context,
                                           const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

template <typename T>
struct Later {
  grpc::ServerUnaryReactor* reactor;  // deletes itself
  Done<T> done;
};

template <typename T, typename Response>
Later<T> AnswerLater(Response* response, void (*fill)(const T&, Response*)) {
  struct Pending {
    std::shared_ptr<UnaryCall> call;
    ~Pending() { call->End(absl::UnavailableError("the proxy is stopping")); }
  };
  auto pending = std::make_shared<Pending>();
  pending->call = UnaryCall::Make();
  grpc::ServerUnaryReactor* reactor = pending->call.get();
  return {reactor, [pending, response, fill](absl::StatusOr<T> result) {
            pending->call->End(result.status(), [&] { fill(*result, response); });
          }};
}

}  // namespace cashew::rpc

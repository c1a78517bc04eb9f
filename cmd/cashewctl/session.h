#pragma once

#include <memory>
#include <ostream>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "cashew/admin/v1/admin.grpc.pb.h"
#include "cashew/membership/v1/membership.grpc.pb.h"
#include "google/protobuf/message.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"
#include "nlohmann/json.hpp"

#include "cmd/cashewctl/connect.h"
#include "cmd/cashewctl/exit_code.h"

namespace cashew::ctl {

// What one run of cashewctl has at hand: its global options, where it prints, and the proxy.
// One thread.
class Session {
 public:
  // `terminal`: `out` is one, so colours and a live view make sense.
  Session(std::ostream& out, std::ostream& err, bool terminal)
      : out_(out), err_(err), terminal_(terminal) {}

  // Filled from the command line before anything below is called.
  ConnectOptions connect;
  std::string timeout;  // as given; empty: each command's own
  std::string output = "table";

  bool json() const { return output == "json"; }
  bool terminal() const { return terminal_; }
  const std::string& address() const { return connect.address; }

  void Print(std::string_view text);
  void PrintJson(const nlohmann::ordered_json& json);
  // A command's answer: the first with --output json, else the text. kDone.
  int Answer(const nlohmann::ordered_json& value, std::string_view text);
  int Answer(const google::protobuf::Message& message, std::string_view text);
  // A line to the error stream, as it is.
  void PrintError(std::string_view line);
  // An error of ours: "cashewctl: text". Gives back `code`.
  int Fail(ExitCode code, std::string_view text);
  // A call that failed: `asked`, and what the proxy said.
  int Fail(std::string_view asked, const grpc::Status& status);

  // Before the first call. kDone, or an error that has been printed. Nothing is sent yet.
  int Connect();

  // How long a call may take that usually takes `usual`: --timeout, if it was given.
  absl::Duration Limit(absl::Duration usual) const;

  membership::v1::MembershipService::Stub& membership() { return *membership_; }
  admin::v1::AdminService::Stub& admin() { return *admin_; }

  // One unary call: `session.Call(session.admin(), &AdminStub::Reload, request, &response)`.
  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(Stub& stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response,
                    absl::Duration usual = kUsualTimeout) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + Limit(usual)));
    return (stub.*method)(&context, request, response);
  }

  static constexpr absl::Duration kUsualTimeout = absl::Seconds(10);

 private:
  std::ostream& out_;
  std::ostream& err_;
  const bool terminal_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<membership::v1::MembershipService::Stub> membership_;
  std::unique_ptr<admin::v1::AdminService::Stub> admin_;
};

using MembershipStub = membership::v1::MembershipService::Stub;
using AdminStub = admin::v1::AdminService::Stub;

}  // namespace cashew::ctl

// What a person says of one server, above every list: server drain, down, up, weight.

#include <limits>
#include <memory>
#include <string>

#include "fmt/format.h"
#include "google/protobuf/util/time_util.h"

#include "cmd/cashewctl/command.h"
#include "cmd/cashewctl/json.h"
#include "cmd/cashewctl/pool_text.h"
#include "cmd/cashewctl/tables.h"
#include "cmd/cashewctl/times.h"

namespace cashew::ctl {
namespace {

using membership::v1::ServerState;

constexpr char kGroup[] = "One server, whatever its pool's list says";

struct Options {
  std::string verb;
  std::string pool;
  std::string server;
  std::string length;  // of --for; empty: until cleared
  uint32_t weight = 0;

  std::string Asked() const { return fmt::format("server {} {} {}", verb, pool, server); }
};

std::shared_ptr<Options> Declare(CLI::App& app) {
  auto options = std::make_shared<Options>();
  options->verb = app.get_name();
  app.add_option("POOL", options->pool, "name of the pool")->required();
  app.add_option("NAME", options->server, "name of the server")->required();
  app.add_option("--for", options->length,
                 "for this long, such as 10m; without it until `server up`")
      ->type_name("TIME");
  return options;
}

// The server as it is now; the change itself is done already, so what fails here is no error.
void PrintServer(Session& session, const Options& options) {
  membership::v1::GetPoolRequest request;
  request.set_pool(options.pool);
  membership::v1::GetPoolResponse answer;
  if (!session.Call(session.membership(), &MembershipStub::GetPool, request, &answer).ok()) return;
  for (const auto& status : answer.pool().servers()) {
    if (status.server().name() == options.server) session.Print(ServerText(status));
  }
}

template <typename Response>
int Report(Session& session, const Options& options, const Response& answer) {
  if (session.json()) {
    session.PrintJson(ToJson(answer));
  } else {
    PrintServer(session, options);
  }
  return kDone;
}

int SetOverride(Session& session, const Options& options, ServerState state) {
  admin::v1::SetOverrideRequest request;
  request.set_pool(options.pool);
  request.set_server(options.server);
  request.set_state(state);
  if (options.weight != 0) request.set_weight(options.weight);
  if (!options.length.empty()) {
    const auto length = ParseLength("--for", options.length);
    if (!length.ok()) return session.Fail(kUsage, std::string(length.status().message()));
    *request.mutable_expires_in() = google::protobuf::util::TimeUtil::MillisecondsToDuration(
        absl::ToInt64Milliseconds(*length));
  }
  admin::v1::SetOverrideResponse answer;
  const grpc::Status status =
      session.Call(session.admin(), &AdminStub::SetOverride, request, &answer);
  if (!status.ok()) return session.Fail(options.Asked(), status);
  return Report(session, options, answer);
}

int ClearOverride(Session& session, const Options& options) {
  admin::v1::ClearOverrideRequest request;
  request.set_pool(options.pool);
  request.set_server(options.server);
  admin::v1::ClearOverrideResponse answer;
  const grpc::Status status =
      session.Call(session.admin(), &AdminStub::ClearOverride, request, &answer);
  if (!status.ok()) return session.Fail(options.Asked(), status);
  return Report(session, options, answer);
}

template <ServerState state>
Action DeclareState(CLI::App& app) {
  auto options = Declare(app);
  return [options](Session& session) { return SetOverride(session, *options, state); };
}

Action DeclareUp(CLI::App& app) {
  auto options = Declare(app);
  app.get_option("--for")->description(
      "ready for this long, whatever the list says; without it the list's word counts again");
  return [options](Session& session) {
    if (options->length.empty()) return ClearOverride(session, *options);
    return SetOverride(session, *options, membership::v1::SERVER_STATE_READY);
  };
}

Action DeclareWeight(CLI::App& app) {
  auto options = Declare(app);
  app.add_option("WEIGHT", options->weight, "its share of the ring, at least 1")
      ->required()
      ->check(CLI::Range(1, std::numeric_limits<int>::max()));
  return [options](Session& session) {
    return SetOverride(session, *options, membership::v1::SERVER_STATE_UNSPECIFIED);
  };
}

constexpr Command kCommands[] = {
    {"server", kGroup, "drains, downs or reweights one server, and takes it back", false, nullptr},
    {"server drain", kGroup,
     "no new requests (a keep_ring pool still serves it); for maintenance to come", true,
     DeclareState<membership::v1::SERVER_STATE_DRAINING>},
    {"server down", kGroup, "no requests (in a keep_ring pool those to it fail at once)", true,
     DeclareState<membership::v1::SERVER_STATE_DOWN>},
    {"server up", kGroup, "as the list says again: clears what the other three said", true,
     DeclareUp},
    {"server weight", kGroup, "another weight than the list's", true, DeclareWeight},
};

}  // namespace

std::span<const Command> ServerCommands() { return kCommands; }

}  // namespace cashew::ctl

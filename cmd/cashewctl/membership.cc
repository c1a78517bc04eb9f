// Showing and changing pools' server lists: pools, servers, set, add, remove, watch.

#include <memory>
#include <string>
#include <vector>

#include "fmt/format.h"

#include "cmd/cashewctl/command.h"
#include "cmd/cashewctl/files.h"
#include "cmd/cashewctl/json.h"
#include "cmd/cashewctl/pool_text.h"
#include "cmd/cashewctl/server_list.h"
#include "cmd/cashewctl/tables.h"
#include "cmd/cashewctl/times.h"

namespace cashew::ctl {
namespace {

namespace v1 = membership::v1;

constexpr char kGroup[] = "Pools and their servers";
// Each round reads the pool again; who loses this often has company that never stops.
constexpr int kRounds = 5;

Action DeclarePools(CLI::App&) {
  return [](Session& session) -> int {
    v1::ListPoolsResponse answer;
    const grpc::Status status =
        session.Call(session.membership(), &MembershipStub::ListPools, {}, &answer);
    if (!status.ok()) return session.Fail("pools", status);
    return session.Answer(answer, PoolsTable(answer).Render(session.terminal()));
  };
}

std::shared_ptr<std::string> DeclarePool(CLI::App& app) {
  auto pool = std::make_shared<std::string>();
  app.add_option("POOL", *pool, "name of the pool")->required();
  return pool;
}

grpc::Status GetPool(Session& session, const std::string& name, v1::Pool* pool) {
  v1::GetPoolRequest request;
  request.set_pool(name);
  v1::GetPoolResponse answer;
  const grpc::Status status =
      session.Call(session.membership(), &MembershipStub::GetPool, request, &answer);
  if (status.ok()) pool->Swap(answer.mutable_pool());
  return status;
}

Action DeclareServers(CLI::App& app) {
  auto name = DeclarePool(app);
  return [name](Session& session) -> int {
    v1::Pool pool;
    const grpc::Status status = GetPool(session, *name, &pool);
    if (!status.ok()) return session.Fail(fmt::format("servers {}", *name), status);
    return session.Answer(pool, PoolText(pool, session.terminal()));
  };
}

// What set, add and remove have in common.
struct ChangeOptions {
  std::string verb;
  std::string pool;
  bool dry_run = false;
  bool take_over = false;

  std::string Asked() const { return fmt::format("{} {}", verb, pool); }
};

void DeclareChange(CLI::App& app, ChangeOptions* options) {
  options->verb = app.get_name();
  app.add_option("POOL", options->pool, "name of the pool")->required();
  app.add_flag("--dry-run", options->dry_run, "say what would change, and change nothing");
  app.add_flag("--take-over", options->take_over,
               "even while a sidecar's stream owns the pool; its next list wins again");
}

grpc::Status SetServers(Session& session, const ChangeOptions& options, uint64_t expected_version,
                        ServerList list, v1::SetServersResponse* answer) {
  v1::SetServersRequest request;
  request.set_pool(options.pool);
  request.mutable_servers()->Swap(&list);
  request.set_expected_version(expected_version);
  request.set_dry_run(options.dry_run);
  request.set_take_over(options.take_over);
  return session.Call(session.membership(), &MembershipStub::SetServers, request, answer);
}

int Report(Session& session, const ChangeOptions& options, const v1::SetServersResponse& answer) {
  return session.Answer(answer, ChangeText(options.pool, options.dry_run, answer));
}

// FAILED_PRECONDITION says either that a stream owns the pool, which is a conflict, or that the
// pool takes no updates at all; the pool tells which.
int FailChange(Session& session, const ChangeOptions& options, const grpc::Status& status) {
  const int code = session.Fail(options.Asked(), status);
  v1::Pool pool;
  if (status.error_code() != grpc::StatusCode::FAILED_PRECONDITION ||
      !GetPool(session, options.pool, &pool).ok() || pool.updater().empty()) {
    return code;
  }
  return kConflict;
}

Action DeclareSet(CLI::App& app) {
  struct Options : ChangeOptions {
    std::vector<std::string> servers;
    std::string file;
    uint64_t if_version = 0;
  };
  auto options = std::make_shared<Options>();
  DeclareChange(app, options.get());
  auto* servers = app.add_option("SERVER", options->servers,
                                 "NAME=HOST:PORT[:WEIGHT], all that the pool shall have");
  app.add_option("-f,--file", options->file,
                 "read them from a file instead: one a line, YAML or JSON; - is standard input")
      ->type_name("FILE")
      ->excludes(servers);
  app.add_option("--if-version", options->if_version,
                 "only if the pool's version is this; else a conflict")
      ->type_name("N");
  return [options](Session& session) -> int {
    if (options->servers.empty() && options->file.empty()) {
      return session.Fail(kUsage, "set: give the servers, NAME=HOST:PORT[:WEIGHT]…, or -f FILE");
    }
    absl::StatusOr<ServerList> list = ParseServerArguments(options->servers);
    if (!options->file.empty()) {
      const absl::StatusOr<std::string> text = ReadFile(options->file);
      if (!text.ok()) return session.Fail(kUsage, std::string(text.status().message()));
      list = ParseServerFile(*text, options->file);
    }
    if (!list.ok()) return session.Fail(kUsage, std::string(list.status().message()));
    v1::SetServersResponse answer;
    const grpc::Status status =
        SetServers(session, *options, options->if_version, *std::move(list), &answer);
    if (!status.ok()) return FailChange(session, *options, status);
    return Report(session, *options, answer);
  };
}

// Reads the list, edits it and sends it back on condition that nobody changed it meanwhile;
// from the start again when somebody did.
using Edit = std::function<absl::Status(ServerList*)>;

int ChangeList(Session& session, const ChangeOptions& options, const Edit& edit) {
  grpc::Status status;
  for (int round = 0; round < kRounds; ++round) {
    v1::Pool pool;
    status = GetPool(session, options.pool, &pool);
    if (!status.ok()) return session.Fail(options.Asked(), status);
    ServerList list = ListOf(pool);
    const absl::Status edited = edit(&list);
    if (!edited.ok()) {
      const ExitCode code = absl::IsNotFound(edited) ? kNotFound : kConflict;
      return session.Fail(code,
                          fmt::format("{}: {}", options.Asked(), std::string(edited.message())));
    }
    v1::SetServersResponse answer;
    status = SetServers(session, options, pool.version(), std::move(list), &answer);
    if (status.ok()) return Report(session, options, answer);
    if (status.error_code() != grpc::StatusCode::ABORTED) break;
  }
  return FailChange(session, options, status);
}

Action DeclareAdd(CLI::App& app) {
  struct Options : ChangeOptions {
    std::vector<std::string> servers;
    bool replace = false;
  };
  auto options = std::make_shared<Options>();
  DeclareChange(app, options.get());
  app.add_option("SERVER", options->servers, "NAME=HOST:PORT[:WEIGHT]")->required();
  app.add_flag("--replace", options->replace,
               "give a server that is in the list the new address, and the weight if one is given");
  return [options](Session& session) -> int {
    const absl::StatusOr<ServerList> added = ParseServerArguments(options->servers);
    if (!added.ok()) return session.Fail(kUsage, std::string(added.status().message()));
    return ChangeList(session, *options,
                      [&](ServerList* list) { return AddServers(*added, options->replace, list); });
  };
}

Action DeclareRemove(CLI::App& app) {
  struct Options : ChangeOptions {
    std::vector<std::string> names;
  };
  auto options = std::make_shared<Options>();
  DeclareChange(app, options.get());
  app.add_option("NAME", options->names, "names of servers in the list")->required();
  return [options](Session& session) -> int {
    return ChangeList(session, *options,
                      [&](ServerList* list) { return RemoveServers(options->names, list); });
  };
}

void PrintWatched(Session& session, const v1::WatchPoolResponse& update, bool first) {
  if (session.json()) {
    session.Print(DumpLine(ToJson(update)));
  } else if (first) {
    session.Print(PoolText(update.pool(), session.terminal()));
  } else {
    session.Print(UpdateText(update, absl::Now()));
  }
}

Action DeclareWatch(CLI::App& app) {
  struct Options {
    std::string pool;
    int count = 0;
  };
  auto options = std::make_shared<Options>();
  app.add_option("POOL", options->pool, "name of the pool")->required();
  app.add_option("--count", options->count, "end after this many answers")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  return [options](Session& session) -> int {
    const std::string asked = fmt::format("watch {}", options->pool);
    // A stream has no deadline; this call's tells an address where nobody answers.
    v1::Pool pool;
    const grpc::Status reached = GetPool(session, options->pool, &pool);
    if (!reached.ok()) return session.Fail(asked, reached);
    v1::WatchPoolRequest request;
    request.set_pool(options->pool);
    grpc::ClientContext context;
    const auto stream = session.membership().WatchPool(&context, request);
    v1::WatchPoolResponse update;
    int answers = 0;
    while (stream->Read(&update)) {
      PrintWatched(session, update, answers == 0);
      if (++answers == options->count) {
        context.TryCancel();
        return kDone;
      }
    }
    const grpc::Status status = stream->Finish();
    if (!status.ok()) return session.Fail(asked, status);
    return session.Fail(kUnreachable, fmt::format("{}: the proxy ended the watch", asked));
  };
}

constexpr Command kCommands[] = {
    {"pools", kGroup, "every pool, in short", true, DeclarePools},
    {"servers", kGroup, "a pool and its servers", true, DeclareServers},
    {"watch", kGroup, "a pool, and each change of it as it happens", true, DeclareWatch},
    {"set", kGroup, "replaces a pool's server list", true, DeclareSet},
    {"add", kGroup, "adds servers to a pool's list", true, DeclareAdd},
    {"remove", kGroup, "takes servers out of a pool's list", true, DeclareRemove},
};

}  // namespace

std::span<const Command> MembershipCommands() { return kCommands; }

}  // namespace cashew::ctl

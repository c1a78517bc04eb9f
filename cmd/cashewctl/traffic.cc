// What a pool's requests are: its hot keys, and those that were slow.

#include <memory>
#include <string>

#include "fmt/format.h"

#include "cmd/cashewctl/command.h"
#include "cmd/cashewctl/json.h"
#include "cmd/cashewctl/tables.h"
#include "cmd/cashewctl/times.h"

namespace cashew::ctl {
namespace {

namespace v1 = admin::v1;

constexpr char kGroup[] = "What its requests are";
constexpr int kMaxShown = 10'000;

// The part of a longer key that is not shown is said.
std::string KeyText(const v1::HotKey& key) {
  constexpr uint32_t kShown = 250;
  if (key.key_bytes() <= kShown) return key.key();
  return fmt::format("{}...({} more)", key.key(), key.key_bytes() - kShown);
}

std::string HotKeysText(const v1::GetHotKeysResponse& answer, bool terminal) {
  Table table({{"SHARE", Align::kRight}, {"PER SECOND", Align::kRight}, {"KEY"}});
  for (const v1::HotKey& key : answer.keys()) {
    table.Add({fmt::format("{:.2f}%", 100 * key.share()), fmt::format("{:.1f}", key.per_second()),
               KeyText(key)});
  }
  const std::string seen = fmt::format("{} keys looked at within {:.0f} s, one in {}\n",
                                       answer.samples(), answer.window_seconds(), answer.sample());
  return answer.keys().empty() ? seen : table.Render(terminal) + "\n" + seen;
}

Action DeclareHotKeys(CLI::App& app) {
  struct Options {
    std::string pool;
    uint32_t limit = 20;
  };
  auto options = std::make_shared<Options>();
  app.add_option("POOL", options->pool, "name of the pool")->required();
  app.add_option("--limit", options->limit, "keys to show")
      ->check(CLI::Range(1, kMaxShown))
      ->capture_default_str();
  return [options](Session& session) -> int {
    v1::GetHotKeysRequest request;
    request.set_pool(options->pool);
    request.set_limit(options->limit);
    v1::GetHotKeysResponse answer;
    const grpc::Status status =
        session.Call(session.admin(), &AdminStub::GetHotKeys, request, &answer);
    if (!status.ok()) return session.Fail("hotkeys " + options->pool, status);
    return session.Answer(answer, HotKeysText(answer, session.terminal()));
  };
}

std::string Milliseconds(int64_t us) {
  return fmt::format("{:.3f}", static_cast<double>(us) / 1000);
}

std::string SlowLogText(const v1::GetSlowLogResponse& answer, bool terminal) {
  if (answer.requests().empty()) return "no slow requests are kept\n";
  Table table({{"ENDED"},
               {"POOL"},
               {"SERVER"},
               {"TOTAL MS", Align::kRight},
               {"QUEUED", Align::kRight},
               {"AT SERVER", Align::kRight},
               {"HELD", Align::kRight},
               {"PARTS", Align::kRight},
               {"OUTCOME"},
               {"COMMAND"},
               {"KEY"}});
  for (const v1::SlowRequest& request : answer.requests()) {
    table.Add(
        {Seconds(request.ended_at()), request.pool(), request.server(),
         Milliseconds(request.total_us()), Milliseconds(request.queued_us()),
         Milliseconds(request.server_us()), Milliseconds(request.held_us()),
         std::to_string(request.parts()), request.outcome(), request.command(), request.key()},
        request.outcome() == "ok" ? Tone::kPlain : Tone::kBad);
  }
  return table.Render(terminal);
}

Action DeclareSlowLog(CLI::App& app) {
  struct Options {
    std::string pool;
    uint32_t limit = 0;
    bool reset = false;
  };
  auto options = std::make_shared<Options>();
  app.add_option("POOL", options->pool, "name of the pool; without it, all pools");
  app.add_option("--limit", options->limit, "newest entries to show; without it, all")
      ->check(CLI::Range(1, kMaxShown));
  app.add_flag("--reset", options->reset, "and forget them, those not shown as well");
  return [options](Session& session) -> int {
    v1::GetSlowLogRequest request;
    request.set_pool(options->pool);
    request.set_limit(options->limit);
    request.set_reset(options->reset);
    v1::GetSlowLogResponse answer;
    const grpc::Status status =
        session.Call(session.admin(), &AdminStub::GetSlowLog, request, &answer);
    if (!status.ok()) return session.Fail("slowlog", status);
    return session.Answer(answer, SlowLogText(answer, session.terminal()));
  };
}

constexpr Command kCommands[] = {
    {"hotkeys", kGroup, "the keys of a pool that come most often (hot_keys_sample)", true,
     DeclareHotKeys},
    {"slowlog", kGroup, "the last requests that took long (slow_log), and where", true,
     DeclareSlowLog},
};

}  // namespace

std::span<const Command> TrafficCommands() { return kCommands; }

}  // namespace cashew::ctl

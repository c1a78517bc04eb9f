// The counters: stats, and stats --watch.

#include <memory>
#include <optional>
#include <string>

#include "absl/time/clock.h"
#include "fmt/format.h"

#include "cmd/cashewctl/command.h"
#include "cmd/cashewctl/errors.h"
#include "cmd/cashewctl/json.h"
#include "cmd/cashewctl/live_screen.h"
#include "cmd/cashewctl/stats_view.h"
#include "cmd/cashewctl/times.h"

namespace cashew::ctl {
namespace {

// One call holds up the live view for this long at most.
constexpr absl::Duration kLiveTimeout = absl::Seconds(2);

struct Options {
  bool watch = false;
  std::string interval = "1s";
  int count = 0;  // 0: until somebody leaves
};

int PrintStats(Session& session) {
  admin::v1::GetStatsResponse answer;
  const grpc::Status status = session.Call(session.admin(), &AdminStub::GetStats, {}, &answer);
  if (!status.ok()) return session.Fail("stats", status);
  session.Print(answer.json());
  if (answer.json().empty() || answer.json().back() != '\n') session.Print("\n");
  return kDone;
}

struct Taken {
  grpc::Status status;
  std::optional<Sample> sample;  // set when `status` is OK
};

Taken TakeSample(Session& session) {
  admin::v1::GetStatsResponse answer;
  const grpc::Status status =
      session.Call(session.admin(), &AdminStub::GetStats, {}, &answer, kLiveTimeout);
  if (!status.ok()) return {status, std::nullopt};
  absl::StatusOr<Sample> sample = ParseStats(answer.json(), absl::Now());
  if (sample.ok()) return {grpc::Status::OK, *std::move(sample)};
  return {grpc::Status(grpc::StatusCode::INTERNAL, std::string(sample.status().message())),
          std::nullopt};
}

// For a pipe or a file: ends at the first error.
int WatchLines(Session& session, const Options& options, absl::Duration interval) {
  Taken before = TakeSample(session);
  for (int round = 0; before.sample && (options.count == 0 || round < options.count); ++round) {
    absl::SleepFor(interval);
    Taken now = TakeSample(session);
    if (now.sample) {
      const auto rates = RatesBetween(*before.sample, *now.sample);
      session.Print(session.json() ? DumpLine(RatesJson(rates, now.sample->at))
                                   : RatesLines(rates, now.sample->at));
    }
    before = std::move(now);
  }
  return before.sample ? kDone : session.Fail("stats --watch", before.status);
}

std::string Frame(Session& session, const Sample* before, const Sample& now) {
  const std::string head =
      fmt::format("cashew {} at {}, up {}   (q leaves)\n\n", Printable(now.version),
                  Printable(session.address()), absl::FormatDuration(absl::Seconds(now.uptime)));
  if (before == nullptr) return head + "measuring\n";
  return head + RatesTable(RatesBetween(*before, now)).Render(true);
}

// For a person: a proxy that is away for a moment (an upgrade) is waited for.
int WatchLive(Session& session, const Options& options, absl::Duration interval) {
  Taken before = TakeSample(session);
  if (!before.sample) return session.Fail("stats --watch", before.status);
  LiveScreen screen;
  screen.Show(Frame(session, nullptr, *before.sample));
  for (int round = 0; options.count == 0 || round < options.count; ++round) {
    if (screen.Wait(absl::Now() + interval)) return kDone;
    Taken now = TakeSample(session);
    if (now.sample) {
      screen.Show(Frame(session, &*before.sample, *now.sample));
      before = std::move(now);
    } else {
      screen.Show(Explain("stats --watch", session.address(), now.status) + "\n\ntrying again\n");
    }
  }
  return kDone;
}

Action DeclareStats(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::Option* watch =
      app.add_flag("--watch", options->watch, "rates of every pool and server, again and again");
  app.add_option("--interval", options->interval, "how often")
      ->type_name("TIME")
      ->needs(watch)
      ->capture_default_str();
  app.add_option("--count", options->count, "end after this many")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->needs(watch);
  return [options](Session& session) -> int {
    const auto interval = ParseLength("--interval", options->interval);
    if (!interval.ok()) return session.Fail(kUsage, std::string(interval.status().message()));
    const bool live = options->watch && session.terminal() && !session.json();
    if (live) LiveScreen::BlockSignals();
    if (const int code = session.Connect(); code != kDone) return code;
    if (!options->watch) return PrintStats(session);
    return live ? WatchLive(session, *options, *interval)
                : WatchLines(session, *options, *interval);
  };
}

constexpr Command kCommands[] = {
    {"stats", "The proxy", "the counters as JSON, or as rates with --watch", false, DeclareStats},
};

}  // namespace

std::span<const Command> StatsCommands() { return kCommands; }

}  // namespace cashew::ctl

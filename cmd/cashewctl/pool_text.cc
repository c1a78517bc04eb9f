#include "cmd/cashewctl/pool_text.h"

#include <algorithm>
#include <vector>

#include "fmt/format.h"

#include "cmd/cashewctl/json.h"
#include "cmd/cashewctl/times.h"

namespace cashew::ctl {
namespace {

namespace v1 = membership::v1;

uint32_t ListedWeight(const v1::Server& server) {
  return server.has_weight() ? server.weight() : 1;
}

std::string StateName(v1::ServerState state) {
  // Unset means ready.
  if (state == v1::SERVER_STATE_UNSPECIFIED) state = v1::SERVER_STATE_READY;
  return ShortName(*v1::ServerState_descriptor(), state);
}

// The state in force: a person's word goes above the list's.
std::string StateInForce(const v1::ServerStatus& status) {
  const bool said = status.override().state() != v1::SERVER_STATE_UNSPECIFIED;
  return StateName(said ? status.override().state() : status.server().state());
}

uint32_t WeightInForce(const v1::ServerStatus& status) {
  return status.override().has_weight() ? status.override().weight()
                                        : ListedWeight(status.server());
}

std::string Health(const v1::ServerStatus& status) {
  return status.healthy() ? "healthy" : "unhealthy";
}

std::string Names(const google::protobuf::RepeatedPtrField<std::string>& names) {
  return Printable(fmt::format("{}", fmt::join(names, ", ")));
}

// "added a, b; removed c", without what is empty.
template <typename Change>
std::string Changes(const Change& change) {
  std::vector<std::string> parts;
  if (!change.added().empty()) parts.push_back("added " + Names(change.added()));
  if (!change.removed().empty()) parts.push_back("removed " + Names(change.removed()));
  if (!change.changed().empty()) parts.push_back("changed " + Names(change.changed()));
  return fmt::format("{}", fmt::join(parts, "; "));
}

bool Contains(const google::protobuf::RepeatedPtrField<std::string>& names,
              const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string PoolLine(const v1::Pool& pool) {
  std::string line =
      fmt::format("pool {}: {}, {}, {} {}, {}, version {}, {} of {} servers live", pool.name(),
                  pool.protocol(), pool.membership(), pool.hash(), pool.distribution(),
                  pool.eject_mode(), pool.version(), pool.live_servers(), pool.server_count());
  if (!pool.updater().empty()) line += fmt::format(", owned by {}", pool.updater());
  if (!pool.source().empty()) line += fmt::format(", list from {}", pool.source());
  if (!pool.source_version().empty()) line += fmt::format(" ({})", pool.source_version());
  return Printable(line) + "\n";
}

}  // namespace

Table PoolsTable(const v1::ListPoolsResponse& answer) {
  Table table({{"POOL"},
               {"PROTOCOL"},
               {"MEMBERSHIP"},
               {"LIVE", Align::kRight},
               {"SERVERS", Align::kRight},
               {"VERSION", Align::kRight},
               {"CHECKSUM"},
               {"LIST FROM"},
               {"OWNER"},
               {"UPDATED"}});
  for (const v1::Pool& pool : answer.pools()) {
    const bool whole = pool.live_servers() == pool.server_count() && pool.server_count() > 0;
    table.Add({pool.name(), pool.protocol(), pool.membership(), std::to_string(pool.live_servers()),
               std::to_string(pool.server_count()), std::to_string(pool.version()),
               fmt::format("{:08x}", pool.membership_checksum()), pool.source(), pool.updater(),
               Seconds(pool.updated_at())},
              whole ? Tone::kPlain : Tone::kBad);
  }
  return table;
}

std::string PoolText(const v1::Pool& pool, bool terminal) {
  Table table({{"SERVER"},
               {"ADDRESS"},
               {"IP"},
               {"WEIGHT", Align::kRight},
               {"STATE"},
               {"HEALTH"},
               {"ROUTED"},
               {"ZONE"},
               {"OVERRIDE"}});
  for (const v1::ServerStatus& status : pool.servers()) {
    const v1::Server& server = status.server();
    table.Add({server.name(), server.address(), status.ip(), std::to_string(WeightInForce(status)),
               status.held() ? "held" : StateInForce(status), Health(status),
               status.routed() ? "yes" : "no", server.zone(),
               status.has_override() ? OverrideText(status.override()) : ""},
              status.healthy() && status.routed() ? Tone::kPlain : Tone::kBad);
  }
  return PoolLine(pool) + table.Render(terminal);
}

std::string ServerText(const v1::ServerStatus& status) {
  const v1::Server& server = status.server();
  std::string text = fmt::format("{}: {} weight {}, {}, {}, {}", server.name(), server.address(),
                                 WeightInForce(status), StateInForce(status), Health(status),
                                 status.routed() ? "routed" : "not routed");
  if (status.has_override())
    text += fmt::format(" (override: {})", OverrideText(status.override()));
  return Printable(text) + "\n";
}

std::string ChangeText(const std::string& pool, bool dry_run,
                       const v1::SetServersResponse& answer) {
  const std::string changes = Changes(answer);
  const std::string what = changes.empty() ? "nothing to change" : changes;
  return fmt::format("pool {}: {}{}; version {}, ring checksum {:08x}\n", Printable(pool),
                     dry_run ? "dry run: " : "", what, answer.version(), answer.ring_checksum());
}

std::string UpdateText(const v1::WatchPoolResponse& update, absl::Time now) {
  const std::string changes = Changes(update);
  std::string text =
      fmt::format("{} version {}, {} of {} servers live: {}\n",
                  absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", now, absl::UTCTimeZone()),
                  update.pool().version(), update.pool().live_servers(),
                  update.pool().server_count(), changes.empty() ? "no server changed" : changes);
  for (const v1::ServerStatus& status : update.pool().servers()) {
    const std::string& name = status.server().name();
    if (Contains(update.added(), name) || Contains(update.changed(), name)) {
      text += "  " + ServerText(status);
    }
  }
  return text;
}

std::string OverrideText(const v1::Override& override_) {
  std::vector<std::string> parts;
  if (override_.state() != v1::SERVER_STATE_UNSPECIFIED) {
    parts.push_back(StateName(override_.state()));
  }
  if (override_.has_weight()) parts.push_back(fmt::format("weight {}", override_.weight()));
  if (override_.has_expires_at()) {
    parts.push_back(fmt::format("until {}", Seconds(override_.expires_at())));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace cashew::ctl

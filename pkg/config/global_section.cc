#include "pkg/config/global_section.h"

#include <utility>

namespace cashew::config {

namespace {

constexpr std::string_view kOff = "off";
constexpr std::string_view kAuto = "auto";
constexpr std::string_view kUnix = "unix:";
constexpr int64_t kMaxWorkers = 1024;
constexpr int64_t kMinBufferMemory = int64_t{1} << 20;
constexpr int64_t kMaxSlowLogSize = 10'000;  // of each worker: some 3 MB

bool IsAuto(const Field& field) {
  const YamlNode& value = field.value();
  return value.is_scalar() && value.text == kAuto;
}

bool IsUnix(std::string_view address) { return address.substr(0, kUnix.size()) == kUnix; }

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.substr(0, 4) == "127.";
}

// `*` is twemproxy's trap; new keys need not repeat it.
absl::StatusOr<Address> ParseOwnListener(std::string_view text) {
  absl::StatusOr<Address> address = ParseHostPort(text, 0);
  if (address.ok() && address->host == "*") {
    return absl::InvalidArgumentError(
        fmt::format("{} has the host `*`; write 0.0.0.0 for every interface", Quoted(text)));
  }
  return address;
}

absl::StatusOr<std::string> ParseAdmin(std::string_view text) {
  if (text == kOff) return std::string(text);
  const absl::StatusOr<Address> address = ParseOwnListener(text);
  if (address.ok()) return std::string(text);
  return absl::InvalidArgumentError(
      fmt::format("{}, or `off`", std::string(address.status().message())));
}

absl::StatusOr<std::string> ParseGrpc(std::string_view text) {
  if (!IsUnix(text)) {
    const absl::StatusOr<std::string> parsed = ParseAdmin(text);
    if (parsed.ok()) return parsed;
    return absl::InvalidArgumentError(
        fmt::format("{}, or `unix:/path`", std::string(parsed.status().message())));
  }
  const absl::StatusOr<std::string> path = ParseUnixPath(text.substr(kUnix.size()));
  if (!path.ok()) return path.status();
  return std::string(text);
}

void ReadWorkers(const Field& field, Global* global) {
  if (IsAuto(field)) return;
  field.Read(ParseNumber, &global->workers, NumberRange{.min = 1, .max = kMaxWorkers});
}

void ReadMemory(const Field& field, Global* global) {
  if (IsAuto(field)) return;
  field.Read(ParseSize, &global->max_buffer_memory, kMinBufferMemory);
}

void ReadSans(const Field& field, std::vector<std::string>* sans) {
  const YamlNode& value = field.value();
  if (!value.is_sequence() || value.items.empty()) {
    field.Error("expects a list of names, such as [cashew-sidecar]");
    return;
  }
  for (const YamlNode* item : value.items) {
    if (item->is_scalar() && !item->text.empty()) {
      sans->push_back(item->text);
    } else {
      field.ErrorAt(item->line, "an entry is not a name; such as [cashew-sidecar]");
    }
  }
}

constexpr KeyRow<GrpcTls> kGrpcTlsRows[] = {
    {"cert", [](const Field& f, GrpcTls* t) { f.ReadText(&t->cert); }},
    {"key", [](const Field& f, GrpcTls* t) { f.ReadText(&t->key); }},
    {"client_ca", [](const Field& f, GrpcTls* t) { f.ReadText(&t->client_ca); }},
    {"allowed_sans", [](const Field& f, GrpcTls* t) { ReadSans(f, &t->allowed_sans); }},
    {"admin_sans", [](const Field& f, GrpcTls* t) { ReadSans(f, &t->admin_sans); }},
};

constexpr std::string_view kOptionalTlsKey = "admin_sans";

void ReadGrpcTls(const Field& field, Global* global) {
  GrpcTls tls;
  const Seen seen = ReadSubsection<GrpcTls>(field, kGrpcTlsRows, &tls);
  std::vector<std::string_view> missing;
  for (const KeyRow<GrpcTls>& row : kGrpcTlsRows) {
    if (!seen.Has(row.name) && row.name != kOptionalTlsKey) missing.push_back(row.name);
  }
  if (field.value().is_map() && !missing.empty()) {
    field.Error(fmt::format("lacks {}; clients must show a certificate with an allowed name",
                            fmt::join(missing, ", ")));
  }
  global->grpc_tls = std::move(tls);
}

constexpr KeyRow<Global> kGlobalRows[] = {
    {"workers", ReadWorkers},
    {"admin",
     [](const Field& f, Global* g) { g->admin_configured = f.Read(ParseAdmin, &g->admin); }},
    {"admin_public", [](const Field& f, Global* g) { f.Read(ParseBool, &g->admin_public); }},
    {"grpc", [](const Field& f, Global* g) { g->grpc_configured = f.Read(ParseGrpc, &g->grpc); }},
    {"grpc_tls", ReadGrpcTls},
    {"state_dir", [](const Field& f, Global* g) { f.ReadText(&g->state_dir); }},
    {"drain_timeout",
     [](const Field& f, Global* g) { f.Read(ParseDuration, &g->drain_timeout_ms, 0); }},
    {"drain_grace",
     [](const Field& f, Global* g) { f.Read(ParseDuration, &g->drain_grace_ms, 0); }},
    {"watch_config", [](const Field& f, Global* g) { f.Read(ParseBool, &g->watch_config); }},
    {"max_client_connections",
     [](const Field& f, Global* g) {
       f.Read(ParseNumber, &g->max_client_connections, NumberRange{.example = 100000});
     }},
    {"max_buffer_memory", ReadMemory},
    {"slow_log_size",
     [](const Field& f, Global* g) {
       f.Read(ParseNumber, &g->slow_log_size,
              NumberRange{.min = 1, .max = kMaxSlowLogSize, .example = 128});
     }},
};

// Who may change membership may take the cache: beyond loopback that needs a certificate.
void CheckGrpc(Report* report, const Global& global, const Seen& seen) {
  const bool tcp = global.grpc_configured && global.grpc != kOff && !IsUnix(global.grpc);
  if (tcp && !seen.Has("grpc_tls")) {
    const absl::StatusOr<Address> address = ParseHostPort(global.grpc, 0);
    if (address.ok() && !IsLoopback(address->host)) {
      report->Error(seen.LineOf("grpc"), "", "global.grpc",
                    fmt::format("{} is reachable from other machines and needs grpc_tls; add it, "
                                "or listen on 127.0.0.1 or unix:/path",
                                Quoted(global.grpc)));
    }
  }
  if (!tcp && !seen.IsBad("grpc") && seen.IsGood("grpc_tls")) {
    report->Warn(seen.LineOf("grpc_tls"), "", "global.grpc_tls",
                 "has no effect without a TCP address in grpc");
  }
}

}  // namespace

std::vector<std::string_view> GlobalKeys() { return NamesOf<Global>(kGlobalRows); }

Global ReadGlobal(Report* report, int line, const YamlNode& value) {
  Global global;
  global.present = true;
  global.line = line;
  const Seen seen = ReadSection<Global>(report, "", "global.", value, kGlobalRows, &global);
  CheckGrpc(report, global, seen);
  return global;
}

}  // namespace cashew::config

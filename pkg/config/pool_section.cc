#include "pkg/config/pool_section.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "pkg/base/log.h"
#include "pkg/ring/server.h"

namespace cashew::config {

namespace {

constexpr int64_t kMinClientBuffer = int64_t{16} << 10;  // one read
constexpr int64_t kMaxSample = 1'000'000'000;

template <typename E>
struct Choice {
  std::string_view name;
  E value;
};
constexpr Choice<Compat> kCompats[] = {{"improved", Compat::kImproved},
                                       {"strict", Compat::kStrict}};
constexpr Choice<Membership> kMemberships[] = {{"static", Membership::kStatic},
                                               {"grpc", Membership::kGrpc}};
constexpr Choice<EjectMode> kEjectModes[] = {{"rehash", EjectMode::kRehash},
                                             {"keep_ring", EjectMode::kKeepRing}};
constexpr Choice<GetErrors> kGetErrors[] = {{"error", GetErrors::kError},
                                            {"miss", GetErrors::kMiss}};

void RejectChoice(const Field& field, const std::string& text,
                  std::span<const std::string_view> names) {
  const std::optional<std::string_view> near = Nearest(text, names);
  field.Error(fmt::format("{} is not one of {}{}", Quoted(text), fmt::join(names, ", "),
                          near ? fmt::format("; did you mean {}?", *near) : ""));
}

template <typename E, size_t N>
void ReadChoice(const Field& field, const Choice<E> (&choices)[N], E* out) {
  const std::string* text = field.Scalar();
  if (text == nullptr) return;
  std::vector<std::string_view> names;
  for (const Choice<E>& choice : choices) {
    if (choice.name == *text) {
      *out = choice.value;
      return;
    }
    names.push_back(choice.name);
  }
  RejectChoice(field, *text, names);
}

// For names that another module knows.
template <typename E>
void ReadName(const Field& field, std::optional<E> (*from_name)(std::string_view),
              std::span<const std::string_view> names, E* out) {
  const std::string* text = field.Scalar();
  if (text == nullptr) return;
  if (const std::optional<E> value = from_name(*text)) {
    *out = *value;
  } else {
    RejectChoice(field, *text, names);
  }
}

void ReadListen(const Field& field, Pool* pool) {
  if (!field.Read(ParseListen, &pool->listen)) return;
  pool->listen.line = field.line();
  if (pool->listen.host == "*") {
    field.Warn(
        "`*` listens on loopback only, as it does in twemproxy; write 0.0.0.0 for every "
        "interface, or 127.0.0.1 if loopback is meant");
  }
}

void ReadHashTag(const Field& field, Pool* pool) {
  const std::string* text = field.Scalar();
  if (text == nullptr) return;
  if (text->size() != 2) {
    field.Error(fmt::format("{} has {} byte{}; give exactly two, such as \"{{}}\"", Quoted(*text),
                            text->size(), text->size() == 1 ? "" : "s"));
    return;
  }
  pool->hash_tag = {(*text)[0], (*text)[1]};
}

void ReadFailureLimit(const Field& field, Pool* pool) {
  const YamlNode& value = field.value();
  if (value.is_scalar() && value.text.find_first_not_of('0') == std::string::npos) {
    field.Warn("0 acts like 1, as it does in twemproxy; write 1");
    pool->server_failure_limit = 1;
    return;
  }
  field.Read(ParseNumber, &pool->server_failure_limit, NumberRange{.min = 1, .example = 2});
}

void ReadServer(const Field& field, const YamlNode& item, Pool* pool) {
  if (!item.is_scalar() || item.text.empty()) {
    const bool missing = item.is_scalar() || item.is_missing();
    field.ErrorAt(item.line,
                  fmt::format("{}; write host:port:weight [name], such as 10.0.0.1:11211:1 cache-0",
                              missing         ? "an entry has no value"
                              : item.is_map() ? "an entry is a mapping"
                                              : "an entry is a list"));
    return;
  }
  absl::StatusOr<Server> server = ParseServer(item.text);
  if (!server.ok()) {
    field.ErrorAt(item.line, std::string(server.status().message()));
    return;
  }
  server->line = item.line;
  server->address.line = item.line;
  if (server->address.host == "*") {
    field.WarnAt(item.line,
                 "the host `*` means loopback, as it does in twemproxy; write "
                 "127.0.0.1");
  }
  pool->servers.push_back(*std::move(server));
}

// The file's order does not count, and two servers cannot have one name.
void SortServers(const Field& field, std::vector<Server>* servers) {
  std::stable_sort(servers->begin(), servers->end(),
                   [](const Server& a, const Server& b) { return ring::NameLess(a.name, b.name); });
  for (size_t i = 1; i < servers->size(); ++i) {
    const Server& first = (*servers)[i - 1];
    const Server& second = (*servers)[i];
    if (first.name != second.name) continue;
    field.ErrorAt(second.line,
                  fmt::format("two servers are named {}, the first on line {}; give each a name "
                              "of its own, such as \"{}:{} cache-1\"",
                              Quoted(first.name), first.line, base::Escape(second.address.text, 64),
                              second.weight));
  }
}

void ReadServers(const Field& field, Pool* pool) {
  const YamlNode& value = field.value();
  if (value.is_scalar() && value.text.size() > 1 && value.text.front() == '-') {
    field.Error("no space after the dash; write `- 10.0.0.1:11211:1`, one server on each line");
    return;
  }
  if (!value.is_sequence()) {
    field.Error(
        fmt::format("expects a list, found {}; write each server on a line of its own, "
                    "such as `- 10.0.0.1:11211:1`",
                    value.is_map() ? "a mapping" : "one value"));
    return;
  }
  for (const YamlNode* item : value.items) ReadServer(field, *item, pool);
  SortServers(field, &pool->servers);
}

constexpr KeyRow<HealthCheck> kHealthCheckRows[] = {
    {"interval",
     [](const Field& f, HealthCheck* h) { f.Read(ParseDuration, &h->interval_ms, 10); }},
    {"timeout", [](const Field& f, HealthCheck* h) { f.Read(ParseDuration, &h->timeout_ms, 1); }},
    {"rise",
     [](const Field& f, HealthCheck* h) {
       f.Read(ParseNumber, &h->rise, NumberRange{.min = 1, .max = 1000});
     }},
    {"fall",
     [](const Field& f, HealthCheck* h) {
       f.Read(ParseNumber, &h->fall, NumberRange{.min = 1, .max = 1000});
     }},
};

void ReadHealthCheck(const Field& field, Pool* pool) {
  HealthCheck check;
  const size_t errors = field.report().error_count();
  ReadSubsection<HealthCheck>(field, kHealthCheckRows, &check);
  if (field.report().error_count() == errors && check.timeout_ms > check.interval_ms) {
    field.Error(
        fmt::format("timeout, {}ms, is longer than interval, {}ms; a probe must end before "
                    "the next begins",
                    check.timeout_ms, check.interval_ms));
  }
  pool->health_check = check;
}

constexpr KeyRow<TlsListen> kTlsListenRows[] = {
    {"cert", [](const Field& f, TlsListen* t) { f.ReadText(&t->cert); }},
    {"key", [](const Field& f, TlsListen* t) { f.ReadText(&t->key); }},
    {"client_ca", [](const Field& f, TlsListen* t) { f.ReadText(&t->client_ca); }},
};

constexpr KeyRow<TlsServers> kTlsServersRows[] = {
    {"ca", [](const Field& f, TlsServers* t) { f.ReadText(&t->ca); }},
    {"cert", [](const Field& f, TlsServers* t) { f.ReadText(&t->cert); }},
    {"key", [](const Field& f, TlsServers* t) { f.ReadText(&t->key); }},
    {"server_name", [](const Field& f, TlsServers* t) { f.ReadText(&t->server_name); }},
};

void ReadTlsListen(const Field& field, Pool* pool) {
  TlsListen tls;
  const Seen seen = ReadSubsection<TlsListen>(field, kTlsListenRows, &tls);
  if (field.value().is_map() && !(seen.Has("cert") && seen.Has("key"))) {
    field.Error("needs both cert and key, the files of the certificate clients see");
  }
  pool->tls_listen = std::move(tls);
}

void ReadTlsServers(const Field& field, Pool* pool) {
  TlsServers tls;
  const Seen seen = ReadSubsection<TlsServers>(field, kTlsServersRows, &tls);
  if (seen.Has("cert") != seen.Has("key")) {
    field.Error(fmt::format("has {} without {}; give both or neither",
                            seen.Has("cert") ? "cert" : "key", seen.Has("cert") ? "key" : "cert"));
  }
  pool->tls_servers = std::move(tls);
}

constexpr KeyRow<Pool> kTlsRows[] = {{"listen", ReadTlsListen}, {"servers", ReadTlsServers}};

void ReadTls(const Field& field, Pool* pool) {
  ReadSubsection<Pool>(field, kTlsRows, pool);
  if (field.value().is_map() && field.value().entries.empty()) {
    field.Error("is empty; give listen, servers or both, or remove the key");
  }
}

// Bounds are nutcracker 0.5.0's for its keys.
constexpr KeyRow<Pool> kPoolRows[] = {
    {"listen", ReadListen},
    {"hash",
     [](const Field& f, Pool* p) { ReadName(f, hash::KindFromName, hash::KindNames(), &p->hash); }},
    {"hash_tag", ReadHashTag},
    {"distribution",
     [](const Field& f, Pool* p) {
       ReadName(f, ring::DistributionFromName, ring::DistributionNames(), &p->distribution);
     }},
    {"timeout", [](const Field& f,
                   Pool* p) { f.Read(ParseNumber, &p->timeout_ms, NumberRange{.example = 400}); }},
    {"backlog", [](const Field& f,
                   Pool* p) { f.Read(ParseNumber, &p->backlog, NumberRange{.example = 512}); }},
    {"client_connections",
     [](const Field& f, Pool* p) {
       f.Read(ParseNumber, &p->client_connections, NumberRange{.example = 10000});
     }},
    {"redis", [](const Field& f, Pool* p) { f.Read(ParseBool, &p->redis); }},
    {"tcpkeepalive", [](const Field& f, Pool* p) { f.Read(ParseBool, &p->tcpkeepalive); }},
    {"reuseport", [](const Field& f, Pool* p) { f.Read(ParseBool, &p->reuseport); }},
    {"redis_auth",
     [](const Field& f, Pool* p) {
       if (const std::string* text = f.Scalar()) p->redis_auth = base::Secret(*text);
     }},
    {"redis_db", [](const Field& f, Pool* p) { f.Read(ParseNumber, &p->redis_db, NumberRange{}); }},
    {"preconnect", [](const Field& f, Pool* p) { f.Read(ParseBool, &p->preconnect); }},
    {"auto_eject_hosts", [](const Field& f, Pool* p) { f.Read(ParseBool, &p->auto_eject_hosts); }},
    {"server_connections",
     [](const Field& f, Pool* p) {
       f.Read(ParseNumber, &p->server_connections, NumberRange{.min = 1, .example = 4});
     }},
    {"server_retry_timeout",
     [](const Field& f, Pool* p) {
       f.Read(ParseNumber, &p->server_retry_timeout_ms, NumberRange{.example = 30000});
     }},
    {"server_failure_limit", ReadFailureLimit},
    {"servers", ReadServers},
    {"compat", [](const Field& f, Pool* p) { ReadChoice(f, kCompats, &p->compat); }},
    {"membership", [](const Field& f, Pool* p) { ReadChoice(f, kMemberships, &p->membership); }},
    {"eject_mode", [](const Field& f, Pool* p) { ReadChoice(f, kEjectModes, &p->eject_mode); }},
    {"get_errors", [](const Field& f, Pool* p) { ReadChoice(f, kGetErrors, &p->get_errors); }},
    {"hold_down", [](const Field& f, Pool* p) { f.Read(ParseDuration, &p->hold_down_ms, 0); }},
    {"health_check", ReadHealthCheck},
    {"tls", ReadTls},
    {"redis_user",
     [](const Field& f, Pool* p) {
       if (const std::string* text = f.Scalar()) p->redis_user = *text;
     }},
    {"cluster_commands", [](const Field& f, Pool* p) { f.Read(ParseBool, &p->cluster_commands); }},
    {"dangerous_commands",
     [](const Field& f, Pool* p) { f.Read(ParseBool, &p->dangerous_commands); }},
    {"exclusive_connections",
     [](const Field& f, Pool* p) {
       f.Read(ParseNumber, &p->exclusive_connections, NumberRange{.example = 64});
     }},
    {"allow_flush", [](const Field& f, Pool* p) { f.Read(ParseBool, &p->allow_flush); }},
    {"allow_empty", [](const Field& f, Pool* p) { f.Read(ParseBool, &p->allow_empty); }},
    {"client_max_inflight",
     [](const Field& f, Pool* p) {
       f.Read(ParseNumber, &p->client_max_inflight, NumberRange{.min = 1, .example = 1024});
     }},
    {"client_max_buffer",
     [](const Field& f, Pool* p) { f.Read(ParseSize, &p->client_max_buffer, kMinClientBuffer); }},
    {"client_write_timeout",
     [](const Field& f, Pool* p) { f.Read(ParseDuration, &p->client_write_timeout_ms, 1); }},
    {"hot_keys_sample",
     [](const Field& f, Pool* p) {
       f.Read(ParseNumber, &p->hot_keys_sample, NumberRange{.max = kMaxSample, .example = 100});
     }},
    {"slow_log", [](const Field& f, Pool* p) { f.Read(ParseDuration, &p->slow_log_ms, 0); }},
    {"access_log_sample",
     [](const Field& f, Pool* p) {
       f.Read(ParseNumber, &p->access_log_sample, NumberRange{.max = kMaxSample, .example = 1000});
     }},
};

void CheckRequired(Report* report, const Pool& pool, const Seen& seen) {
  if (!seen.Has("listen")) {
    report->Error(pool.line, pool.name, "listen", "is missing; such as `listen: 127.0.0.1:22121`");
  }
  const bool optional = pool.membership == Membership::kGrpc || seen.IsBad("membership");
  if (optional || seen.IsBad("servers") || !pool.servers.empty()) return;
  const bool empty = seen.Has("servers");
  report->Error(empty ? seen.LineOf("servers") : pool.line, pool.name, "servers",
                fmt::format("{}; list at least one server, such as `- 127.0.0.1:11211:1`, or say "
                            "`membership: grpc`",
                            empty ? "is empty" : "is missing"));
}

// Keys that do nothing in this pool: twemproxy is silent about its own, so these are warnings.
void WarnIdle(Report* report, const Pool& pool, const Seen& seen) {
  const auto warn = [&](std::string_view key, bool idle, std::string_view why) {
    if (idle && seen.IsGood(key)) {
      report->Warn(seen.LineOf(key), pool.name, std::string(key),
                   fmt::format("has no effect {}", why));
    }
  };
  const bool redis_known = !seen.IsBad("redis");
  const bool eject_known = !seen.IsBad("eject_mode");
  warn("redis_db", redis_known && !pool.redis, "without `redis: true`");
  for (const char* key :
       {"redis_user", "cluster_commands", "dangerous_commands", "exclusive_connections"}) {
    warn(key, redis_known && !pool.redis, "without `redis: true`");
  }
  warn("redis_user", redis_known && pool.redis && !seen.Has("redis_auth"), "without `redis_auth`");
  warn("get_errors", redis_known && pool.redis, "on a redis pool");
  warn("allow_flush", redis_known && pool.redis, "on a redis pool");
  warn("hold_down", eject_known && pool.eject_mode == EjectMode::kRehash,
       "without `eject_mode: keep_ring`");
  warn("allow_empty", !seen.IsBad("membership") && pool.membership == Membership::kStatic,
       "without `membership: grpc`");
}

void CheckRelations(Report* report, const Pool& pool, const Seen& seen) {
  if (seen.IsGood("redis_auth") && !pool.redis && !seen.IsBad("redis")) {
    report->Error(seen.LineOf("redis_auth"), pool.name, "redis_auth",
                  "is only for a redis pool; add `redis: true` or remove it");
  }
  WarnIdle(report, pool, seen);
}

}  // namespace

std::vector<std::string_view> PoolKeys() { return NamesOf<Pool>(kPoolRows); }

Pool ReadPool(Report* report, const std::string& name, int line, const YamlNode& value) {
  Pool pool;
  pool.name = name;
  pool.line = line;
  const Seen seen = ReadSection<Pool>(report, name, "", value, kPoolRows, &pool);
  CheckRequired(report, pool, seen);
  CheckRelations(report, pool, seen);
  return pool;
}

}  // namespace cashew::config

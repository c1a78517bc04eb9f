#include "cmd/cashewctl/stats_view.h"

#include <algorithm>
#include <array>
#include <string>

#include "fmt/format.h"

namespace cashew::ctl {
namespace {

using Json = nlohmann::ordered_json;

struct RateRow {
  std::string_view counter;  // in the stats JSON, of a server
  double Rates::*rate;
};
constexpr std::array<RateRow, 7> kServerRates = {{
    {"requests", &Rates::requests},
    {"responses", &Rates::responses},
    {"request_bytes", &Rates::request_bytes},
    {"response_bytes", &Rates::response_bytes},
    {"server_eof", &Rates::errors},
    {"server_err", &Rates::errors},
    {"server_timedout", &Rates::timeouts},
}};

struct Cell {
  std::string_view key;  // in lines and JSON
  double Rates::*rate;
};
constexpr std::array<Cell, 6> kCells = {{
    {"requests_per_second", &Rates::requests},
    {"responses_per_second", &Rates::responses},
    {"request_bytes_per_second", &Rates::request_bytes},
    {"response_bytes_per_second", &Rates::response_bytes},
    {"errors_per_second", &Rates::errors},
    {"timeouts_per_second", &Rates::timeouts},
}};

void AddNumber(const std::string& key, const Json& value, Counters* counters) {
  if (value.is_number()) (*counters)[key] = value.get<int64_t>();
}

Sample::Pool ParsePool(const std::string& name, const Json& json) {
  Sample::Pool pool{name, {}, {}};
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      Sample::Server server{key, {}};
      for (const auto& [counter, number] : value.items()) {
        AddNumber(counter, number, &server.counters);
      }
      pool.servers.push_back(std::move(server));
    } else {
      AddNumber(key, value, &pool.counters);
    }
  }
  return pool;
}

int64_t Value(const Counters& counters, std::string_view name) {
  const auto found = counters.find(name);
  return found == counters.end() ? 0 : found->second;
}

// REQUIRES: seconds > 0.
double Rate(const Counters& before, const Counters& now, std::string_view name, double seconds) {
  const int64_t then = Value(before, name);
  const int64_t value = Value(now, name);
  return static_cast<double>(value < then ? value : value - then) / seconds;
}

Rates ServerRates(const Counters& before, const Counters& now, double seconds) {
  Rates rates;
  for (const RateRow& row : kServerRates) {
    rates.*row.rate += Rate(before, now, row.counter, seconds);
  }
  rates.queued = Value(now, "in_queue") + Value(now, "out_queue");
  rates.connections = Value(now, "server_connections");
  return rates;
}

template <typename List>
const Counters& CountersOf(const List& list, const std::string& name) {
  static const Counters none;
  const auto found = std::find_if(list.begin(), list.end(),
                                  [&name](const auto& each) { return each.name == name; });
  return found == list.end() ? none : found->counters;
}

PoolRates RatesOf(const Sample::Pool* before, const Sample::Pool& now, double seconds) {
  static const Sample::Pool nothing;
  if (before == nullptr) before = &nothing;
  PoolRates pool{now.name, {}, {}};
  for (const Sample::Server& server : now.servers) {
    const Rates rates =
        ServerRates(CountersOf(before->servers, server.name), server.counters, seconds);
    for (const Cell& cell : kCells) pool.total.*cell.rate += rates.*cell.rate;
    pool.total.queued += rates.queued;
    pool.servers.emplace_back(server.name, rates);
  }
  pool.total.errors = Rate(before->counters, now.counters, "forward_error", seconds);
  pool.total.connections = Value(now.counters, "client_connections");
  return pool;
}

void AddRow(const std::string& name, const Rates& rates, Table* table) {
  table->Add({name, Short(rates.requests), Short(rates.responses), Short(rates.request_bytes),
              Short(rates.response_bytes), Short(rates.errors), Short(rates.timeouts),
              std::to_string(rates.queued), std::to_string(rates.connections)},
             rates.errors > 0 || rates.timeouts > 0 ? Tone::kBad : Tone::kPlain);
}

std::string Words(const Rates& rates) {
  std::string text;
  for (const Cell& cell : kCells) text += fmt::format(" {}={:.1f}", cell.key, rates.*cell.rate);
  return text + fmt::format(" queued={} connections={}\n", rates.queued, rates.connections);
}

Json RatesObject(const std::string& name, const Rates& rates) {
  Json json = {{"name", name}};
  for (const Cell& cell : kCells) json[std::string(cell.key)] = rates.*cell.rate;
  json["queued"] = rates.queued;
  json["connections"] = rates.connections;
  return json;
}

std::string TimeText(absl::Time at) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", at, absl::UTCTimeZone());
}

}  // namespace

absl::StatusOr<Sample> ParseStats(std::string_view json, absl::Time at) {
  const Json root = Json::parse(json, nullptr, false);
  if (!root.is_object()) {
    return absl::InvalidArgumentError("the proxy's statistics are not the JSON that was expected");
  }
  Sample sample;
  sample.at = at;
  for (const auto& [key, value] : root.items()) {
    if (value.is_object()) {
      sample.pools.push_back(ParsePool(key, value));
    } else if (key == "version" && value.is_string()) {
      sample.version = value.get<std::string>();
    } else if (key == "uptime" && value.is_number()) {
      sample.uptime = value.get<int64_t>();
    }
  }
  return sample;
}

std::vector<PoolRates> RatesBetween(const Sample& before, const Sample& now) {
  const double seconds = std::max(absl::ToDoubleSeconds(now.at - before.at), 0.001);
  std::vector<PoolRates> rates;
  for (const Sample::Pool& pool : now.pools) {
    const auto then = std::find_if(before.pools.begin(), before.pools.end(),
                                   [&](const auto& each) { return each.name == pool.name; });
    rates.push_back(RatesOf(then == before.pools.end() ? nullptr : &*then, pool, seconds));
  }
  return rates;
}

Table RatesTable(const std::vector<PoolRates>& pools) {
  Table table({{"POOL / SERVER"},
               {"REQ/S", Align::kRight},
               {"RESP/S", Align::kRight},
               {"REQ B/S", Align::kRight},
               {"RESP B/S", Align::kRight},
               {"ERR/S", Align::kRight},
               {"TIMEOUT/S", Align::kRight},
               {"QUEUED", Align::kRight},
               {"CONNS", Align::kRight}});
  for (const PoolRates& pool : pools) {
    AddRow(pool.name, pool.total, &table);
    for (const auto& [name, rates] : pool.servers) AddRow("  " + name, rates, &table);
  }
  return table;
}

std::string RatesLines(const std::vector<PoolRates>& pools, absl::Time at) {
  std::string text;
  for (const PoolRates& pool : pools) {
    const std::string head = fmt::format("{} pool={}", TimeText(at), Printable(pool.name));
    text += head + Words(pool.total);
    for (const auto& [name, rates] : pool.servers) {
      text += fmt::format("{} server={}{}", head, Printable(name), Words(rates));
    }
  }
  return text;
}

Json RatesJson(const std::vector<PoolRates>& pools, absl::Time at) {
  Json list = Json::array();
  for (const PoolRates& pool : pools) {
    Json json = RatesObject(pool.name, pool.total);
    json["servers"] = Json::array();
    for (const auto& [name, rates] : pool.servers) {
      json["servers"].push_back(RatesObject(name, rates));
    }
    list.push_back(std::move(json));
  }
  return {{"time", TimeText(at)}, {"pools", std::move(list)}};
}

std::string Short(double value) {
  constexpr std::array<std::string_view, 5> kUnits = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000;
    ++unit;
  }
  const bool whole = value == 0 || value >= 99.95 || (unit == 0 && value >= 9.95);
  return fmt::format("{:.{}f}{}", value, whole ? 0 : 1, kUnits[unit]);
}

}  // namespace cashew::ctl

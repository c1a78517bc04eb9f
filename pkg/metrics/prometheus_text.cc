#include "pkg/metrics/prometheus_text.h"

#include <cctype>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sstream>
#include <utility>
#include <vector>

#include "pkg/metrics/rows.h"

namespace cashew::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

std::string ValidUtf8(const std::string& text) {
  using nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace))
      .get<std::string>();
}

MetricFamily FamilyOf(std::string name, std::string_view help, MetricKind kind) {
  MetricFamily family;
  family.name = std::move(name);
  family.help = PrometheusHelp(help);
  family.type = kind == MetricKind::kCounter ? MetricType::Counter : MetricType::Gauge;
  return family;
}

void AddSample(MetricFamily* family, Labels labels, double value) {
  ClientMetric& sample = family->metric.emplace_back();
  sample.label = std::move(labels);
  if (family->type == MetricType::Counter) {
    sample.counter.value = value;
  } else {
    sample.gauge.value = value;
  }
}

double Scaled(MetricKind kind, int64_t value) {
  const double v = static_cast<double>(value);
  return kind == MetricKind::kTimestamp ? v / 1e6 : v;
}

// One thing that is counted: its labels and its values of a set of rows.
template <typename Id>
struct Source {
  Labels labels;
  const Values<Id>* values;
};

// Writes family after family, so that only one is ever held: with thousands of
// servers a family is megabytes of labels.
class Writer {
 public:
  void Write(MetricFamily family) {
    if (!family.metric.empty()) serializer_.Serialize(out_, {std::move(family)});
  }

  template <typename Id>
  void WriteRows(const std::vector<Source<Id>>& sources) {
    for (size_t i = 0; i < RowsOf(Id{}).size(); ++i) {
      const MetricRow& row = RowsOf(Id{})[i];
      if (row.prometheus_name.empty()) continue;
      MetricFamily family =
          FamilyOf(fmt::format("cashew_{}", row.prometheus_name), row.help, row.kind);
      for (const Source<Id>& source : sources) {
        AddSample(&family, source.labels, Scaled(row.kind, source.values->array[i]));
      }
      Write(std::move(family));
    }
  }

  std::string Take() && { return std::move(out_).str(); }

 private:
  prometheus::TextSerializer serializer_;
  std::ostringstream out_;
};

void WriteBuildInfo(Writer* writer, const std::string& version) {
  MetricFamily family =
      FamilyOf("cashew_build_info", "1, labelled with the version", MetricKind::kGauge);
  AddSample(&family, {{"version", ValidUtf8(version)}}, 1);
  writer->Write(std::move(family));
}

void WriteProcess(Writer* writer, const ProcessStats& process) {
#define CASHEW_OS_FAMILY(member, prom, kind, help)                \
  if (process.member) {                                           \
    MetricFamily family = FamilyOf(prom, help, MetricKind::kind); \
    AddSample(&family, {}, *process.member);                      \
    writer->Write(std::move(family));                             \
  }
  CASHEW_OS_METRICS(CASHEW_OS_FAMILY)
#undef CASHEW_OS_FAMILY
}

void WritePools(Writer* writer, const Totals& totals) {
  std::vector<Source<PoolMetric>> pools;
  std::vector<Source<PoolStateMetric>> pool_states;
  std::vector<Source<ServerMetric>> servers;
  std::vector<Source<ServerStateMetric>> server_states;
  for (const PoolTotals& pool : totals.pools) {
    const Labels labels = {{"pool", ValidUtf8(pool.name)}};
    pools.push_back({labels, &pool.values});
    pool_states.push_back({labels, &pool.state});
    for (const ServerTotals& server : pool.servers) {
      Labels both = labels;
      both.push_back({"server", ValidUtf8(server.name)});
      servers.push_back({both, &server.values});
      server_states.push_back({std::move(both), &server.state});
    }
  }
  writer->WriteRows(pools);
  writer->WriteRows(pool_states);
  writer->WriteRows(servers);
  writer->WriteRows(server_states);
}

}  // namespace

std::string PrometheusHelp(std::string_view help) {
  if (help.substr(0, 2) == "# ") return fmt::format("Number of {}.", help.substr(2));
  std::string text = fmt::format("{}.", help);
  text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

std::string PrometheusText(const Totals& totals, const ProcessStats& process,
                           const std::string& version) {
  Writer writer;
  WriteBuildInfo(&writer, version);
  WriteProcess(&writer, process);
  writer.WriteRows<ProcessMetric>({{{}, &totals.process}});
  WritePools(&writer, totals);
  return std::move(writer).Take();
}

}  // namespace cashew::metrics

#include "pkg/metrics/prometheus_text.h"

#include <array>
#include <cctype>
#include <fmt/format.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "pkg/metrics/rows.h"

namespace cashew::metrics {
namespace {

// prometheus-cpp's serializer takes 130 to 190 ms for 20 pools of 100 servers: a string for
// each label of each line, and numbers through iostreams. This takes a tenth of it, so a
// scrape hardly takes CPU from the workers.

std::string ValidUtf8(const std::string& text) {
  using nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace))
      .get<std::string>();
}

// pool="alpha",server="a": what stands between a sample's braces. Made once for all
// families that have it.
class Labels {
 public:
  Labels() = default;
  Labels(std::string_view name, const std::string& value) { Append(name, value); }

  Labels With(std::string_view name, const std::string& value) const {
    Labels more = *this;
    more.text_ += more.text_.empty() ? "" : ",";
    more.Append(name, value);
    return more;
  }
  const std::string& text() const { return text_; }

 private:
  void Append(std::string_view name, const std::string& value) {
    text_.append(name).append("=\"");
    for (const char c : ValidUtf8(value)) {
      if (c == '\n') {
        text_ += "\\n";
      } else {
        if (c == '\\' || c == '"') text_ += '\\';
        text_ += c;
      }
    }
    text_ += '"';
  }

  std::string text_;
};

std::string FullName(std::string_view name) { return fmt::format("cashew_{}", name); }

// le="0.001" for each bucket.
const std::array<std::string, kBuckets>& BoundLabels() {
  static const auto* const labels = [] {
    auto* made = new std::array<std::string, kBuckets>;
    for (size_t i = 0; i < kBucketBoundsNs.size(); ++i) {
      (*made)[i] = fmt::format("le=\"{}\"", static_cast<double>(kBucketBoundsNs[i]) / 1e9);
    }
    made->back() = "le=\"+Inf\"";
    return made;
  }();
  return *labels;
}

// One thing that is counted: its labels and its values of a set of rows.
template <typename Id>
struct Source {
  Labels labels;
  const Values<Id>* values;
};
using Histograms = std::vector<std::pair<Labels, const HistogramTotals*>>;

// Writes the text format 0.0.4, family after family.
class Writer {
 public:
  void Begin(std::string_view name, std::string_view help, std::string_view type) {
    fmt::format_to(std::back_inserter(out_), "# HELP {0} {1}\n# TYPE {0} {2}\n", name,
                   PrometheusHelp(help), type);
  }
  void Begin(std::string_view name, std::string_view help, MetricKind kind) {
    const bool grows = kind == MetricKind::kCounter || kind == MetricKind::kSeconds;
    Begin(name, help, grows ? "counter" : "gauge");
  }

  void Sample(std::string_view name, const Labels& labels, MetricKind kind, int64_t value) {
    AppendSeries(name, {}, labels.text(), {});
    if (kind == MetricKind::kTimestamp || kind == MetricKind::kSeconds) {
      const double seconds =
          static_cast<double>(value) / (kind == MetricKind::kTimestamp ? 1e6 : 1e9);
      AppendNumber(seconds);
    } else {
      AppendNumber(value);
    }
  }
  void Sample(std::string_view name, const Labels& labels, double value) {
    AppendSeries(name, {}, labels.text(), {});
    AppendNumber(value);
  }

  template <typename Id>
  void WriteRows(const std::vector<Source<Id>>& sources) {
    for (size_t i = 0; i < RowsOf(Id{}).size() && !sources.empty(); ++i) {
      const MetricRow& row = RowsOf(Id{})[i];
      if (row.prometheus_name.empty()) continue;
      const std::string name = FullName(row.prometheus_name);
      Begin(name, row.help, row.kind);
      for (const Source<Id>& source : sources) {
        Sample(name, source.labels, row.kind, source.values->array[i]);
      }
    }
  }

  void WriteHistogram(HistogramMetric id, const Histograms& sources) {
    if (sources.empty()) return;
    const HistogramRow& row = kHistogramRows[static_cast<size_t>(id)];
    const std::string name = FullName(row.prometheus_name);
    Begin(name, row.help, "histogram");
    for (const auto& [labels, totals] : sources) {
      int64_t cumulative = 0;
      for (size_t i = 0; i < kBuckets; ++i) {
        cumulative += totals->counts[i];
        AppendSeries(name, "_bucket", labels.text(), BoundLabels()[i]);
        AppendNumber(cumulative);
      }
      AppendSeries(name, "_sum", labels.text(), {});
      AppendNumber(static_cast<double>(totals->sum_ns) / 1e9);
      AppendSeries(name, "_count", labels.text(), {});
      AppendNumber(cumulative);
    }
  }

  std::string Take() && { return std::move(out_); }

 private:
  void AppendSeries(std::string_view name, std::string_view suffix, std::string_view labels,
                    std::string_view more) {
    out_.append(name).append(suffix);
    if (!labels.empty() || !more.empty()) {
      out_ += '{';
      out_.append(labels);
      if (!labels.empty() && !more.empty()) out_ += ',';
      out_.append(more);
      out_ += '}';
    }
    out_ += ' ';
  }
  void AppendNumber(int64_t value) {
    const fmt::format_int text(value);
    out_.append(text.data(), text.size());
    out_ += '\n';
  }
  void AppendNumber(double value) { fmt::format_to(std::back_inserter(out_), "{}\n", value); }

  std::string out_;
};

void WriteBuildInfo(Writer* writer, const std::string& version) {
  constexpr std::string_view kName = "cashew_build_info";
  writer->Begin(kName, "1, labelled with the version", MetricKind::kGauge);
  writer->Sample(kName, Labels("version", version), MetricKind::kGauge, 1);
}

void WriteProcess(Writer* writer, const ProcessStats& process) {
#define CASHEW_OS_FAMILY(member, prom, kind, help)   \
  if (process.member) {                              \
    writer->Begin(prom, help, MetricKind::kind);     \
    writer->Sample(prom, Labels(), *process.member); \
  }
  CASHEW_OS_METRICS(CASHEW_OS_FAMILY)
#undef CASHEW_OS_FAMILY
}

void WriteWorkers(Writer* writer, const Totals& totals) {
  std::vector<Source<WorkerMetric>> workers;
  Histograms lags;
  for (const WorkerTotals& worker : totals.workers) {
    const Labels labels("worker", fmt::format("{}", workers.size()));
    workers.push_back({labels, &worker.values});
    lags.emplace_back(labels, &worker.loop_lag);
  }
  writer->WriteRows(workers);
  writer->WriteHistogram(HistogramMetric::kLoopLag, lags);
}

void WriteErrors(Writer* writer, const Totals& totals) {
  if (totals.pools.empty()) return;
  const std::string name = FullName(kErrorsName);
  writer->Begin(name, kErrorsHelp, MetricKind::kCounter);
  for (const PoolTotals& pool : totals.pools) {
    const Labels labels("pool", pool.name);
    for (size_t i = 0; i < kErrorLabels.size(); ++i) {
      writer->Sample(name, labels.With("kind", std::string(kErrorLabels[i].label)),
                     MetricKind::kCounter, pool.errors.array[i]);
    }
  }
}

void WritePools(Writer* writer, const Totals& totals) {
  std::vector<Source<PoolMetric>> pools;
  std::vector<Source<PoolStateMetric>> states;
  std::vector<Source<ClassMetric>> classes;
  Histograms requests, queues;
  for (const PoolTotals& pool : totals.pools) {
    const Labels labels("pool", pool.name);
    pools.push_back({labels, &pool.values});
    states.push_back({labels, &pool.state});
    queues.emplace_back(labels, &pool.queue_duration);
    for (size_t i = 0; i < kClassLabels.size(); ++i) {
      const Labels both = labels.With("class", std::string(kClassLabels[i].label));
      classes.push_back({both, &pool.classes[i].values});
      requests.emplace_back(both, &pool.classes[i].duration);
    }
  }
  writer->WriteRows(pools);
  writer->WriteRows(states);
  writer->WriteRows(classes);
  writer->WriteHistogram(HistogramMetric::kRequestDuration, requests);
  writer->WriteHistogram(HistogramMetric::kQueueDuration, queues);
}

void WriteServers(Writer* writer, const Totals& totals) {
  std::vector<Source<ServerMetric>> servers;
  std::vector<Source<ServerStateMetric>> states;
  Histograms responses;
  for (const PoolTotals& pool : totals.pools) {
    const Labels labels("pool", pool.name);
    for (const ServerTotals& server : pool.servers) {
      const Labels both = labels.With("server", server.name);
      servers.push_back({both, &server.values});
      states.push_back({both, &server.state});
      responses.emplace_back(both, &server.response_duration);
    }
  }
  writer->WriteRows(servers);
  writer->WriteRows(states);
  writer->WriteHistogram(HistogramMetric::kResponseDuration, responses);
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
  writer.WriteRows<ProcessStateMetric>({{{}, &totals.state}});
  WriteWorkers(&writer, totals);
  WritePools(&writer, totals);
  WriteErrors(&writer, totals);
  WriteServers(&writer, totals);
  return std::move(writer).Take();
}

}  // namespace cashew::metrics

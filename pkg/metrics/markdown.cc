#include "pkg/metrics/markdown.h"

#include <fmt/format.h>
#include <iterator>
#include <string_view>

#include "pkg/metrics/process_stats.h"
#include "pkg/metrics/prometheus_text.h"
#include "pkg/metrics/rows.h"

namespace cashew::metrics {
namespace {

constexpr std::string_view kIntroduction =
    R"(<!-- Generated from table.h: run `CASHEW_REGENERATE_DOCS=1 markdown_test` in the root of the tree. -->

# Metrics

Two exports are made from one table, [table.h](table.h):

- the **stats JSON** of the stats port (22222): nutcracker's names, nesting and order;
- **Prometheus** at `/metrics` of the admin port (9151): nutcracker's names with `cashew_` in front, the unit,
  and `_total` for what only grows.

Each worker writes cells of its own ([cells.h](cells.h)); the [registry](registry.h) adds them up when someone asks, which
stops no worker. Counters start at zero with the process and are never reset. A server that leaves its pool leaves the exports;
the JSON's `server_ejects` of a pool keeps counting what its former servers had. Time stamps are microseconds in the JSON,
seconds in Prometheus, and 0 for "never".

Durations are histograms, fed by the clock that a worker reads once a round of its loop: exact to one round, and
`cashew_loop_lag_seconds` says how long rounds are. Labels are pools, servers by their stable names, workers by number, and words of
the fixed lists below: never a key, never a client.

To add a metric, add a row to the table and write its cell; both exports and this page follow. The
[dashboard, alerts and how to import them](../../helm/cashew/dashboards/README.md) are in helm/cashew.
)";

std::string_view TypeName(MetricKind kind) {
  switch (kind) {
    case MetricKind::kCounter:
    case MetricKind::kSeconds:
      return "counter";
    case MetricKind::kGauge:
      return "gauge";
    case MetricKind::kTimestamp:
      return "gauge (time)";
  }
  return "";
}

std::string Code(std::string_view prefix, std::string_view name) {
  return name.empty() ? "–" : fmt::format("`{}{}`", prefix, name);
}

void AppendLine(std::string* out, std::string_view prometheus, std::string_view json,
                MetricKind kind, std::string_view help) {
  fmt::format_to(std::back_inserter(*out), "| {} | {} | {} | {} |\n", prometheus, json,
                 TypeName(kind), PrometheusHelp(help));
}

void AppendHeading(std::string* out, std::string_view title) {
  fmt::format_to(
      std::back_inserter(*out),
      "\n## {}\n\n| Prometheus | stats JSON | type | meaning |\n| --- | --- | --- | --- |\n",
      title);
}

void AppendHistogram(std::string* out, HistogramMetric id) {
  const HistogramRow& row = kHistogramRows[static_cast<size_t>(id)];
  fmt::format_to(std::back_inserter(*out), "| {} | – | histogram (`{}`) | {} |\n",
                 Code("cashew_", row.prometheus_name), row.labels, PrometheusHelp(row.help));
}

// What a label's fixed values mean.
template <typename Rows>
void AppendLabels(std::string* out, std::string_view title, const Rows& rows) {
  fmt::format_to(std::back_inserter(*out), "\n## {}\n\n| value | meaning |\n| --- | --- |\n",
                 title);
  for (const LabelRow& row : rows) {
    fmt::format_to(std::back_inserter(*out), "| `{}` | {} |\n", row.label, row.meaning);
  }
}

void AppendBuckets(std::string* out) {
  *out +=
      "\n## Buckets of the histograms\n\nUpper bounds in seconds, the same for all, so that "
      "they can be added up:\n\n";
  for (const int64_t bound : kBucketBoundsNs) {
    fmt::format_to(std::back_inserter(*out), "{}, ", static_cast<double>(bound) / 1e9);
  }
  *out += "+Inf.\n";
}

template <typename Id>
void AppendRows(std::string* out) {
  for (const MetricRow& row : RowsOf(Id{})) {
    AppendLine(out, Code("cashew_", row.prometheus_name), Code("", row.json_name), row.kind,
               row.help);
  }
}

}  // namespace

std::string MetricsMarkdown() {
  std::string out(kIntroduction);
  AppendHeading(&out, "The process (no labels)");
  AppendRows<ProcessMetric>(&out);
  AppendLine(&out, "`cashew_build_info`", "`version`", MetricKind::kGauge,
             "1, labelled with the version");
#define CASHEW_OS_LINE(member, prom, kind, help) \
  AppendLine(&out, Code("", prom), "–", MetricKind::kind, help);
  CASHEW_OS_METRICS(CASHEW_OS_LINE)
#undef CASHEW_OS_LINE
  AppendRows<ProcessStateMetric>(&out);
  AppendHeading(&out, "A worker (label `worker`, its number)");
  AppendRows<WorkerMetric>(&out);
  AppendHistogram(&out, HistogramMetric::kLoopLag);
  AppendHeading(&out, "A pool (label `pool`)");
  AppendRows<PoolMetric>(&out);
  AppendRows<PoolStateMetric>(&out);
  AppendHistogram(&out, HistogramMetric::kQueueDuration);
  AppendHeading(&out, "A pool's commands (labels `pool`, `class`)");
  AppendRows<ClassMetric>(&out);
  AppendHistogram(&out, HistogramMetric::kRequestDuration);
  AppendHeading(&out, "A pool's errors (labels `pool`, `kind`)");
  AppendLine(&out, Code("cashew_", kErrorsName), "–", MetricKind::kCounter, kErrorsHelp);
  AppendHeading(&out, "A server (labels `pool`, `server`)");
  AppendRows<ServerMetric>(&out);
  AppendRows<ServerStateMetric>(&out);
  AppendHistogram(&out, HistogramMetric::kResponseDuration);
  AppendLabels(&out, "Values of `class`", kClassLabels);
  AppendLabels(&out, "Values of `kind`", kErrorLabels);
  AppendBuckets(&out);
  return out;
}

}  // namespace cashew::metrics

#pragma once

#include <string>

namespace cashew::metrics {

// pkg/metrics/README.md: every metric, made from the table.
std::string MetricsMarkdown();

}  // namespace cashew::metrics

#pragma once

#include <functional>
#include <string>
#include <vector>

#include "pkg/admin/http_server.h"

namespace cashew::admin {

// Where the pages get their contents. All are called on the HTTP thread, whenever
// a client asks, and must be set.
struct AdminSources {
  std::function<std::string()> metrics;      // Prometheus' text format
  std::function<std::string()> pools_json;   // pools, servers, health
  std::function<std::string()> config_text;  // the configuration in use, without secrets
  // Why this process should get no traffic; empty when it should.
  std::function<std::vector<std::string>()> not_ready_reasons;
  std::string version;
};

// The pages of the admin port:
//   /         an index with links        /metrics  for Prometheus
//   /livez    200 while the process lives (says nothing about servers)
//   /readyz   200, or 503 with the reasons, one a line
//   /config   /pools
HttpRoutes AdminRoutes(AdminSources sources);

}  // namespace cashew::admin

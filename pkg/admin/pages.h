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
  std::function<std::string()> status_json;  // what the status page shows, as JSON
  // Why this process should get no traffic; empty when it should.
  std::function<std::vector<std::string>()> not_ready_reasons;
  std::string version;
  bool show_all_to_everyone = false;  // /config and /status, not just to this machine
};

// The pages of the admin port:
//   /         an index with links        /metrics  for Prometheus
//   /livez    200 while the process lives (says nothing about servers)
//   /readyz   200, or 503 with the reasons, one a line
//   /pools    pools and servers, as JSON
//   /status   the same and rates, live, for people; with /status.js, .css and .json
//   /config   the configuration
HttpRoutes AdminRoutes(AdminSources sources);

}  // namespace cashew::admin

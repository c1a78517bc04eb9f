#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pkg/config/config.h"
#include "pkg/metrics/totals.h"
#include "pkg/pool/membership.h"
#include "pkg/protocol/codec.h"

// What the proxy tells people and scripts about itself.

namespace cashew::app {

// The configuration in use, as JSON; secrets are shown as "(hidden)".
std::string DescribeConfig(const config::Config& config);

// What a server is to a request that comes now: "live", "ejected", "down", "draining", "held".
std::string StateOf(const pool::ServerView& server);

// Pools, servers, addresses and health, as JSON.
std::string PoolsJson(const std::vector<std::shared_ptr<const pool::PoolView>>& pools,
                      const metrics::Totals& totals);

// What memcached's `stats` and redis' INFO say of a pool.
protocol::Stats PoolStats(const metrics::Totals& totals, const std::string& pool, int64_t uptime_s);

}  // namespace cashew::app

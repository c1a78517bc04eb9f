#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pkg/base/clock.h"
#include "pkg/base/mutex.h"
#include "pkg/metrics/registry.h"
#include "pkg/pool/snapshot.h"

namespace cashew::health {

// Counts each server's failures, as all workers and probes see them, and says who
// is out. The verdict is one for the whole process.
//
// nutcracker's rule (nc_server.c, server_failure()): a failed connection adds one,
// a forwarded reply sets the count to zero, `server_failure_limit` in a row eject.
// Replies need no message: workers publish how many they forwarded, and the board
// looks when the next failure comes. Unlike nutcracker, connections that were begun
// before the last counted failure add nothing: four workers that lose four
// connections to one crash have seen one failure.
//
// Thread-safe: workers report, the control thread listens and re-admits.
class Board final : public pool::FailureSink {
 public:
  // `writers` as in the registry; `writer` is the board's own. The registry and the
  // clock outlive the board.
  Board(const base::Clock& clock, metrics::Registry* registry, int writers, int writer);

  // What to do about verdicts, called on the reporting thread: post and return.
  struct Listener {
    std::function<void(const std::string& pool, const std::string& server)> ejected;
    // Silent for a whole timeout, and below the limit: worth asking.
    std::function<void(const std::string& pool, const std::string& server)> suspected;
  };
  void SetListener(Listener listener);

  // Declares a pool's servers. Those known by name keep their count and verdict.
  void SetServers(const pool::Settings& settings, const std::vector<std::string>& names);
  void RemovePool(const std::string& pool);

  // A server that is out stays out until Readmit().
  bool OnFailure(const std::string& pool, const std::string& server,
                 const pool::Failure& failure) override;
  // A probe went unanswered: a failure like any other. True when the server is out.
  bool OnProbeFailure(const std::string& pool, const std::string& server);
  // Out, whatever the count says (active health checks). False when it already was.
  bool Eject(const std::string& pool, const std::string& server);
  void Readmit(const std::string& pool, const std::string& server);
  // Out as another process had found it: no ejection of ours.
  void Inherit(const std::string& pool, const std::string& server);

  bool IsOut(const std::string& pool, const std::string& server) const;
  metrics::ServerCells* cells(const std::string& pool, const std::string& server);

 private:
  struct Server {
    int failures = 0;
    bool out = false;
    int64_t last_failure_ns = 0;                                 // 0: never
    int64_t replies_then = 0;                                    // forwarded when it last failed
    std::vector<std::shared_ptr<metrics::ServerCells>> replies;  // the workers'
    std::shared_ptr<metrics::ServerCells> own;
  };
  struct Pool {
    pool::Settings settings;
    std::map<std::string, Server> servers;
  };

  Server* Find(const std::string& pool, const std::string& server, int* limit) CASHEW_REQUIRES(mu_);
  // True when that reached the limit.
  bool Count(Server* server, int limit) CASHEW_REQUIRES(mu_);
  void Out(Server* server) CASHEW_REQUIRES(mu_);

  const base::Clock& clock_;
  metrics::Registry* const registry_;
  const int writers_;
  const int writer_;
  mutable base::Mutex mu_;
  std::map<std::string, Pool> pools_ CASHEW_GUARDED_BY(mu_);
  Listener listener_;
};

}  // namespace cashew::health

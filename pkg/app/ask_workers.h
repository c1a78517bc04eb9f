#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "pkg/base/mutex.h"
#include "pkg/net/event_loop.h"
#include "pkg/proxy/worker.h"

namespace cashew::app {

// Calls `ask` on the thread of every worker, between two of its rounds, and `done` on the
// loop's thread with what they said. A worker that stops first never answers: then `done` is
// destroyed uncalled. The loop outlives the workers' loops, or is stopped before.
template <typename Part>
void AskWorkers(net::EventLoop* loop, const std::vector<proxy::Worker*>& workers,
                std::function<Part(proxy::Worker&)> ask,
                std::function<void(std::vector<Part>)> done) {
  struct Gathered {
    base::Mutex mu;
    std::vector<Part> parts CASHEW_GUARDED_BY(mu);
  };
  const auto gathered = std::make_shared<Gathered>();
  const auto finish = [gathered, done = std::move(done)] {
    base::MutexLock lock(&gathered->mu);
    done(std::move(gathered->parts));
  };
  for (proxy::Worker* worker : workers) {
    worker->Post([loop, worker, gathered, ask, finish, wanted = workers.size()] {
      Part part = ask(*worker);
      base::MutexLock lock(&gathered->mu);
      gathered->parts.push_back(std::move(part));
      if (gathered->parts.size() == wanted) loop->Post(finish);
    });
  }
}

}  // namespace cashew::app

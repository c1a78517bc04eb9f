#pragma once

#include <absl/container/flat_hash_map.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pkg/base/mutex.h"
#include "pkg/dns/answer.h"

// Names of servers to addresses, kept up to date by a thread of its own.
//
//   Resolver resolver(Resolver::Options(), [](const std::string& host, const Answer& answer) {
//     ...  // on the resolver's thread: post it where it belongs
//   });
//   resolver.Watch("cache-0.cache.svc");
//
// A watched name is looked up at once, then again as its TTL runs out, for as long as it is
// watched: a name that does not resolve yet is not an error, only an answer. c-ares asks; the
// hosts file comes first, resolv.conf's name servers, search domains and options apply, and a
// changed resolv.conf is taken up at the next look-up.

namespace cashew::dns {

class Channel;

class Resolver {
 public:
  struct Options {
    // A record's TTL is held within these: 0 would be a storm of look-ups, an hour would keep a
    // moved server lost for an hour. Names of the hosts file have TTL 0.
    int64_t min_ttl_ms = 5'000;
    int64_t max_ttl_ms = 60'000;

    // After a failure: this, doubled with each further one. A name that never resolved is a
    // server that gets no requests, often only for the moment until its pod is listed: 10 s at
    // most. One that did resolve keeps its address, and name servers in trouble are not helped
    // by haste: 30 s at most. Also the least time between two look-ups that Refresh asks for.
    int64_t retry_ms = 1'000;
    int64_t max_retry_new_ms = 10'000;
    int64_t max_retry_known_ms = 30'000;

    // For one question: the first wait, doubled with each round over the name servers.
    int timeout_ms = 1'000;
    int tries = 3;

    // At once, so that thousands of names neither flood the name servers nor need memory.
    int max_lookups = 64;

    std::string servers;  // "host:port,..." in place of resolv.conf's name servers
    std::string resolv_conf = "/etc/resolv.conf";
    uint16_t port = 0;  // of the name servers in resolv.conf, which cannot name it; 0: 53
  };

  // On the resolver's thread, after every look-up, failed ones included. Must not block; may
  // call Watch, Unwatch and Refresh, must not destroy the resolver.
  using OnAnswer = std::function<void(const std::string& host, const Answer& answer)>;

  // Starts the thread, with all signals blocked: call after the process's last fork.
  Resolver(Options options, OnAnswer on_answer);
  // No answer is delivered after it returns.
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // Any thread; return at once.

  // Counted. At least one answer follows each call: if the name is watched already, the last one
  // anew. A numeric address is answered with itself, once.
  void Watch(const std::string& host);
  // Undoes one Watch. An answer that is being delivered may still arrive.
  void Unwatch(const std::string& host);
  // Looks a watched name up soon, as when its address refuses connections.
  void Refresh(const std::string& host);

 private:
  enum class Verb : uint8_t { kWatch, kUnwatch, kRefresh };
  struct Command {
    Verb verb;
    std::string host;
  };

  // A watched name is in `schedule_`, or being looked up (lookup != 0), or numeric (neither).
  struct Name {
    int watchers = 0;
    uint64_t lookup = 0;
    bool again = false;  // Refresh came during a look-up
    bool answered = false;
    bool resolved = false;  // ever
    int64_t due_ns = 0;
    int64_t started_ns = 0;
    int64_t retry_ms = 0;  // 0: the last look-up succeeded
    Answer last;
  };
  using Names = absl::flat_hash_map<std::string, std::unique_ptr<Name>>;

  void Post(Verb verb, const std::string& host);

  // The resolver's thread.
  void Run();
  void Wait();
  bool Obey();  // false: time to end
  void DoWatch(const std::string& host);
  void DoUnwatch(const std::string& host);
  void DoRefresh(const std::string& host);
  void StartDue();
  void Start(const std::string& host, Name* name);
  void DeliverDone();
  void Deliver(const std::string& host, Name* name, Answer answer);
  void Schedule(const std::string& host, Name* name, int64_t in_ms);
  void Reschedule(const std::string& host, Name* name, int64_t due_ns);
  void FollowResolvConf();
  void OpenChannel();
  int64_t Jittered(int64_t ms);

  // What tells one state of resolv.conf from another.
  struct FileMark {
    int64_t mtime_ns = 0;
    uint64_t inode = 0;
    int64_t size = -1;
    bool operator==(const FileMark&) const = default;
  };
  static FileMark MarkOf(const std::string& path);

  const Options options_;
  const OnAnswer on_answer_;
  const int wake_fd_;

  base::Mutex mu_;
  std::vector<Command> commands_ CASHEW_GUARDED_BY(mu_);
  bool stopping_ CASHEW_GUARDED_BY(mu_) = false;

  // The thread's own from here on.
  Names names_;
  std::set<std::pair<int64_t, std::string>> schedule_;  // due_ns, host
  absl::flat_hash_map<uint64_t, std::string> lookups_;  // on their way: id to host
  std::vector<std::pair<uint64_t, Answer>> done_;
  uint64_t last_lookup_ = 0;
  std::unique_ptr<Channel> channel_;  // null: could not be opened
  FileMark resolv_conf_;
  std::minstd_rand random_{std::random_device{}()};

  std::thread thread_;
};

}  // namespace cashew::dns

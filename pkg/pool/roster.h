#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "pkg/pool/membership.h"
#include "pkg/pool/snapshot.h"
#include "pkg/ring/server.h"

namespace cashew::pool {

// A pool's server list as its updaters and operators made it: the last list, the overrides
// above it, and the names that left it and keep their place on the ring for a while. Says
// what the next snapshot holds. Knows neither health nor name look-ups, has no thread and no
// clock: the control thread's.
class Roster {
 public:
  struct Policy {
    bool keep_ring = false;    // eject_mode: DRAINING is served, names that vanish are held
    bool allow_empty = false;  // an empty list is one
    int64_t hold_down_ms = 0;
  };
  struct ByName {
    bool operator()(std::string_view a, std::string_view b) const { return ring::NameLess(a, b); }
  };
  struct Entry {
    ServerSpec spec;
    int64_t held_until_ns = 0;  // 0: listed

    bool held() const { return held_until_ns != 0; }
    bool operator==(const Entry&) const = default;
  };
  using Entries = std::map<std::string, Entry, ByName>;

  explicit Roster(Policy policy) : policy_(policy) {}
  void SetPolicy(Policy policy) { policy_ = policy; }

  // Whether Replace() may be given the list; names in it differ. INVALID_ARGUMENT: empty.
  absl::Status Check(const std::vector<ServerSpec>& servers) const;
  // What Replace() would do; the version is the one that it would have.
  Applied Compare(const std::vector<ServerSpec>& servers, bool hold, int64_t now_ns) const;
  // Takes a whole list. With `hold`, as for a stream's, names that vanish from a keep_ring
  // pool stay as DOWN for hold_down, but not where the same list has a new name at their address:
  // that server was renamed, and is not away. The version grows if anything differs.
  Applied Replace(const std::vector<ServerSpec>& servers, bool hold, int64_t now_ns);

  // Adds to what is said of a server already. NOT_FOUND: no such server in the list.
  absl::Status SetOverride(const std::string& server, const Override& how);
  // NOT_FOUND: nothing was said of it.
  absl::Status ClearOverride(const std::string& server);
  // From before a restart; overrides of servers that are not listed (yet) wait for them.
  void RestoreOverrides(std::map<std::string, Override> overrides);

  // Ends the holds and overrides whose time is over. True: the version grew.
  bool Expire(int64_t now_ns, int64_t wall_us);
  // How long until there is something to expire; -1: nothing.
  int64_t NextExpiryMs(int64_t now_ns, int64_t wall_us) const;

  // For a snapshot, in index order: overrides applied, nothing ejected, names not looked up.
  std::vector<Server> Effective() const;

  bool has_list() const { return version_ > 0; }
  uint64_t version() const { return version_; }
  const Entries& entries() const { return entries_; }
  const std::map<std::string, Override>& overrides() const { return overrides_; }
  const Override* OverrideOf(const std::string& server) const;
  // The last list, without what is held.
  std::vector<ServerSpec> Listed() const;
  std::vector<ServerSpec> Held() const;

 private:
  Entries Next(const std::vector<ServerSpec>& servers, bool hold, int64_t now_ns) const;
  Applied Difference(const Entries& next) const;
  ServerState StateOf(const Entry& entry) const;

  Policy policy_;
  uint64_t version_ = 0;
  Entries entries_;
  std::map<std::string, Override> overrides_;
};

}  // namespace cashew::pool

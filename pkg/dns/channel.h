#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "pkg/dns/answer.h"

struct ares_channeldata;
struct ares_addrinfo;

namespace cashew::dns {

// c-ares behind a descriptor that can be polled: look-ups of one reading of resolv.conf.
// One thread. The only code that sees ares.h.
class Channel {
 public:
  struct Settings {
    std::string servers;      // "host:port,..." instead of resolv.conf's; empty: resolv.conf's
    std::string resolv_conf;  // path; empty: the system's
    uint16_t port = 0;        // of its name servers; 0: 53
    int timeout_ms = 0;       // of the first try; each further round doubles it
    int tries = 0;
  };

  // Called once for each look-up, from within Start, Process or the destructor, with the TTL as
  // it was received (0 for names of the hosts file) and, from the destructor, status Cancelled.
  // Must not destroy the channel nor start a look-up.
  using Done = std::function<void(uint64_t id, Answer answer)>;

  static absl::StatusOr<std::unique_ptr<Channel>> Open(const Settings& settings, Done done);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Addresses of both families of `host`, from the hosts file or else from DNS with resolv.conf's
  // search domains. `id` is handed to Done.
  void Start(uint64_t id, const std::string& host);

  // Readable when there is work for Process.
  int fd() const { return epoll_fd_; }

  // How long to wait for fd() before Process is due anyway, at most `max_ms`.
  int64_t TimeoutMs(int64_t max_ms) const;

  // Reads, writes, times out. Never blocks.
  void Process();

 private:
  explicit Channel(Done done) : done_(std::move(done)) {}

  absl::Status Init(const Settings& settings);
  static void OnSocketState(void* self, int socket, int readable, int writable);
  static void OnAddresses(void* lookup, int status, int timeouts, ares_addrinfo* found);

  const Done done_;
  int epoll_fd_ = -1;
  ares_channeldata* channel_ = nullptr;
};

}  // namespace cashew::dns

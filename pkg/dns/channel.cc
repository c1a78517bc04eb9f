#include "pkg/dns/channel.h"

#include <algorithm>
#include <ares.h>
#include <arpa/inet.h>
#include <cstring>
#include <limits>
#include <mutex>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::dns {
namespace {

// A look-up on its way through c-ares, which hands it back exactly once.
struct Lookup {
  const Channel::Done* done;
  uint64_t id;
  std::string host;
};

std::string Describe(const std::string& host, int status) {
  return fmt::format("name \"{}\": {}", base::Escape(host, 64), ares_strerror(status));
}

absl::Status ToStatus(const std::string& host, int status) {
  switch (status) {
    case ARES_SUCCESS:
      return absl::OkStatus();
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
      return absl::NotFoundError(Describe(host, status));
    case ARES_EBADNAME:
      return absl::InvalidArgumentError(Describe(host, status));
    case ARES_EDESTRUCTION:
    case ARES_ECANCELLED:
      return absl::CancelledError(Describe(host, status));
    default:
      return absl::UnavailableError(Describe(host, status));
  }
}

// Empty for what is no address of the internet.
std::string Numeric(const sockaddr* address) {
  if (address == nullptr) return "";
  char text[INET6_ADDRSTRLEN] = "";
  const void* bytes = nullptr;
  if (address->sa_family == AF_INET) {
    bytes = &reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
  } else if (address->sa_family == AF_INET6) {
    bytes = &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  }
  if (bytes == nullptr || inet_ntop(address->sa_family, bytes, text, sizeof(text)) == nullptr) {
    return "";
  }
  return text;
}

// By value, not by text: 10.0.0.9 before 10.0.0.10.
std::string Bytes(int family, const std::string& ip) {
  char bytes[sizeof(in6_addr)] = {};
  inet_pton(family, ip.c_str(), bytes);
  return std::string(bytes, sizeof(bytes));
}

// `found` is in RFC 6724's order, of which only the first family is kept: see Answer::ips.
void Fill(const ares_addrinfo& found, Answer* answer) {
  std::vector<std::tuple<bool, std::string, std::string>> order;
  int64_t ttl_s = std::numeric_limits<int32_t>::max();
  for (const ares_addrinfo_node* node = found.nodes; node != nullptr; node = node->ai_next) {
    const std::string ip = Numeric(node->ai_addr);
    if (ip.empty()) continue;
    order.emplace_back(node->ai_family != found.nodes->ai_family, Bytes(node->ai_family, ip), ip);
    ttl_s = std::min<int64_t>(ttl_s, node->ai_ttl);
  }
  for (const ares_addrinfo_cname* cname = found.cnames; cname != nullptr; cname = cname->next) {
    ttl_s = std::min<int64_t>(ttl_s, cname->ttl);
  }
  std::sort(order.begin(), order.end());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  for (const auto& entry : order) answer->ips.push_back(std::get<2>(entry));
  // RFC 2181: a TTL with its highest bit set counts as 0.
  answer->ttl_ms = std::max<int64_t>(ttl_s, 0) * 1000;
}

absl::Status Failed(const char* what, int status) {
  return absl::UnavailableError(fmt::format("{}: {}", what, ares_strerror(status)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Channel>> Channel::Open(const Settings& settings, Done done) {
  static std::once_flag once;
  std::call_once(once, [] { ares_library_init(ARES_LIB_INIT_ALL); });
  std::unique_ptr<Channel> channel(new Channel(std::move(done)));
  if (absl::Status status = channel->Init(settings); !status.ok()) return status;
  return channel;
}

absl::Status Channel::Init(const Settings& settings) {
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd_ < 0) return absl::ErrnoToStatus(errno, "epoll_create1");
  ares_options options = {};
  char lookups[] = "fb";  // the hosts file, then DNS, whatever the system's order
  std::string resolv_conf = settings.resolv_conf;
  options.timeout = settings.timeout_ms;
  options.tries = settings.tries;
  options.lookups = lookups;
  options.sock_state_cb = &Channel::OnSocketState;
  options.sock_state_cb_data = this;
  int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
  if (!resolv_conf.empty()) {
    options.resolvconf_path = resolv_conf.data();
    mask |= ARES_OPT_RESOLVCONF;
  }
  if (settings.port != 0) {
    options.udp_port = options.tcp_port = settings.port;
    mask |= ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT;
  }
  int status = ares_init_options(&channel_, &options, mask);
  if (status != ARES_SUCCESS) {
    channel_ = nullptr;
    return Failed("cannot set up name look-ups", status);
  }
  if (settings.servers.empty()) return absl::OkStatus();
  status = ares_set_servers_ports_csv(channel_, settings.servers.c_str());
  return status == ARES_SUCCESS ? absl::OkStatus() : Failed("cannot use name servers", status);
}

Channel::~Channel() {
  if (channel_ != nullptr) ares_destroy(channel_);
  if (epoll_fd_ >= 0) close(epoll_fd_);
}

void Channel::Start(uint64_t id, const std::string& host) {
  ares_addrinfo_hints hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  auto* lookup = new Lookup{&done_, id, host};
  ares_getaddrinfo(
      channel_, host.c_str(), nullptr, &hints,
      [](void* arg, int status, int timeouts, ares_addrinfo* found) {
        OnAddresses(arg, status, timeouts, found);
      },
      lookup);
}

void Channel::OnAddresses(void* arg, int status, int /*timeouts*/, ares_addrinfo* found) {
  const std::unique_ptr<Lookup> lookup(static_cast<Lookup*>(arg));
  const std::unique_ptr<ares_addrinfo, void (*)(ares_addrinfo*)> owned(found, ares_freeaddrinfo);
  Answer answer;
  if (status == ARES_SUCCESS && found != nullptr) Fill(*found, &answer);
  if (status == ARES_SUCCESS && answer.ips.empty()) status = ARES_ENODATA;
  answer.status = ToStatus(lookup->host, status);
  (*lookup->done)(lookup->id, std::move(answer));
}

void Channel::OnSocketState(void* self, int socket, int readable, int writable) {
  const int epoll_fd = static_cast<Channel*>(self)->epoll_fd_;
  epoll_event event = {};
  event.events = (readable != 0 ? EPOLLIN : 0u) | (writable != 0 ? EPOLLOUT : 0u);
  event.data.fd = socket;
  if (event.events == 0) {
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, socket, nullptr);
  } else if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, socket, &event) != 0) {
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, socket, &event);
  }
}

int64_t Channel::TimeoutMs(int64_t max_ms) const {
  timeval max = {max_ms / 1000, (max_ms % 1000) * 1000};
  timeval left = {};
  // One of the two, and only that one is set: `max` when nothing is asked.
  const timeval* next = ares_timeout(channel_, &max, &left);
  return next->tv_sec * 1000 + (next->tv_usec + 999) / 1000;
}

void Channel::Process() {
  epoll_event events[16];  // what does not fit stays readable
  const int n = epoll_wait(epoll_fd_, events, std::size(events), 0);
  for (int i = 0; i < n; ++i) {
    const bool failed = (events[i].events & (EPOLLERR | EPOLLHUP)) != 0;
    const int fd = events[i].data.fd;
    ares_process_fd(channel_, failed || (events[i].events & EPOLLIN) ? fd : ARES_SOCKET_BAD,
                    events[i].events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
  }
  ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // timeouts
}

}  // namespace cashew::dns

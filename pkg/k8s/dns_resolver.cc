#include "pkg/k8s/dns_resolver.h"

#include <algorithm>
#include <ares.h>
#include <arpa/nameser.h>
#include <array>
#include <memory>
#include <mutex>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#include <utility>

#include "absl/status/status.h"
#include "fmt/format.h"

namespace cashew::k8s {

namespace {

constexpr char kResolvConf[] = "/etc/resolv.conf";
constexpr int kTries = 3;
constexpr int kUdpBytes = 1232;  // as resolvers agreed; larger answers come by TCP
constexpr size_t kAtOnce = 64;   // queries on their way
constexpr int kLongestWaitMs = 1'000;

int64_t ModificationNs(const char* path) {
  struct stat file {};
  if (stat(path, &file) != 0) return 0;
  return file.st_mtim.tv_sec * 1'000'000'000 + file.st_mtim.tv_nsec;
}

// One query on its way; the callback ends it.
struct Waiting {
  const DnsQuery* query = nullptr;
  absl::StatusOr<DnsAnswer>* answer = nullptr;
  int* waiting = nullptr;
};

void OnAnswer(void* self, int status, int /*timeouts*/, unsigned char* bytes, int size) {
  const std::unique_ptr<Waiting> query(static_cast<Waiting*>(self));
  --*query->waiting;
  if (status == ARES_SUCCESS) {
    *query->answer =
        ParseDnsAnswer({reinterpret_cast<const char*>(bytes), static_cast<size_t>(size)});
  } else if (status == ARES_ENODATA || status == ARES_ENOTFOUND) {
    *query->answer = DnsAnswer{};
  } else if (status == ARES_ECANCELLED || status == ARES_EDESTRUCTION) {
    *query->answer = absl::CancelledError("stopped");
  } else {
    *query->answer =
        absl::UnavailableError(fmt::format("{}: {}", query->query->name, ares_strerror(status)));
  }
}

}  // namespace

DnsResolver::DnsResolver(std::string servers, int query_timeout_ms)
    : servers_(std::move(servers)),
      query_timeout_ms_(query_timeout_ms),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  static std::once_flag once;
  std::call_once(once, [] { ares_library_init(ARES_LIB_INIT_ALL); });
}

DnsResolver::~DnsResolver() {
  Close();
  close(wake_fd_);
}

void DnsResolver::Cancel() {
  cancelled_ = true;
  eventfd_write(wake_fd_, 1);
}

std::vector<absl::StatusOr<DnsAnswer>> DnsResolver::Ask(const std::vector<DnsQuery>& queries) {
  std::vector<absl::StatusOr<DnsAnswer>> answers(queries.size(), absl::CancelledError("stopped"));
  if (absl::Status status = Open(); !status.ok()) {
    std::fill(answers.begin(), answers.end(), status);
    return answers;
  }
  int waiting = 0;
  for (size_t i = 0; i < queries.size() && !cancelled_; ++i) {
    const DnsQuery& query = queries[i];
    ++waiting;
    auto* state = new Waiting{.query = &query, .answer = &answers[i], .waiting = &waiting};
    const auto ask = query.search ? &ares_search : &ares_query;
    ask(channel_, query.name.c_str(), ns_c_in, query.type, &OnAnswer, state);
    while (static_cast<size_t>(waiting) >= kAtOnce && !cancelled_) Drive();
  }
  while (waiting > 0 && !cancelled_) Drive();
  if (cancelled_) ares_cancel(channel_);
  return answers;
}

// c-ares reads resolv.conf when a channel is made, and never again.
absl::Status DnsResolver::Open() {
  const int64_t mtime_ns = servers_.empty() ? ModificationNs(kResolvConf) : 0;
  if (channel_ != nullptr && mtime_ns == resolv_conf_mtime_ns_) return absl::OkStatus();
  Close();
  resolv_conf_mtime_ns_ = mtime_ns;
  ares_options options{};
  options.flags = ARES_FLAG_EDNS;
  options.ednspsz = kUdpBytes;
  options.timeout = query_timeout_ms_;
  options.tries = kTries;
  int result = ares_init_options(
      &channel_, &options, ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
  if (result == ARES_SUCCESS && !servers_.empty()) {
    result = ares_set_servers_ports_csv(channel_, servers_.c_str());
  }
  if (result == ARES_SUCCESS) return absl::OkStatus();
  Close();
  return absl::UnavailableError(fmt::format("cannot set up DNS: {}", ares_strerror(result)));
}

void DnsResolver::Close() {
  if (channel_ != nullptr) ares_destroy(channel_);
  channel_ = nullptr;
}

// One wait for an answer, a timeout or Cancel().
void DnsResolver::Drive() {
  std::array<ares_socket_t, ARES_GETSOCK_MAXNUM> sockets;
  const int wanted = ares_getsock(channel_, sockets.data(), static_cast<int>(sockets.size()));
  std::vector<pollfd> polled{{wake_fd_, POLLIN, 0}};
  for (size_t i = 0; i < sockets.size(); ++i) {
    short events = 0;
    if (ARES_GETSOCK_READABLE(wanted, i)) events |= POLLIN;
    if (ARES_GETSOCK_WRITABLE(wanted, i)) events |= POLLOUT;
    if (events != 0) polled.push_back({sockets[i], events, 0});
  }
  timeval longest{kLongestWaitMs / 1000, 0};
  timeval left{};
  const timeval* wait = ares_timeout(channel_, &longest, &left);
  poll(polled.data(), polled.size(),
       static_cast<int>(wait->tv_sec * 1000 + wait->tv_usec / 1000 + 1));
  bool any = false;
  for (size_t i = 1; i < polled.size(); ++i) {
    if (polled[i].revents == 0) continue;
    any = true;
    const bool in = (polled[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0;
    const bool out = (polled[i].revents & POLLOUT) != 0;
    ares_process_fd(channel_, in ? polled[i].fd : ARES_SOCKET_BAD,
                    out ? polled[i].fd : ARES_SOCKET_BAD);
  }
  if (!any) ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

}  // namespace cashew::k8s

#include "pkg/dns/resolver.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmt/format.h"

#include "pkg/base/clock.h"
#include "pkg/base/log.h"
#include "pkg/dns/channel.h"

namespace cashew::dns {
namespace {

constexpr int64_t kMaxWaitMs = 60'000;
constexpr size_t kMaxNameBytes = 254;  // RFC 1035's 255 on the wire, with a dot at the end

int64_t NowNs() { return base::RealClock().NowNs(); }

bool IsNumeric(const std::string& host) {
  in6_addr bytes;
  return inet_pton(AF_INET, host.c_str(), &bytes) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &bytes) == 1;
}

absl::Status Check(const std::string& host) {
  if (!host.empty() && host.size() <= kMaxNameBytes && host.find('\0') == std::string::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(fmt::format("name \"{}\": 1 to {} bytes without NUL are needed",
                                                base::Escape(host, 64), kMaxNameBytes));
}

}  // namespace

Resolver::Resolver(Options options, OnAnswer on_answer)
    : options_(std::move(options)),
      on_answer_(std::move(on_answer)),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited: signals are the control thread's
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Resolver::~Resolver() {
  {
    base::MutexLock lock(&mu_);
    stopping_ = true;
  }
  Post(Verb::kRefresh, "");
  thread_.join();
  close(wake_fd_);
}

void Resolver::Watch(const std::string& host) { Post(Verb::kWatch, host); }
void Resolver::Unwatch(const std::string& host) { Post(Verb::kUnwatch, host); }
void Resolver::Refresh(const std::string& host) { Post(Verb::kRefresh, host); }

void Resolver::Post(Verb verb, const std::string& host) {
  {
    base::MutexLock lock(&mu_);
    commands_.push_back({verb, host});
  }
  eventfd_write(wake_fd_, 1);
}

// --- The thread ----------------------------------------------------------------------------

void Resolver::Run() {
  pthread_setname_np(pthread_self(), "dns");
  resolv_conf_ = MarkOf(options_.resolv_conf);
  OpenChannel();
  while (Obey()) {
    StartDue();
    DeliverDone();
    Wait();
  }
  channel_.reset();  // its cancelled look-ups end in done_, which nobody reads any more
}

// Until there is a command, a packet, or something is due.
void Resolver::Wait() {
  int64_t wait_ms = kMaxWaitMs;
  if (!schedule_.empty() && lookups_.size() < static_cast<size_t>(options_.max_lookups)) {
    const int64_t left_ns = schedule_.begin()->first - NowNs();
    wait_ms = std::clamp<int64_t>((left_ns + base::kNsPerMs - 1) / base::kNsPerMs, 0, wait_ms);
  }
  if (!done_.empty()) wait_ms = 0;
  if (channel_) wait_ms = channel_->TimeoutMs(wait_ms);
  pollfd fds[] = {{wake_fd_, POLLIN, 0}, {channel_ ? channel_->fd() : -1, POLLIN, 0}};
  poll(fds, std::size(fds), static_cast<int>(wait_ms));
  if (fds[0].revents != 0) {
    eventfd_t count;
    eventfd_read(wake_fd_, &count);
  }
  if (channel_) channel_->Process();
  DeliverDone();
}

bool Resolver::Obey() {
  std::vector<Command> commands;
  {
    base::MutexLock lock(&mu_);
    if (stopping_) return false;
    commands.swap(commands_);
  }
  for (const Command& command : commands) {
    switch (command.verb) {
      case Verb::kWatch:
        DoWatch(command.host);
        break;
      case Verb::kUnwatch:
        DoUnwatch(command.host);
        break;
      case Verb::kRefresh:
        DoRefresh(command.host);
        break;
    }
  }
  return true;
}

void Resolver::DoWatch(const std::string& host) {
  std::unique_ptr<Name>& slot = names_[host];
  if (slot == nullptr) slot = std::make_unique<Name>();
  Name* name = slot.get();
  if (++name->watchers > 1) {
    // Not answered yet: the first answer is for all who wait.
    if (name->answered) on_answer_(host, name->last);
    return;
  }
  if (IsNumeric(host)) {
    name->answered = true;
    name->last = {absl::OkStatus(), {host}, options_.max_ttl_ms};
    on_answer_(host, name->last);
    return;
  }
  Reschedule(host, name, NowNs());
}

void Resolver::DoUnwatch(const std::string& host) {
  const auto found = names_.find(host);
  if (found == names_.end() || --found->second->watchers > 0) return;
  schedule_.erase({found->second->due_ns, host});
  names_.erase(found);  // a look-up on its way finds nobody
}

void Resolver::DoRefresh(const std::string& host) {
  const auto found = names_.find(host);
  if (found == names_.end() || IsNumeric(host)) return;
  Name* name = found->second.get();
  name->again = name->lookup != 0;
  if (name->again) return;
  const int64_t soonest = name->started_ns + options_.retry_ms * base::kNsPerMs;
  const int64_t due = std::max(NowNs(), name->started_ns == 0 ? 0 : soonest);
  if (due < name->due_ns) Reschedule(host, name, due);
}

// --- Look-ups ------------------------------------------------------------------------------

void Resolver::StartDue() {
  const int64_t now = NowNs();
  if (schedule_.empty() || schedule_.begin()->first > now) return;
  FollowResolvConf();
  while (!schedule_.empty() && schedule_.begin()->first <= now &&
         lookups_.size() < static_cast<size_t>(options_.max_lookups)) {
    const std::string host = schedule_.begin()->second;
    schedule_.erase(schedule_.begin());
    Start(host, names_.at(host).get());
  }
}

void Resolver::Start(const std::string& host, Name* name) {
  name->lookup = ++last_lookup_;
  name->started_ns = NowNs();
  name->again = false;
  lookups_[name->lookup] = host;
  absl::Status status = Check(host);
  if (status.ok() && channel_ == nullptr) {
    status = absl::UnavailableError("names cannot be looked up: no channel");
  }
  if (status.ok()) {
    channel_->Start(name->lookup, host);
  } else {
    done_.push_back({name->lookup, {std::move(status), {}, 0}});
  }
}

// What Channel reported, now that it is safe to call anything.
void Resolver::DeliverDone() {
  std::vector<std::pair<uint64_t, Answer>> done;
  done.swap(done_);
  for (auto& [id, answer] : done) {
    const auto lookup = lookups_.find(id);
    const std::string host = std::move(lookup->second);
    lookups_.erase(lookup);
    const auto found = names_.find(host);
    if (found == names_.end() || found->second->lookup != id) continue;  // not watched any more
    Name* name = found->second.get();
    name->lookup = 0;
    if (absl::IsCancelled(answer.status)) {
      Reschedule(host, name, NowNs());
    } else {
      Deliver(host, name, std::move(answer));
    }
  }
}

void Resolver::Deliver(const std::string& host, Name* name, Answer answer) {
  if (answer.status.ok()) {
    name->resolved = true;
    name->retry_ms = 0;
    answer.ttl_ms = std::clamp(answer.ttl_ms, options_.min_ttl_ms, options_.max_ttl_ms);
  } else {
    const int64_t most = name->resolved ? options_.max_retry_known_ms : options_.max_retry_new_ms;
    name->retry_ms = std::min(std::max(name->retry_ms * 2, options_.retry_ms), most);
    answer.ttl_ms = name->retry_ms;
  }
  Schedule(host, name, name->again ? std::min(answer.ttl_ms, options_.retry_ms) : answer.ttl_ms);
  name->answered = true;
  name->last = std::move(answer);
  on_answer_(host, name->last);
}

void Resolver::Schedule(const std::string& host, Name* name, int64_t in_ms) {
  Reschedule(host, name, NowNs() + Jittered(in_ms * base::kNsPerMs));
}

void Resolver::Reschedule(const std::string& host, Name* name, int64_t due_ns) {
  schedule_.erase({name->due_ns, host});
  name->due_ns = due_ns;
  schedule_.insert({due_ns, host});
}

// +-10 %, so that names that were first looked up together spread over time.
int64_t Resolver::Jittered(int64_t duration) {
  return duration / 10 * std::uniform_int_distribution<int64_t>(900, 1100)(random_) / 100;
}

// --- resolv.conf ---------------------------------------------------------------------------

Resolver::FileMark Resolver::MarkOf(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return {};
  return {info.st_mtim.tv_sec * base::kNsPerSec + info.st_mtim.tv_nsec, info.st_ino, info.st_size};
}

void Resolver::FollowResolvConf() {
  const FileMark mark = MarkOf(options_.resolv_conf);
  const bool changed = mark != resolv_conf_;
  if (!changed && channel_ != nullptr) return;
  resolv_conf_ = mark;
  channel_.reset();  // what is on its way asks the old servers: it starts again
  OpenChannel();
  if (!changed) return;
  CASHEW_LOG_NOTICE("resolv.conf changed path={}", options_.resolv_conf);
  for (auto& [host, name] : names_) {
    if (name->lookup == 0 && name->retry_ms != 0) Reschedule(host, name.get(), NowNs());
  }
}

void Resolver::OpenChannel() {
  absl::StatusOr<std::unique_ptr<Channel>> channel = Channel::Open(
      {options_.servers, options_.resolv_conf, options_.port, options_.timeout_ms, options_.tries},
      [this](uint64_t id, Answer answer) { done_.emplace_back(id, std::move(answer)); });
  if (channel.ok()) {
    channel_ = *std::move(channel);
  } else {
    CASHEW_LOG_WARN("names cannot be looked up error=\"{}\"",
                    std::string(channel.status().message()));
  }
}

}  // namespace cashew::dns

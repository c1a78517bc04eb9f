#include "pkg/state/store.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <pthread.h>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "pkg/base/clock.h"
#include "pkg/base/log.h"

namespace cashew::state {
namespace {

// A full disk or a lost volume rarely comes back within a second, and a pool's changes are
// minutes apart: 30 s costs little even if the process dies meanwhile.
constexpr int64_t kFirstRetryMs = 100;
constexpr int64_t kMaxRetryMs = 30'000;

constexpr size_t kShownName = 64;

// base::Mutex as std::condition_variable_any takes it.
struct Lockable {
  base::Mutex* mu;
  void lock() { mu->Lock(); }
  void unlock() { mu->Unlock(); }
};

int64_t NowNs() { return base::RealClock().NowNs(); }

// InvalidArgument is Encode's word for "never".
bool WorthRetry(const absl::Status& status) {
  return !status.ok() && !absl::IsInvalidArgument(status);
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& dir, StepHook hook) {
  absl::StatusOr<Directory> directory = Directory::Open(dir);
  if (!directory.ok()) return directory.status();
  directory->RemoveLeftovers();
  return std::unique_ptr<Store>(new Store(dir, std::move(hook)));
}

Store::Store(std::string dir, StepHook hook) : dir_(std::move(dir)), hook_(std::move(hook)) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited: signals are the control thread's
  writer_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Store::~Store() {
  {
    base::MutexLock lock(&mu_);
    stopping_ = true;
  }
  changed_.notify_all();
  writer_.join();
  for (const auto& [pool, pending] : pending_) {
    CASHEW_LOG_ERROR("state lost at exit pool={} dir={} error=\"{}\"",
                     base::Escape(pool, kShownName), dir_, Message(report_.status));
  }
}

absl::StatusOr<std::optional<PoolRecord>> Store::Load(const std::string& pool) {
  {
    base::MutexLock lock(&mu_);
    const auto pending = pending_.find(pool);
    if (pending != pending_.end()) {
      const Wish& wish = pending->second.wish;
      return wish ? std::optional<PoolRecord>(*wish) : std::nullopt;
    }
  }
  base::MutexLock disk(&disk_mu_);
  absl::StatusOr<Directory> directory = Directory::Open(dir_);
  if (!directory.ok()) return directory.status();
  const std::string name = FileName(pool);
  absl::StatusOr<std::string> bytes = directory->Read(name, kMaxFileBytes);
  absl::Status doubt = bytes.status();
  if (absl::IsNotFound(doubt)) return std::nullopt;
  if (!doubt.ok() && !absl::IsDataLoss(doubt)) return doubt;
  if (doubt.ok()) {
    absl::StatusOr<PoolRecord> record = Decode(pool, *bytes);
    if (record.ok()) return std::optional<PoolRecord>(*std::move(record));
    doubt = record.status();
  }
  const absl::Status aside = directory->SetAside(name);
  CASHEW_LOG_WARN("state not used pool={} file={}/{} error=\"{}\" kept_as=\"{}\"",
                  base::Escape(pool, kShownName), dir_, name, Message(doubt),
                  aside.ok() ? name + ".bad-1" : Message(aside));
  return std::nullopt;
}

void Store::Save(const std::string& pool, PoolRecord record) {
  Enqueue(pool, std::make_shared<const PoolRecord>(std::move(record)));
}

void Store::Remove(const std::string& pool) { Enqueue(pool, nullptr); }

void Store::Enqueue(const std::string& pool, Wish wish) {
  {
    base::MutexLock lock(&mu_);
    Pending& pending = pending_[pool];
    std::swap(pending.wish, wish);  // the old one is freed without the lock
    pending.number = ++last_number_;
  }
  changed_.notify_all();
}

absl::Status Store::Flush() {
  Lockable mu{&mu_};
  base::MutexLock lock(&mu_);
  const uint64_t pass = ++passes_wanted_;
  changed_.notify_all();
  changed_.wait(mu, [&] { return passes_done_ >= pass; });
  return report_.status;
}

Store::Report Store::report() const {
  base::MutexLock lock(&mu_);
  Report report = report_;
  report.pending = static_cast<int64_t>(pending_.size());
  return report;
}

void Store::Run() {
  pthread_setname_np(pthread_self(), "state");
  while (WaitForWork()) {
    uint64_t pass = 0;
    {
      base::MutexLock lock(&mu_);
      pass = passes_wanted_;
    }
    EndPass(pass, WritePending());
  }
  EndPass(0, WritePending());
}

bool Store::WaitForWork() {
  Lockable mu{&mu_};
  base::MutexLock lock(&mu_);
  while (!stopping_ && passes_wanted_ == passes_done_) {
    if (pending_.empty()) {
      changed_.wait(mu);
      continue;
    }
    const int64_t wait_ns = retry_ms_ == 0 ? 0 : retry_at_ns_ - NowNs();
    if (wait_ns <= 0) break;
    changed_.wait_for(mu, std::chrono::nanoseconds(wait_ns));
  }
  return !stopping_;
}

// One attempt for each pool that waits. The first error that is worth a retry, if there is one,
// else the first. When none waits, nothing changes.
absl::Status Store::WritePending() {
  std::vector<std::string> pools;
  {
    base::MutexLock lock(&mu_);
    for (const auto& entry : pending_) pools.push_back(entry.first);
    if (pools.empty()) return report_.status;
  }
  absl::Status worst;
  for (const std::string& pool : pools) {
    base::MutexLock disk(&disk_mu_);
    Pending taken;
    {
      base::MutexLock lock(&mu_);
      taken = pending_[pool];
    }
    absl::Status status = Fulfil(pool, taken.wish);
    base::MutexLock lock(&mu_);
    if (!WorthRetry(status) && pending_[pool].number == taken.number) pending_.erase(pool);
    if (status.ok()) {
      report_.saved_us = base::RealClock().WallUs();
      continue;
    }
    ++report_.failures;
    if (worst.ok() || (WorthRetry(status) && !WorthRetry(worst))) {
      worst = absl::Status(
          status.code(),
          fmt::format("pool \"{}\": {}", base::Escape(pool, kShownName), Message(status)));
    }
  }
  return worst;
}

absl::Status Store::Fulfil(const std::string& pool, const Wish& wish) {
  absl::StatusOr<std::string> bytes;
  if (wish) {
    bytes = Encode(pool, *wish);
    if (!bytes.ok()) return bytes.status();
  }
  absl::StatusOr<Directory> directory = Directory::Open(dir_);
  absl::Status status = directory.status();
  if (status.ok()) {
    const std::string name = FileName(pool);
    status = wish ? directory->Replace(name, *bytes, hook_) : directory->Remove(name);
  }
  const bool is_final = absl::IsInvalidArgument(status);  // EINVAL, which may pass
  return is_final ? absl::UnavailableError(Message(status)) : status;
}

void Store::EndPass(uint64_t pass, const absl::Status& status) {
  bool news = false;
  {
    base::MutexLock lock(&mu_);
    news = report_.status != status;
    report_.status = status;
    retry_ms_ = WorthRetry(status) ? std::clamp(retry_ms_ * 2, kFirstRetryMs, kMaxRetryMs) : 0;
    retry_at_ns_ = NowNs() + retry_ms_ * base::kNsPerMs;
    passes_done_ = std::max(passes_done_, stopping_ ? passes_wanted_ : pass);
  }
  changed_.notify_all();
  if (!news) return;
  if (status.ok()) {
    CASHEW_LOG_NOTICE("state is written again dir={}", dir_);
  } else {
    CASHEW_LOG_WARN("state is not written dir={} error=\"{}\"", dir_, Message(status));
  }
}

}  // namespace cashew::state

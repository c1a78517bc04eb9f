#include "pkg/base/log.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <fcntl.h>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <signal.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <system_error>
#include <unistd.h>

#include "pkg/base/clock.h"
#include "pkg/base/log_json.h"
#include "pkg/base/mutex.h"

namespace cashew::base {

namespace {

// About 1.6 MB, allocated once: spdlog keeps each queued line in place.
constexpr size_t kQueueLines = 4096;

std::atomic<int> g_level{kDefaultLogLevel};
std::atomic<LogFormat> g_format{LogFormat::kText};

// Sites that ever held a line back, and how many do now.
std::atomic<detail::LogSite*> g_sites{nullptr};
std::atomic<bool> g_held_back{false};

int OpenForAppend(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

absl::Status OpenError(const std::string& path, int error) {
  return absl::ErrnoToStatus(error, fmt::format("cannot open log file '{}'", path));
}

// A file descriptor that lines are appended to, one write each, and that can be exchanged
// under the writers. spdlog's own file sink creates files with the umask's
// permissions, and aborts a reopen by throwing.
class FdSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  FdSink() {
    set_formatter_(std::make_unique<spdlog::pattern_formatter>("[%Y-%m-%d %H:%M:%S.%e] %s:%# %v"));
  }

  absl::Status Open(const std::string& path) {
    const int fd = path.empty() ? STDERR_FILENO : OpenForAppend(path);
    if (fd < 0) return OpenError(path, errno);
    std::lock_guard path_lock(path_mutex_);
    std::lock_guard lock(mutex_);
    if (fd_ != STDERR_FILENO) ::close(fd_);
    fd_ = fd;
    path_ = path;
    return absl::OkStatus();
  }

  absl::Status Reopen() {
    const std::string path = this->path();
    return path.empty() ? absl::OkStatus() : Open(path);
  }

  uint64_t flushes() {
    std::lock_guard lock(flush_mutex_);
    return flushes_;
  }

  // Whether the number of flushes passed `before` within `wait`.
  bool AwaitFlush(uint64_t before, std::chrono::milliseconds wait) {
    std::unique_lock lock(flush_mutex_);
    return flushed_.wait_for(lock, wait, [&] { return flushes_ > before; });
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    line_.clear();
    if (message.source.filename == nullptr) {  // it is whole already
      line_.append(message.payload.data(), message.payload.data() + message.payload.size());
      line_.push_back('\n');
    } else {
      formatter_->format(message, line_);
    }
    const char* at = line_.data();
    size_t left = line_.size();
    while (left > 0) {
      const ssize_t written = ::write(fd_, at, left);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return;  // a full disk loses the line, never the process
      at += written;
      left -= static_cast<size_t>(written);
    }
  }

  void flush_() override {
    std::lock_guard lock(flush_mutex_);
    ++flushes_;
    flushed_.notify_all();
  }

 private:
  std::string path() {
    std::lock_guard lock(path_mutex_);
    return path_;
  }

  // base_sink's mutex_ is held while write() runs, which a pipe that nobody reads can block
  // for ever. What the control thread asks for without meaning to write has its own.
  int fd_ = STDERR_FILENO;     // under mutex_
  spdlog::memory_buf_t line_;  // under mutex_
  std::mutex path_mutex_;      // taken before mutex_
  std::string path_;           // under path_mutex_
  std::mutex flush_mutex_;     // taken after mutex_
  uint64_t flushes_ = 0;       // under flush_mutex_
  std::condition_variable flushed_;
};

// Created at the first line and never destroyed, so that logging works from the first
// static constructor to the last destructor.
struct State {
  std::shared_ptr<FdSink> sink = std::make_shared<FdSink>();
  std::shared_ptr<spdlog::logger> sync = MakeSync(sink);
  Mutex start_mutex;
  std::shared_ptr<spdlog::details::thread_pool> pool;  // written once, under start_mutex
  std::shared_ptr<spdlog::logger> async;               // the same
  std::atomic<spdlog::logger*> active{sync.get()};

  static std::shared_ptr<spdlog::logger> MakeSync(const std::shared_ptr<FdSink>& sink) {
    return Configured(std::make_shared<spdlog::logger>("", sink));
  }

  // Our own level decides; spdlog passes everything on and prints no complaints of its own.
  static std::shared_ptr<spdlog::logger> Configured(std::shared_ptr<spdlog::logger> logger) {
    logger->set_level(spdlog::level::trace);
    logger->set_error_handler([](const std::string&) {});
    return logger;
  }
};

State& GetState() {
  static State* const state = new State;
  return *state;
}

struct LevelRow {
  const char* name;
  spdlog::level::level_enum spdlog_level;
};

constexpr std::array<LevelRow, kMaxLogLevel + 1> kLevels = {{
    {"emerg", spdlog::level::critical},
    {"alert", spdlog::level::critical},
    {"crit", spdlog::level::critical},
    {"error", spdlog::level::err},
    {"warn", spdlog::level::warn},
    {"notice", spdlog::level::info},
    {"info", spdlog::level::info},
    {"debug", spdlog::level::debug},
    {"trace", spdlog::level::trace},
    {"trace", spdlog::level::trace},
    {"trace", spdlog::level::trace},
    {"trace", spdlog::level::trace},
}};

// The new thread inherits a full mask: signals belong to the control thread.
std::shared_ptr<spdlog::details::thread_pool> StartWriter() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  auto pool = std::make_shared<spdlog::details::thread_pool>(
      kQueueLines, 1, [] { pthread_setname_np(pthread_self(), "log"); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return pool;
}

// As they come, without a look at how many there are.
void WriteLine(const detail::LogSite& site, Severity severity, fmt::string_view format,
               fmt::format_args args) {
  const int index = std::clamp(static_cast<int>(severity), kMinLogLevel, kMaxLogLevel);
  const LevelRow& row = kLevels[static_cast<size_t>(index)];
  spdlog::logger* const logger = GetState().active.load(std::memory_order_acquire);
  if (g_format.load(std::memory_order_relaxed) == LogFormat::kJson) {
    const std::string_view path = site.file;
    const std::string source = fmt::format("{}:{}", path.substr(path.rfind('/') + 1), site.line);
    const std::string json = JsonLine(RealClock().WallUs(), row.name, source, format, args);
    return logger->log(spdlog::source_loc{}, row.spdlog_level, spdlog::string_view_t(json));
  }
  fmt::memory_buffer text;
  fmt::format_to(fmt::appender(text), "{}: ", row.name);
  fmt::vformat_to(fmt::appender(text), format, args);
  logger->log(spdlog::source_loc{site.file, site.line, ""}, row.spdlog_level,
              spdlog::string_view_t(text.data(), text.size()));
}

void WriteHeldBack(const detail::LogSite& site, uint32_t left_out) {
  WriteLine(site, site.severity, "lines from here were held back repeated={}",
            fmt::make_format_args(left_out));
}

// The sites form a list that only grows: there are as many as places in the source.
void HoldBack(detail::LogSite* site, Severity severity) {
  if (!site->listed.exchange(true, std::memory_order_acq_rel)) {
    site->severity = severity;
    site->next = g_sites.load(std::memory_order_relaxed);
    while (!g_sites.compare_exchange_weak(site->next, site, std::memory_order_release,
                                          std::memory_order_relaxed)) {
    }
  }
  g_held_back.store(true, std::memory_order_relaxed);
}

// Of seconds that are over; for the others somebody has to come again.
void Tell(int64_t now_ns) {
  g_held_back.store(false, std::memory_order_relaxed);
  bool left = false;
  for (detail::LogSite* site = g_sites.load(std::memory_order_acquire); site != nullptr;
       site = site->next) {
    const uint32_t left_out = site->limit.TakeLeftOut(now_ns);
    if (left_out > 0) WriteHeldBack(*site, left_out);
    left = left || site->limit.holds_back();
  }
  if (left) g_held_back.store(true, std::memory_order_relaxed);
}

}  // namespace

absl::Status InitLog(int level, const std::string& path) {
  SetLogLevel(level);
  return GetState().sink->Open(path);
}

void StartAsyncLog() {
  State& state = GetState();
  MutexLock lock(&state.start_mutex);
  if (state.pool != nullptr) return;
  state.pool = StartWriter();
  state.async = State::Configured(std::make_shared<spdlog::async_logger>(
      "", state.sink, state.pool, spdlog::async_overflow_policy::overrun_oldest));
  state.active.store(state.async.get(), std::memory_order_release);
}

absl::Status ReopenLog() { return GetState().sink->Reopen(); }

void TellHeldBack() {
  if (g_held_back.load(std::memory_order_relaxed)) Tell(RealClock().NowNs());
}

void FlushLog() {
  if (g_held_back.load(std::memory_order_relaxed)) {
    Tell(RealClock().NowNs() + RepeatLimit::kWindowNs);  // in seconds that have just begun, too
  }
  State& state = GetState();
  spdlog::logger* logger = state.active.load(std::memory_order_acquire);
  // A flush travels through the queue like a line, and may be dropped like one.
  for (int attempt = 0; attempt < 10; ++attempt) {
    const uint64_t before = state.sink->flushes();
    logger->flush();
    if (state.sink->AwaitFlush(before, std::chrono::milliseconds(200))) return;
  }
}

uint64_t LogDropped() {
  State& state = GetState();
  if (state.active.load(std::memory_order_acquire) == state.sync.get()) return 0;
  return state.pool->overrun_counter();
}

void SetLogFormat(LogFormat format) { g_format.store(format, std::memory_order_relaxed); }

int LogLevel() { return g_level.load(std::memory_order_relaxed); }

void SetLogLevel(int level) {
  g_level.store(std::clamp(level, kMinLogLevel, kMaxLogLevel), std::memory_order_relaxed);
}

bool LogEnabled(Severity severity) { return static_cast<int>(severity) <= LogLevel(); }

std::string Escape(std::string_view bytes, size_t max) {
  std::string out;
  const std::string_view shown = bytes.substr(0, max);
  out.reserve(shown.size() + 16);
  for (const char c : shown) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\\') {
      out += "\\\\";
    } else if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    }
  }
  if (shown.size() < bytes.size()) {
    fmt::format_to(std::back_inserter(out), "...({} more)", bytes.size() - shown.size());
  }
  return out;
}

namespace detail {

void WriteLog(LogSite* site, Severity severity, fmt::string_view format, fmt::format_args args) {
  const bool limited = !site->each && severity >= Severity::kError && severity <= Severity::kNotice;
  if (!limited) return WriteLine(*site, severity, format, args);
  const int64_t now_ns = RealClock().NowNs();
  if (g_held_back.load(std::memory_order_relaxed)) Tell(now_ns);
  uint32_t left_out = 0;
  if (!site->limit.Admit(now_ns, &left_out)) return HoldBack(site, severity);
  if (left_out > 0) WriteHeldBack(*site, left_out);
  WriteLine(*site, severity, format, args);
}

}  // namespace detail

}  // namespace cashew::base

// The process's log.
//
//   CASHEW_LOG_NOTICE("server ejected pool={} server={}", pool, server);
//   CASHEW_LOG_WARN("client sent junk bytes=\"{}\"", Escape(bytes, 64));
//
// writes `[2026-02-03 04:05:06.789] server_session.cc:123 notice: server ejected …`.
// Levels and the shape of a line are nutcracker's (nc_log.h), with the level's name
// added. Text is key=value after a few words, one line per event; whatever a client
// sent passes through Escape first. As JSON (SetLogFormat) the same words are the fields of
// one object a line; see log_json.h.
//
// One place in the source writes 50 lines a second of severity notice and above, at most; what
// it has left out it tells when the second is over: `… lines from here were held back
// repeated=1234`. Emergencies, alerts and critical lines always pass, as does everything
// written by CASHEW_LOG_EACH, for what must not be missed and cannot come without end, and for
// the access log.
//
// Life: before InitLog lines go to stderr. InitLog opens the file, synchronously and without
// starting a thread, so that the process may still fork. StartAsyncLog, after the fork, puts a
// bounded queue and one thread behind every later line: a caller then never waits for the
// disk; when the queue is full its oldest line is dropped and counted. FlushLog at exit.
//
// Everything here may be called from any thread.
#pragma once

#include <absl/status/status.h>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <utility>

#include "pkg/base/repeat_limit.h"

namespace cashew::base {

// nutcracker's twelve levels; 8 to 11 are ever more verbose debugging.
enum class Severity : int {
  kEmerg = 0,
  kAlert = 1,
  kCrit = 2,
  kError = 3,
  kWarn = 4,
  kNotice = 5,
  kInfo = 6,
  kDebug = 7,
  kTrace = 11,
};

inline constexpr int kMinLogLevel = 0;
inline constexpr int kMaxLogLevel = 11;
inline constexpr int kDefaultLogLevel = 5;

// Sends the log to `path`, opened for append and created 0644 less the umask, or to stderr
// when it is empty. On failure only the level has changed.
absl::Status InitLog(int level, const std::string& path);

// From here on lines are queued and written by a thread of the log's own, which blocks all
// signals. Call after the last fork; a second call does nothing.
void StartAsyncLog();

enum class LogFormat : uint8_t { kText, kJson };

// The shape of every later line.
void SetLogFormat(LogFormat format);

// Opens the path anew, after rotation moved the old file away. On failure the old file
// stays in use. Nothing to do for stderr.
absl::Status ReopenLog();

// Writes what was held back in seconds that are over; any later line does so too. Costs next to
// nothing when there is none.
void TellHeldBack();

// Returns once every line logged before the call is written, or after two seconds.
void FlushLog();

// Lines dropped because the queue was full, since start.
uint64_t LogDropped();

// The level up to which lines are written; set values are clamped to 0..11.
int LogLevel();
void SetLogLevel(int level);
bool LogEnabled(Severity severity);

// Bytes made safe for a log line or an error text: printable ASCII as it is, `\` as `\\`,
// everything else as \xNN. Shows at most `max` bytes of the input; what is left out
// is marked: `abc...(1021 more)`.
std::string Escape(std::string_view bytes, size_t max);

namespace detail {

// A place in the source that logs. Static, one for each use of a macro.
struct LogSite {
  const char* file;
  int line;
  bool each;  // nothing is held back
  Severity severity = Severity::kNotice;
  RepeatLimit limit{};
  std::atomic<bool> listed{false};  // among those that have held something back
  LogSite* next = nullptr;
};

void WriteLog(LogSite* site, Severity severity, fmt::string_view format, fmt::format_args args);

template <typename... Args>
void Log(LogSite* site, Severity severity, fmt::format_string<Args...> format, Args&&... args) {
  WriteLog(site, severity, format, fmt::make_format_args(args...));
}

}  // namespace detail

}  // namespace cashew::base

// Arguments are evaluated only when the level is on.
#define CASHEW_LOG_AT_SITE(each, severity, ...)                                            \
  do {                                                                                     \
    if (::cashew::base::LogEnabled(severity)) {                                            \
      static constinit ::cashew::base::detail::LogSite log_site{__FILE__, __LINE__, each}; \
      ::cashew::base::detail::Log(&log_site, severity, __VA_ARGS__);                       \
    }                                                                                      \
  } while (false)
#define CASHEW_LOG(severity, ...) CASHEW_LOG_AT_SITE(false, severity, __VA_ARGS__)
// `severity` is a word: CASHEW_LOG_EACH(kNotice, "listening pool={}", name).
#define CASHEW_LOG_EACH(severity, ...) \
  CASHEW_LOG_AT_SITE(true, ::cashew::base::Severity::severity, __VA_ARGS__)

#define CASHEW_LOG_EMERG(...) CASHEW_LOG(::cashew::base::Severity::kEmerg, __VA_ARGS__)
#define CASHEW_LOG_ALERT(...) CASHEW_LOG(::cashew::base::Severity::kAlert, __VA_ARGS__)
#define CASHEW_LOG_CRIT(...) CASHEW_LOG(::cashew::base::Severity::kCrit, __VA_ARGS__)
#define CASHEW_LOG_ERROR(...) CASHEW_LOG(::cashew::base::Severity::kError, __VA_ARGS__)
#define CASHEW_LOG_WARN(...) CASHEW_LOG(::cashew::base::Severity::kWarn, __VA_ARGS__)
#define CASHEW_LOG_NOTICE(...) CASHEW_LOG(::cashew::base::Severity::kNotice, __VA_ARGS__)
#define CASHEW_LOG_INFO(...) CASHEW_LOG(::cashew::base::Severity::kInfo, __VA_ARGS__)
#define CASHEW_LOG_DEBUG(...) CASHEW_LOG(::cashew::base::Severity::kDebug, __VA_ARGS__)
#define CASHEW_LOG_TRACE(...) CASHEW_LOG(::cashew::base::Severity::kTrace, __VA_ARGS__)

#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

// What state asks of a file system: a private directory whose files are replaced whole.

namespace cashew::state {

// Called after each step of Replace: "open", "write", "fsync", "rename", "dirsync".
using StepHook = std::function<void(const char* step)>;

// A directory that only its owner can enter, held open: all names below are within it, and none
// of them is followed when it is a symbolic link. One thread at a time.
class Directory {
 public:
  // Made (0700; its parent must exist) if missing; a symbolic link that root or this user made is
  // followed. FailedPrecondition with what to do when `path` is anybody else's link or one to
  // nowhere, not a directory, another user's, or open to group or others.
  static absl::StatusOr<Directory> Open(const std::string& path);

  ~Directory();
  Directory(Directory&& other) noexcept;
  Directory& operator=(Directory&&) = delete;

  // NotFound: there is no such file. DataLoss: there is one, but not a regular file of ours of
  // at most `max` bytes that can be read. Anything else: the machine's trouble.
  absl::StatusOr<std::string> Read(const std::string& name, size_t max) const;

  // `name` is the old file, whole, until it is the new one, whole, and on disk. Two processes
  // may replace the same file: one of them wins.
  absl::Status Replace(const std::string& name, std::string_view bytes, const StepHook& hook) const;

  // Absent is fine.
  absl::Status Remove(const std::string& name) const;

  // Renames `name` to `name`.bad-1, after 1 became 2 and so on; the oldest of four is lost.
  absl::Status SetAside(const std::string& name) const;

  // Removes what a Replace that was cut short left behind. When it was not cut short but is
  // running in another process (an upgrade), that one fails and is to be repeated.
  void RemoveLeftovers() const;

 private:
  explicit Directory(int fd) : fd_(fd) {}
  absl::Status Sync() const;

  int fd_;
};

}  // namespace cashew::state

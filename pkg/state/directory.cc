#include "pkg/state/directory.h"

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::state {
namespace {

constexpr char kTemporary[] = ".tmp-";
constexpr int kKeptBad = 4;

absl::Status Failed(const char* what, const std::string& name) {
  const int error = errno;
  return absl::ErrnoToStatus(error, fmt::format("cannot {} {}", what, name));
}

absl::Status Unfit(const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(fmt::format("state directory {}: {}", path, why));
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { Close(); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  // Whether all went well: some file systems report a failed write only here.
  bool Close() {
    const int fd = std::exchange(fd_, -1);
    return fd < 0 || close(fd) == 0 || errno == EINTR;
  }

 private:
  int fd_;
};

// With a slash at the end a symbolic link would be followed.
std::string WithoutSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// What keeps the open directory from being used; empty: nothing.
std::string Objection(const struct stat& info) {
  if (!S_ISDIR(info.st_mode)) return "is not a directory";
  if (info.st_uid != geteuid()) {
    return fmt::format("belongs to user {}, not to {} who runs this; chown it", info.st_uid,
                       geteuid());
  }
  if ((info.st_mode & 0077) != 0) {
    return fmt::format(
        "mode {:04o} lets group or others in; chmod 700 it, or name a directory inside it",
        info.st_mode & 07777);
  }
  return "";
}

absl::Status WriteAll(int fd, std::string_view bytes, const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("write", name);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

// Up to `max` + 1 bytes, so that a file that grows meanwhile is seen to be too large.
absl::StatusOr<std::string> ReadAll(int fd, size_t expected, size_t max, const std::string& name) {
  std::string bytes;
  bytes.reserve(expected);
  char buffer[16 * 1024];
  while (bytes.size() <= max) {
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("read", name);
    if (n == 0) break;
    bytes.append(buffer, static_cast<size_t>(n));
  }
  return bytes;
}

std::string BadName(const std::string& name, int n) { return fmt::format("{}.bad-{}", name, n); }

// A link that root or this user has made (as systemd's DynamicUser= does) is followed; whose the
// directory itself is, is checked as for any other. Anybody else's link stays, and is refused.
std::string FollowTrusted(const std::string& path) {
  struct stat info;
  const bool is_link = lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
  if (!is_link || (info.st_uid != 0 && info.st_uid != geteuid())) return path;
  char* const target = realpath(path.c_str(), nullptr);
  if (target == nullptr) return path;
  std::string followed = target;
  free(target);
  return followed;
}

}  // namespace

absl::StatusOr<Directory> Directory::Open(const std::string& given) {
  const std::string path = FollowTrusted(WithoutSlashes(given));
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return Failed("make the state directory", path);
  }
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    struct stat info;
    const int error = errno;
    if (lstat(path.c_str(), &info) == 0) {
      if (S_ISLNK(info.st_mode)) {
        return Unfit(path, "is a symbolic link; name the directory it points to");
      }
      if (const std::string why = Objection(info); !why.empty()) return Unfit(path, why);
    }
    errno = error;
    return Failed("open the state directory", path);
  }
  Directory directory(fd);
  struct stat info;
  if (fstat(fd, &info) != 0) return Failed("examine the state directory", path);
  if (const std::string why = Objection(info); !why.empty()) return Unfit(path, why);
  return directory;
}

Directory::~Directory() {
  if (fd_ >= 0) close(fd_);
}

Directory::Directory(Directory&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

absl::StatusOr<std::string> Directory::Read(const std::string& name, size_t max) const {
  // O_NONBLOCK: a FIFO of that name would otherwise wait for a writer.
  const Fd file(openat(fd_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno == ENOENT) return absl::NotFoundError(name);
    if (errno == ELOOP) return absl::DataLossError("it is a symbolic link");
    if (errno == EACCES) return absl::DataLossError("it may not be read");
    if (errno == ENXIO) return absl::DataLossError("it is a socket or a device");
    return Failed("open", name);
  }
  struct stat info;
  if (fstat(file.get(), &info) != 0) return Failed("examine", name);
  if (!S_ISREG(info.st_mode)) return absl::DataLossError("it is not a regular file");
  if (info.st_uid != geteuid()) {
    return absl::DataLossError(fmt::format("it belongs to user {}", info.st_uid));
  }
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size > max) {
    return absl::DataLossError(fmt::format("it has {} bytes, {} are the most", size, max));
  }
  absl::StatusOr<std::string> bytes = ReadAll(file.get(), size, max, name);
  if (bytes.ok() && bytes->size() > max) return absl::DataLossError("it grows while it is read");
  return bytes;
}

absl::Status Directory::Replace(const std::string& name, std::string_view bytes,
                                const StepHook& hook) const {
  static std::atomic<uint64_t> counter = 0;
  const auto done = [&](const char* step) {
    if (hook) hook(step);
  };
  // Of this attempt alone, also when the process before had the same id.
  std::string temporary;
  int fd = -1;
  do {
    temporary = fmt::format("{}{}-{}", kTemporary, getpid(), ++counter);
    fd = openat(fd_, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  } while (fd < 0 && errno == EEXIST);
  if (fd < 0) return Failed("create a file to replace", name);
  Fd file(fd);
  done("open");
  absl::Status status = WriteAll(file.get(), bytes, temporary);
  if (status.ok()) done("write");
  if (status.ok() && fsync(file.get()) != 0) status = Failed("sync", temporary);
  if (!file.Close() && status.ok()) status = Failed("close", temporary);
  if (status.ok()) done("fsync");
  if (status.ok() && renameat(fd_, temporary.c_str(), fd_, name.c_str()) != 0) {
    status = Failed("rename a file to", name);
  }
  if (!status.ok()) {
    unlinkat(fd_, temporary.c_str(), 0);
    return status;
  }
  done("rename");
  status = Sync();
  if (status.ok()) done("dirsync");
  return status;
}

absl::Status Directory::Remove(const std::string& name) const {
  if (unlinkat(fd_, name.c_str(), 0) != 0) {
    return errno == ENOENT ? absl::OkStatus() : Failed("remove", name);
  }
  return Sync();
}

absl::Status Directory::SetAside(const std::string& name) const {
  for (int n = kKeptBad; n > 1; --n) {  // a gap in the numbers is no error
    renameat(fd_, BadName(name, n - 1).c_str(), fd_, BadName(name, n).c_str());
  }
  if (renameat(fd_, name.c_str(), fd_, BadName(name, 1).c_str()) != 0) {
    return Failed("set aside", name);
  }
  return Sync();
}

void Directory::RemoveLeftovers() const {
  // A descriptor of its own: closedir closes it, and its position is its own.
  const int fd = openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(fd < 0 ? nullptr : fdopendir(fd), closedir);
  if (entries == nullptr) {
    if (fd >= 0) close(fd);
    return;  // nothing depends on it: they are never read
  }
  std::vector<std::string> names;
  while (const dirent* entry = readdir(entries.get())) {
    if (std::string_view(entry->d_name).rfind(kTemporary, 0) == 0) names.push_back(entry->d_name);
  }
  for (const std::string& name : names) unlinkat(fd_, name.c_str(), 0);
}

absl::Status Directory::Sync() const {
  return fsync(fd_) == 0 ? absl::OkStatus() : Failed("sync", "the state directory");
}

}  // namespace cashew::state

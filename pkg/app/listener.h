#pragma once

#include <memory>
#include <string>
#include <sys/types.h>

#include "absl/status/statusor.h"

#include "pkg/config/config.h"

namespace cashew::app {

// A pool's listening socket. The acceptor works on duplicates, so that a reload can open
// another door to the same socket, and a successor process can be given it.
class Listener {
 public:
  // Binds the pool's address. The error names it.
  static absl::StatusOr<std::shared_ptr<Listener>> Open(const config::Pool& pool);
  // Goes on with a socket that another process bound for the same address.
  static absl::StatusOr<std::shared_ptr<Listener>> Adopt(const config::Pool& pool, int fd);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Whether a socket that was opened for this process is bound to the pool's address.
  static bool IsFor(const config::Pool& pool, int fd);

  // Equal for pools that listen at the same place.
  static std::string KeyOf(const config::Pool& pool);
  const std::string& key() const { return key_; }
  int fd() const { return fd_; }
  // A duplicate for the acceptor, with the pool's backlog.
  absl::StatusOr<int> Duplicate(const config::Pool& pool) const;
  // Removes the unix socket's path, if it still is this socket's.
  void RemovePath();

 private:
  Listener(std::string key, int fd, std::string unix_path);

  const std::string key_;
  const int fd_;
  const std::string unix_path_;
  ino_t inode_ = 0;  // of the path, as it was bound
};

}  // namespace cashew::app

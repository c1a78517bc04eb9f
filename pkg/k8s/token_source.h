// The bearer token, as it is now.
//
// A projected token is replaced by the kubelet when four fifths of its hour are over. It is
// read again when its file changed, at least once a minute whatever the file says, and when the
// server answered 401.
//
// Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "pkg/base/clock.h"
#include "pkg/base/mutex.h"
#include "pkg/base/secret.h"

namespace cashew::k8s {

class TokenSource {
 public:
  static constexpr int64_t kMaxAgeNs = 60 * base::kNsPerSec;

  // `file` empty: always `fixed`. The clock outlives this.
  TokenSource(std::string file, base::Secret fixed, const base::Clock& clock);

  // Empty: none. A file that cannot be read leaves the token as it was, with one warning.
  base::Secret Get();

  // The server refused it: read the file now. Whether the token is another one.
  bool Refused();

 private:
  void Read() CASHEW_REQUIRES(mutex_);
  bool FileChanged() CASHEW_REQUIRES(mutex_);

  const std::string file_;
  const base::Clock& clock_;
  base::Mutex mutex_;
  base::Secret token_ CASHEW_GUARDED_BY(mutex_);
  int64_t read_ns_ CASHEW_GUARDED_BY(mutex_) = 0;  // 0: never
  int64_t mtime_ns_ CASHEW_GUARDED_BY(mutex_) = 0;
  uint64_t inode_ CASHEW_GUARDED_BY(mutex_) = 0;
  bool warned_ CASHEW_GUARDED_BY(mutex_) = false;
};

}  // namespace cashew::k8s

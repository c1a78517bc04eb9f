#include "pkg/k8s/token_source.h"

#include <fstream>
#include <sys/stat.h>
#include <utility>

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

constexpr size_t kMaxTokenBytes = 64 * 1024;

std::string FirstWord(std::string text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return "";
  const size_t end = text.find_first_of(" \t\r\n", begin);
  return text.substr(begin, end == std::string::npos ? end : end - begin);
}

}  // namespace

TokenSource::TokenSource(std::string file, base::Secret fixed, const base::Clock& clock)
    : file_(std::move(file)), clock_(clock), token_(std::move(fixed)) {}

base::Secret TokenSource::Get() {
  base::MutexLock lock(&mutex_);
  if (!file_.empty() &&
      (read_ns_ == 0 || clock_.NowNs() - read_ns_ >= kMaxAgeNs || FileChanged())) {
    Read();
  }
  return token_;
}

bool TokenSource::Refused() {
  base::MutexLock lock(&mutex_);
  if (file_.empty()) return false;
  const base::Secret before = token_;
  Read();
  return !(token_ == before);
}

void TokenSource::Read() {
  FileChanged();  // takes note of what is read now
  read_ns_ = clock_.NowNs();
  std::ifstream stream(file_, std::ios::binary);
  std::string text(kMaxTokenBytes, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(stream.gcount()));
  text = FirstWord(std::move(text));
  if (text.empty()) {
    if (!warned_) CASHEW_LOG_WARN("no token in file; the last one is kept file={}", file_);
    warned_ = true;
    return;
  }
  warned_ = false;
  token_ = base::Secret(std::move(text));
}

bool TokenSource::FileChanged() {
  struct stat now {};
  if (stat(file_.c_str(), &now) != 0) return false;
  const int64_t mtime_ns = now.st_mtim.tv_sec * base::kNsPerSec + now.st_mtim.tv_nsec;
  const bool changed = mtime_ns != mtime_ns_ || now.st_ino != inode_;
  mtime_ns_ = mtime_ns;
  inode_ = now.st_ino;
  return changed;
}

}  // namespace cashew::k8s

#include "cmd/cashewctl/files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "fmt/format.h"

namespace cashew::ctl {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const auto cannot = [&path] {
    return absl::InvalidArgumentError(
        fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  };
  const auto close = [](std::FILE* file) {
    if (file != stdin) std::fclose(file);
  };
  const std::unique_ptr<std::FILE, decltype(close)> file(
      path == "-" ? stdin : std::fopen(path.c_str(), "re"), close);
  if (file == nullptr) return cannot();
  std::string text;
  char chunk[1 << 16];
  for (size_t n; (n = std::fread(chunk, 1, sizeof chunk, file.get())) > 0;) {
    text.append(chunk, n);
    if (text.size() > kMaxFileBytes) {
      return absl::InvalidArgumentError(
          fmt::format("{} is larger than {} MiB", path, kMaxFileBytes >> 20));
    }
  }
  if (std::ferror(file.get()) != 0) return cannot();
  return text;
}

}  // namespace cashew::ctl

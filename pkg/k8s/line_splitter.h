#pragma once

#include <absl/status/status.h>
#include <cstddef>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <utility>

namespace cashew::k8s {

// Cuts a stream that comes in any pieces into lines. Keeps the begun line, at most
// `max_line` bytes of it, between calls; a stream that ends within a line loses that line,
// which is what a watch wants.
class LineSplitter {
 public:
  explicit LineSplitter(size_t max_line) : max_line_(max_line) {}

  // Calls `on_line(std::string_view)` for every whole line that is not empty, without its
  // end; the view is valid during the call. Stops at the first error.
  template <typename OnLine>
  absl::Status Feed(std::string_view bytes, OnLine&& on_line) {
    while (!bytes.empty()) {
      const size_t end = bytes.find('\n');
      const std::string_view piece = bytes.substr(0, end);
      if (begun_.size() + piece.size() > max_line_) {
        return absl::ResourceExhaustedError(fmt::format("a line of more than {} bytes", max_line_));
      }
      if (end == std::string_view::npos) {
        begun_.append(piece);
        return absl::OkStatus();
      }
      bytes.remove_prefix(end + 1);
      absl::Status status;
      if (begun_.empty()) {
        status = Deliver(piece, on_line);
      } else {
        begun_.append(piece);
        const std::string line = std::exchange(begun_, {});
        status = Deliver(line, on_line);
      }
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  template <typename OnLine>
  static absl::Status Deliver(std::string_view line, OnLine&& on_line) {
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line.empty() ? absl::OkStatus() : on_line(line);
  }

  const size_t max_line_;
  std::string begun_;
};

}  // namespace cashew::k8s

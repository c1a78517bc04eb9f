// A password or key that must not reach a log line, an error or a dump.
//
// Neither fmt nor a stream can print it: both are compile errors. The one way to
// the text is Reveal(), so every use of a secret can be found by that name.
#pragma once

#include <fmt/format.h>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

namespace cashew::base {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}

  // The text itself, for the wire or a comparison. Valid while this object is unchanged.
  const std::string& Reveal() const { return text_; }
  bool empty() const { return text_.empty(); }

  // Whether `given`, from a stranger, is the secret: takes the same time wherever the two
  // differ.
  bool Matches(std::string_view given) const {
    unsigned char difference = given.size() == text_.size() ? 0 : 1;
    for (size_t i = 0; i < given.size(); ++i) {
      const char expected = text_.empty() ? '\0' : text_[i % text_.size()];
      difference = static_cast<unsigned char>(difference | (given[i] ^ expected));
    }
    return difference == 0;
  }

  // Whether two configurations hold the same secret; not constant-time, so not for
  // comparing what a client sent.
  friend bool operator==(const Secret&, const Secret&) = default;
  friend std::ostream& operator<<(std::ostream&, const Secret&) = delete;

 private:
  std::string text_;
};

}  // namespace cashew::base

template <typename Char>
struct fmt::formatter<cashew::base::Secret, Char> {
  formatter() = delete;
};

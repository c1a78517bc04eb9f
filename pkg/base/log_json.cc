#include "pkg/base/log_json.h"

#include <cctype>
#include <ctime>
#include <nlohmann/json.hpp>
#include <type_traits>

namespace cashew::base {
namespace {

using Json = nlohmann::ordered_json;

std::string Rfc3339(int64_t wall_us) {
  const time_t seconds = wall_us / 1'000'000;
  tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     wall_us % 1'000'000);
}

// Reads a format string word by word; its replacement fields take the arguments in turn.
class Reader {
 public:
  Reader(std::string_view format, fmt::format_args args) : rest_(format), args_(args) {}

  // The next word: up to a space that is in no quotes and no braces. False at the end.
  bool Next(std::string_view* word) {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
    if (rest_.empty()) return false;
    bool quoted = false;
    int depth = 0;
    size_t end = 0;
    for (; end < rest_.size(); ++end) {
      const char c = rest_[end];
      if (c == '"' && depth == 0) quoted = !quoted;
      if (c == '{') ++depth;
      if (c == '}') --depth;
      if (c == ' ' && !quoted && depth == 0) break;
    }
    *word = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return true;
  }

  std::string Text(std::string_view pattern) { return fmt::vformat(Numbered(pattern), args_); }

  Json Value(std::string_view pattern) {
    if (pattern == "{}") {
      return fmt::visit_format_arg([this](auto value) { return Typed(value); }, args_.get(next_++));
    }
    return Text(pattern);
  }

 private:
  template <typename T>
  Json Typed(T value) {
    if constexpr (std::is_same_v<T, bool> || std::is_floating_point_v<T>) return value;
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, char> && sizeof(T) <= 8) {
      return value;
    }
    --next_;
    return Text("{}");
  }

  // `{}` and `{:spec}` with their arguments' numbers, since each word is formatted by itself.
  std::string Numbered(std::string_view pattern) {
    std::string out;
    for (size_t i = 0; i < pattern.size(); ++i) {
      out += pattern[i];
      const bool brace = pattern[i] == '{' || pattern[i] == '}';
      if (brace && i + 1 < pattern.size() && pattern[i + 1] == pattern[i]) {
        out += pattern[++i];
      } else if (pattern[i] == '{') {
        out += std::to_string(next_++);
      }
    }
    return out;
  }

  std::string_view rest_;
  fmt::format_args args_;
  int next_ = 0;
};

// The length of `name` in `name=…`; 0 when the word is none.
size_t NameLength(std::string_view word) {
  size_t n = 0;
  while (n < word.size() && (isalnum(static_cast<unsigned char>(word[n])) != 0 || word[n] == '_')) {
    ++n;
  }
  return n < word.size() && word[n] == '=' ? n : 0;
}

std::string_view Unquoted(std::string_view pattern) {
  const bool quoted = pattern.size() >= 2 && pattern.front() == '"' && pattern.back() == '"';
  return quoted ? pattern.substr(1, pattern.size() - 2) : pattern;
}

}  // namespace

std::string JsonLine(int64_t wall_us, std::string_view level, std::string_view source,
                     fmt::string_view format, fmt::format_args args) {
  Json line = {{"ts", Rfc3339(wall_us)}, {"level", level}, {"src", source}, {"msg", ""}};
  std::string message;
  Reader reader({format.data(), format.size()}, args);
  std::string_view word;
  while (reader.Next(&word)) {
    const size_t length = NameLength(word);
    if (length == 0) {
      if (!message.empty()) message += ' ';
      message += reader.Text(word);
      continue;
    }
    std::string name(word.substr(0, length));
    const std::string_view pattern = word.substr(length + 1);
    while (line.contains(name)) name += '_';
    const bool is_text = Unquoted(pattern).size() != pattern.size();
    line[name] = is_text ? Json(reader.Text(Unquoted(pattern))) : reader.Value(pattern);
  }
  line["msg"] = std::move(message);
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cashew::base

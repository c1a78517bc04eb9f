#include "pkg/config/pasted_yaml.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include "pkg/base/log.h"
#include "pkg/config/yaml_tree.h"

namespace cashew::config {

namespace {

constexpr std::string_view kIndent = "  ";
constexpr size_t kMaxPastedProblems = 1000;  // nobody reads more

bool IsKeyCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// A value as a message may show it.
std::string Shown(std::string_view key, std::string_view value) {
  return key == "redis_auth" ? "..." : base::Escape(value, 60);
}

std::string SingleQuoted(std::string_view value) {
  std::string quoted = "'";
  for (const char c : value) {
    quoted += c;
    if (c == '\'') quoted += c;
  }
  return quoted + "'";
}

// `[::1]:22121`, which YAML takes for a list.
bool IsBracketedAddress(std::string_view value) {
  const size_t close = value.find("]:");
  if (value.empty() || value.front() != '[' || close == std::string_view::npos) return false;
  return std::all_of(value.begin() + 1, value.begin() + static_cast<std::ptrdiff_t>(close),
                     [](char c) { return IsKeyCharacter(c) || c == ':' || c == '.' || c == '%'; });
}

bool NeedsQuotes(std::string_view key, std::string_view value) {
  if (value.empty()) return false;
  if (IsBracketedAddress(value) || value.substr(0, 2) == "*:") return true;
  if (key == "hash_tag") return value.front() == '{' || value.front() == '[';
  if (key == "redis_auth") return std::string_view("*&!@`%[{|>").find(value.front()) != value.npos;
  return value.front() == '@' || value.front() == '`' || value.front() == '%';
}

class Repairer {
 public:
  Repairer(std::string_view text, std::span<const std::string_view> keys)
      : lines_(SplitLines(text)), keys_(keys) {}

  PastedYaml Run() {
    for (at_ = 0; at_ < lines_.size(); ++at_) {
      out_.repaired += RepairLine(std::string(lines_[at_]));
      out_.repaired += '\n';
    }
    ReportMisplaced();
    ReportTabs();
    return std::move(out_);
  }

 private:
  // A run of keys at the left margin, told of once.
  struct Misplaced {
    int first_line = 0;
    std::string pool;
    std::string first_key;
    int count = 0;
  };

  int line_number() const { return static_cast<int>(at_) + 1; }

  void Report(std::string_view key, std::string text) {
    if (out_.problems.size() >= kMaxPastedProblems) return;
    out_.problems.push_back({line_number(), pool_, std::string(key), std::move(text)});
  }

  std::string RepairLine(std::string line) {
    const size_t body = line.find_first_not_of(" \t");
    if (body == std::string::npos || line[body] == '#') return line;
    std::string indent = RepairIndent(line.substr(0, body));
    line.erase(0, body);
    if (line.front() == '-') return RepairItem(std::move(indent), std::move(line));
    in_misplaced_list_ = false;
    return RepairKey(std::move(indent), std::move(line));
  }

  std::string RepairIndent(std::string indent) {
    if (indent.find('\t') == std::string::npos) return indent;
    if (tabs_++ == 0) {
      first_tab_ = {line_number(), pool_, "", ""};
    }
    std::string spaces;
    for (const char c : indent) spaces += c == '\t' ? kIndent : std::string_view(" ");
    return spaces;
  }

  std::string RepairItem(std::string indent, std::string line) {
    if (in_misplaced_list_) indent += kIndent;
    const bool separated = line.size() == 1 || line[1] == ' ' || line[1] == '-';
    std::string value = line.substr(1);
    if (separated) {
      const size_t begin = value.find_first_not_of(' ');
      value = begin == std::string::npos ? "" : value.substr(begin);
    } else if (value.find(':') != std::string::npos) {
      Report("servers", fmt::format("no space after the dash; write `{}- {}`", indent,
                                    Shown("servers", value)));
    } else {
      return indent + line;  // a value of some other kind that begins with a dash
    }
    if (value.empty() || line.substr(0, 2) == "--") return indent + line;
    return indent + "- " + RepairValue("servers", value);
  }

  std::string RepairKey(std::string indent, std::string line) {
    const auto end = std::find_if_not(line.begin(), line.end(), IsKeyCharacter);
    const std::string key(line.begin(), end);
    const size_t colon = key.size();
    const bool has_colon = colon < line.size() && line[colon] == ':';
    const size_t begin = has_colon ? line.find_first_not_of(" \t", colon + 1) : std::string::npos;
    const std::string value = begin == std::string::npos ? "" : line.substr(begin);
    const bool has_value = !value.empty() && value.front() != '#';
    if (!has_colon || !IsKnown(key) || (!has_value && key != "servers")) {
      if (indent.empty()) StartPool(line);
      return indent + line;
    }
    if (!has_value && !ListFollows()) return indent + line;
    if (indent.empty()) {
      NoteMisplaced(key);
      indent = kIndent;
      in_misplaced_list_ = key == "servers";
    }
    if (has_value && begin == colon + 1) {
      Report(key, fmt::format("no space after the colon; write `{}{}: {}`", indent, key,
                              Shown(key, value)));
    }
    if (!has_value) return indent + line;
    return fmt::format("{}{}: {}", indent, key, RepairValue(key, value));
  }

  std::string RepairValue(std::string_view key, const std::string& value) {
    if (!NeedsQuotes(key, value)) return value;
    const size_t comment = value.find(" #");
    const std::string bare = value.substr(0, value.find_last_not_of(' ', comment) + 1);
    const std::string quoted = SingleQuoted(bare);
    Report(key,
           fmt::format("the value begins with `{}`, which means something else in YAML; put "
                       "it in quotes: {}",
                       bare.front(), key == "redis_auth" ? "'...'" : base::Escape(quoted, 64)));
    return quoted;
  }

  bool IsKnown(std::string_view key) const {
    return std::find(keys_.begin(), keys_.end(), key) != keys_.end();
  }

  // Whether the next line with content is a list item.
  bool ListFollows() const {
    for (size_t i = at_ + 1; i < lines_.size(); ++i) {
      const size_t body = lines_[i].find_first_not_of(" \t");
      if (body != std::string_view::npos && lines_[i][body] != '#') return lines_[i][body] == '-';
    }
    return false;
  }

  void StartPool(std::string_view line) {
    pool_ = std::string(line.substr(0, line.find(':')));
    if (pool_.size() > 64) pool_.clear();  // prose, not a name
  }

  void NoteMisplaced(const std::string& key) {
    if (misplaced_.count > 0 && misplaced_.pool != pool_) ReportMisplaced();
    if (misplaced_.count++ > 0) return;
    misplaced_.first_line = line_number();
    misplaced_.pool = pool_;
    misplaced_.first_key = key;
  }

  void ReportMisplaced() {
    if (misplaced_.count == 0) return;
    const std::string others =
        misplaced_.count == 1 ? "it"
                              : fmt::format("it and the {} key{} of this pool below it",
                                            misplaced_.count - 1, misplaced_.count == 2 ? "" : "s");
    const std::string where = misplaced_.pool.empty()
                                  ? std::string("a line with the pool's name, such as `alpha:`")
                                  : fmt::format("`{}:`", base::Escape(misplaced_.pool, 64));
    out_.problems.push_back(
        {misplaced_.first_line, misplaced_.pool, misplaced_.first_key,
         fmt::format("stands at the left margin, where only pool names stand; indent {} by two "
                     "spaces under {}",
                     others, where)});
    misplaced_ = {};
  }

  void ReportTabs() {
    if (tabs_ == 0) return;
    const std::string more = tabs_ == 1   ? std::string()
                             : tabs_ == 2 ? std::string(", here and on 1 line below")
                                          : fmt::format(", here and on {} lines below", tabs_ - 1);
    first_tab_.text = fmt::format(
        "a tab in the indentation{}, where YAML allows only spaces; write two spaces for each "
        "level",
        more);
    out_.problems.push_back(std::move(first_tab_));
  }

  const std::vector<std::string_view> lines_;
  const std::span<const std::string_view> keys_;
  size_t at_ = 0;
  std::string pool_;
  bool in_misplaced_list_ = false;  // under `servers:` that stood at the left margin
  Misplaced misplaced_;
  int tabs_ = 0;  // lines with one
  PastedProblem first_tab_;
  PastedYaml out_;
};

}  // namespace

PastedYaml RepairPastedYaml(std::string_view text, std::span<const std::string_view> keys) {
  return Repairer(text, keys).Run();
}

}  // namespace cashew::config

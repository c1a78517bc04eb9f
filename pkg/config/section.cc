#include "pkg/config/section.h"

#include <algorithm>

#include "pkg/base/log.h"

namespace cashew::config {

namespace {

void SortByLine(std::vector<Problem>* problems) {
  std::stable_sort(problems->begin(), problems->end(),
                   [](const Problem& a, const Problem& b) { return a.line < b.line; });
}

}  // namespace

void Report::Finish() {
  SortByLine(&result_->errors);
  SortByLine(&result_->warnings);
  if (error_count_ <= kMaxProblems) return;
  result_->errors.push_back(
      {file_, 0, "", "", fmt::format("and {} more errors", error_count_ - kMaxProblems)});
}

const std::string* Field::Scalar() const {
  if (value_.is_scalar()) return &value_.text;
  if (key_ == "hash_tag") {
    Error(
        "expects two bytes, and YAML reads brackets without quotes as a list or a mapping; put "
        "them in quotes: hash_tag: \"{}\"");
  } else {
    Error(fmt::format("expects one value, found a {}", value_.is_map() ? "mapping" : "list"));
  }
  return nullptr;
}

std::string ExplainUnknownKey(std::string_view key, std::span<const std::string_view> names) {
  if (key == "<<") return "merge keys are not supported; repeat the keys in each pool";
  const size_t colon = key.find(':');
  if (colon != std::string_view::npos &&
      std::find(names.begin(), names.end(), key.substr(0, colon)) != names.end()) {
    return fmt::format("no space after the colon; write `{}: ...`", key.substr(0, colon));
  }
  if (const std::optional<std::string_view> near = Nearest(key, names)) {
    return fmt::format("unknown key; did you mean {}?", *near);
  }
  return "unknown key; remove it or correct its name";
}

std::string ExplainDuplicate(int first_line) {
  return fmt::format("given twice, first on line {}; keep one of them", first_line);
}

std::string KeyText(const YamlNode& key) {
  // "redis_auth:secret" is one word to YAML: show no more of a key than its name.
  return base::Escape(std::string_view(key.text).substr(0, key.text.find(':')), 64);
}

}  // namespace cashew::config

// Reading a YAML mapping against a table of keys: what pools, `global` and the small
// sections inside them have in common. Faults go to a Report, all of them; a key that is
// wrong leaves its default and does not stop the next.
#pragma once

#include <absl/status/statusor.h>
#include <fmt/format.h>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pkg/config/config.h"
#include "pkg/config/values.h"
#include "pkg/config/yaml_tree.h"

namespace cashew::config {

// Nobody reads more of one file's problems; the rest is only counted.
inline constexpr size_t kMaxProblems = 1000;

// Collects the problems of one file.
class Report {
 public:
  Report(std::string file, LoadResult* result) : file_(std::move(file)), result_(result) {}

  void Error(int line, std::string pool, std::string key, std::string text) {
    if (++error_count_ > kMaxProblems) return;
    result_->errors.push_back({file_, line, std::move(pool), std::move(key), std::move(text)});
  }
  void Warn(int line, std::string pool, std::string key, std::string text) {
    if (result_->warnings.size() >= kMaxProblems) return;
    result_->warnings.push_back({file_, line, std::move(pool), std::move(key), std::move(text)});
  }
  size_t error_count() const { return error_count_; }

  // By line, with a last word about those that were only counted.
  void Finish();

 private:
  const std::string file_;
  LoadResult* const result_;
  size_t error_count_ = 0;
};

// One key being read, with its value.
class Field {
 public:
  Field(Report* report, std::string pool, std::string key, int line, const YamlNode& value)
      : report_(*report),
        pool_(std::move(pool)),
        key_(std::move(key)),
        line_(line),
        value_(value) {}

  const YamlNode& value() const { return value_; }
  const std::string& pool() const { return pool_; }
  const std::string& key() const { return key_; }
  int line() const { return line_; }  // of the key
  Report& report() const { return report_; }

  void Error(std::string text) const { ErrorAt(line_, std::move(text)); }
  void ErrorAt(int line, std::string text) const {
    report_.Error(line, pool_, key_, std::move(text));
  }
  void WarnAt(int line, std::string text) const {
    report_.Warn(line, pool_, key_, std::move(text));
  }
  void Warn(std::string text) const { WarnAt(line_, std::move(text)); }

  // The value's text; null, and an error, when it is a list or a mapping.
  const std::string* Scalar() const;

  // Hands the text to `parse(text, args...)`, a StatusOr of something assignable to `*out`.
  template <typename Parse, typename T, typename... Args>
  bool Read(Parse parse, T* out, const Args&... args) const {
    const std::string* text = Scalar();
    if (text == nullptr) return false;
    auto parsed = parse(*text, args...);
    if (!parsed.ok()) {
      Error(std::string(parsed.status().message()));
      return false;
    }
    *out = static_cast<T>(*std::move(parsed));
    return true;
  }

  void ReadText(std::string* out) const {
    if (const std::string* text = Scalar()) *out = *text;
  }

 private:
  Report& report_;
  const std::string pool_;
  const std::string key_;
  const int line_;  // of the key
  const YamlNode& value_;
};

// The keys a section gave, and whether their values were good.
class Seen {
 public:
  void Add(std::string_view key, int line, bool good) {
    keys_.emplace(std::string(key), Given{line, good});
  }
  bool Has(std::string_view key) const { return keys_.find(key) != keys_.end(); }
  bool IsGood(std::string_view key) const {
    const auto found = keys_.find(key);
    return found != keys_.end() && found->second.good;
  }
  // Given and wrong: what depends on it cannot be judged.
  bool IsBad(std::string_view key) const { return Has(key) && !IsGood(key); }
  int LineOf(std::string_view key) const {
    const auto found = keys_.find(key);
    return found == keys_.end() ? 0 : found->second.line;
  }

 private:
  struct Given {
    int line;
    bool good;
  };
  std::map<std::string, Given, std::less<>> keys_;
};

template <typename T>
struct KeyRow {
  std::string_view name;
  void (*read)(const Field& field, T* out);
};

template <typename T>
std::vector<std::string_view> NamesOf(std::span<const KeyRow<T>> rows) {
  std::vector<std::string_view> names;
  for (const KeyRow<T>& row : rows) names.push_back(row.name);
  return names;
}

// What is wrong with a key that no row has: a lost space, a near name, or simply unknown.
std::string ExplainUnknownKey(std::string_view key, std::span<const std::string_view> names);

// The text for a key given for the second time.
std::string ExplainDuplicate(int first_line);

// The text of a mapping's key, escaped for use inside a dotted name.
std::string KeyText(const YamlNode& key);

// Reads every entry of `map` (REQUIRES: is_map()). `prefix` goes before the keys' names in
// messages: "health_check.".
template <typename T>
Seen ReadSection(Report* report, const std::string& pool, const std::string& prefix,
                 const YamlNode& map, std::span<const KeyRow<T>> rows, T* out) {
  Seen seen;
  for (const auto& [key, value] : map.entries) {
    const std::string dotted = prefix + KeyText(*key);
    if (!key->is_scalar()) {
      report->Error(key->line, pool, "", "a key must be a plain word, not a list or a mapping");
      continue;
    }
    if (seen.Has(key->text)) {
      report->Error(key->line, pool, dotted, ExplainDuplicate(seen.LineOf(key->text)));
      continue;
    }
    const size_t errors_before = report->error_count();
    const KeyRow<T>* row = nullptr;
    for (const KeyRow<T>& candidate : rows) {
      if (candidate.name == key->text) row = &candidate;
    }
    if (row == nullptr) {
      report->Error(key->line, pool, dotted, ExplainUnknownKey(key->text, NamesOf(rows)));
    } else if (value->is_missing() || (value->is_scalar() && value->text.empty())) {
      report->Error(key->line, pool, dotted, "has no value; give one or remove the key");
    } else {
      row->read(Field(report, pool, dotted, key->line, *value), out);
    }
    seen.Add(key->text, key->line, report->error_count() == errors_before);
  }
  return seen;
}

// The same for a field whose value should be a mapping.
template <typename T>
Seen ReadSubsection(const Field& field, std::span<const KeyRow<T>> rows, T* out) {
  if (!field.value().is_map()) {
    field.Error(fmt::format("expects a mapping with the keys {}", fmt::join(NamesOf(rows), ", ")));
    return {};
  }
  return ReadSection(&field.report(), field.pool(), field.key() + ".", field.value(), rows, out);
}

}  // namespace cashew::config

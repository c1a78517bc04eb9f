// One YAML document as a tree that keeps what a strict reader needs and yaml-cpp's own
// nodes lose: the line of everything, both of two equal keys, and the text of a plain `null`
// or `~`.
//
// Bounded: nesting, the number of nodes and their number after expanding aliases have
// limits, so that no document can exhaust stack, memory or time.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace cashew::config {

struct YamlNode {
  enum class Kind { kMissing, kScalar, kSequence, kMap };
  struct Entry;

  Kind kind = Kind::kMissing;  // kMissing: nothing was written (`key:` and no value)
  int line = 0;                // 1-based
  std::string text;            // a scalar's value, escapes resolved
  std::vector<const YamlNode*> items;
  std::vector<Entry> entries;  // in file order, equal keys included
  size_t expanded = 1;         // nodes under this one, itself included, aliases counted in full

  bool is_missing() const { return kind == Kind::kMissing; }
  bool is_scalar() const { return kind == Kind::kScalar; }
  bool is_sequence() const { return kind == Kind::kSequence; }
  bool is_map() const { return kind == Kind::kMap; }

  // The value of the first entry with this key; null when there is none.
  const YamlNode* Find(std::string_view key) const;
};

struct YamlNode::Entry {
  const YamlNode* key;
  const YamlNode* value;
};

// Owns the nodes; the pointers between them live as long as it does.
class YamlDocument {
 public:
  YamlDocument() = default;
  YamlDocument(const YamlDocument&) = delete;
  YamlDocument& operator=(const YamlDocument&) = delete;

  const YamlNode& root() const { return *root_; }
  void set_root(const YamlNode* root) { root_ = root; }
  YamlNode* NewNode(YamlNode::Kind kind, int line);
  size_t size() const { return nodes_.size(); }

 private:
  std::deque<YamlNode> nodes_;
  YamlNode nothing_;
  const YamlNode* root_ = &nothing_;
};

struct YamlError {
  int line = 0;  // 0: none
  std::string text;
};

// Far beyond any real configuration, and far below what hurts.
inline constexpr size_t kMaxYamlNodes = 500'000;
inline constexpr size_t kMaxYamlDepth = 32;

// Reads the one document of `text` into an empty `*document`. An empty file leaves the
// root kMissing. Returns false, with the first fault, when it is not YAML, not UTF-8,
// beyond the limits, or holds a second document.
bool ParseYaml(std::string_view text, YamlDocument* document, YamlError* error);

// The lines of a text, without their ends (LF or CRLF), as views into it.
std::vector<std::string_view> SplitLines(std::string_view text);

}  // namespace cashew::config

#include "pkg/config/yaml_tree.h"

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <istream>
#include <map>
#include <optional>
#include <streambuf>
#include <string>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "pkg/base/log.h"

namespace cashew::config {

namespace {

constexpr std::string_view kUtf8Bom = "\xef\xbb\xbf";

// Ends the parse; never leaves this file.
struct Abort : std::exception {
  Abort(int line, std::string text) : error{line, std::move(text)} {}
  YamlError error;
};

// Lends bytes to an istream without copying them.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // setg wants it; nothing writes
    setg(begin, begin, begin + text.size());
  }
};

// The length of the valid UTF-8 sequence at the front of `s`, or 0.
size_t Utf8Length(std::string_view s) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = at(0);
  const size_t length = lead < 0x80   ? 1
                        : lead < 0xc2 ? 0
                        : lead < 0xe0 ? 2
                        : lead < 0xf0 ? 3
                        : lead < 0xf5 ? 4
                                      : 0;
  if (length == 0 || s.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  if (lead == 0xe0 && at(1) < 0xa0) return 0;  // overlong
  if (lead == 0xed && at(1) > 0x9f) return 0;  // surrogate
  if (lead == 0xf0 && at(1) < 0x90) return 0;  // overlong
  if (lead == 0xf4 && at(1) > 0x8f) return 0;  // beyond Unicode
  return length;
}

// YAML is text: valid UTF-8 without control characters but tab and line ends. And since
// yaml-cpp keeps every token of a flow collection in memory, some 200 bytes each, before the first
// event, the marks that make such tokens are counted beforehand.
std::optional<YamlError> CheckText(std::string_view text) {
  int line = 1;
  size_t flow_marks = 0;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\n') ++line;
    const bool control =
        (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7f;
    if (control) {
      return YamlError{
          line, fmt::format("byte 0x{:02x} is a control character, not text; remove it", byte)};
    }
    if ((byte == ',' || byte == '[' || byte == '{') && ++flow_marks > kMaxYamlNodes) {
      return YamlError{line, fmt::format("the file has more than {} brackets and commas; that is "
                                         "no configuration",
                                         kMaxYamlNodes)};
    }
    const size_t length = Utf8Length(text.substr(i));
    if (length == 0) {
      return YamlError{line,
                       fmt::format("byte 0x{:02x} is not UTF-8; save the file as UTF-8", byte)};
    }
    i += length;
  }
  return std::nullopt;
}

// What usually stands behind yaml-cpp's tersest complaints.
struct Hint {
  std::string_view complaint;
  std::string_view hint;
};
constexpr Hint kHints[] = {
    {"end of map not found",
     "keys that belong together must be indented alike, and a key ends with a colon and a space"},
    {"end of sequence not found", "the entries of a list must be indented alike"},
    {"illegal map value",
     "a key may be indented deeper than the ones above it, or a value with `: ` lacks quotes"},
    {"end of sequence flow not found",
     "a `[` is not closed, or a value that begins with one lacks "
     "quotes"},
    {"end of map flow not found",
     "a `{` is not closed, or a value that begins with one lacks "
     "quotes"},
};

// yaml-cpp's text, unless it would repeat what may be a password: `redis_auth: *secret`.
std::string Explain(const YAML::Exception& fault) {
  if (fault.msg.find("anchor is not defined") != std::string::npos) {
    return "not valid YAML: an alias to no anchor; put a value that begins with `*` in quotes";
  }
  for (const auto& [complaint, hint] : kHints) {
    if (fault.msg == complaint) return fmt::format("not valid YAML: {}; {}", complaint, hint);
  }
  return fmt::format("not valid YAML: {}", base::Escape(fault.msg, 120));
}

int LineOf(const YAML::Mark& mark) { return mark.line + 1; }

// Builds the tree from yaml-cpp's events.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, YamlDocument* document)
      : text_(text), lines_(SplitLines(text)), document_(document) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (started_) {
      throw Abort(LineOf(mark),
                  "a second YAML document begins here; one file is one document, "
                  "so remove the `---` between them");
    }
    started_ = true;
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const std::string_view word = PlainNullAt(mark);
    YamlNode* node = New(word.empty() ? YamlNode::Kind::kMissing : YamlNode::Kind::kScalar, mark);
    node->text = std::string(word);
    if (word.empty()) node->line = LastLineBefore(mark);
    Finish(node, anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Abort(LineOf(mark), "an alias refers to itself");
    Attach(found->second);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    CheckTag(mark, tag);
    CheckQuotes(mark);
    YamlNode* node = New(YamlNode::Kind::kScalar, mark);
    node->text = value;
    Finish(node, anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    Open(YamlNode::Kind::kSequence, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    Open(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapEnd() override { Close(); }

 private:
  struct OpenNode {
    YamlNode* node;
    YAML::anchor_t anchor;
    const YamlNode* key = nullptr;  // of a map: read, its value is not
  };

  YamlNode* New(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (document_->size() >= kMaxYamlNodes) {
      throw Abort(
          LineOf(mark),
          fmt::format("the file has more than {} values; that is no configuration", kMaxYamlNodes));
    }
    return document_->NewNode(kind, LineOf(mark));
  }

  void Open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    CheckTag(mark, tag);
    if (open_.size() >= kMaxYamlDepth) {
      throw Abort(LineOf(mark), fmt::format("nested deeper than {} levels", kMaxYamlDepth));
    }
    open_.push_back({New(kind, mark), anchor});
  }

  void Close() {
    const OpenNode closed = open_.back();
    open_.pop_back();
    Finish(closed.node, closed.anchor);
  }

  void Finish(const YamlNode* node, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) anchors_[anchor] = node;
    Attach(node);
  }

  void Attach(const YamlNode* node) {
    if (open_.empty()) {
      document_->set_root(node);
      return;
    }
    OpenNode& parent = open_.back();
    parent.node->expanded += node->expanded;
    if (parent.node->expanded > kMaxYamlNodes) {
      throw Abort(node->line, fmt::format("the aliases expand to more than {} values; that is no "
                                          "configuration",
                                          kMaxYamlNodes));
    }
    if (parent.node->is_sequence()) {
      parent.node->items.push_back(node);
    } else if (parent.key == nullptr) {
      parent.key = node;
    } else {
      parent.node->entries.push_back({parent.key, node});
      parent.key = nullptr;
    }
  }

  // "?": plain, "!": quoted, "": a collection without a tag.
  static void CheckTag(const YAML::Mark& mark, const std::string& tag) {
    static constexpr std::string_view kHarmless[] = {
        "", "?", "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"};
    if (std::find(std::begin(kHarmless), std::end(kHarmless), tag) != std::end(kHarmless)) return;
    throw Abort(LineOf(mark),
                "YAML tags have no meaning here; put a value that begins with `!` "
                "in quotes");
  }

  // The 1-based line of the last text before `mark`: of nothing, yaml-cpp marks the next token.
  int LastLineBefore(const YAML::Mark& mark) const {
    for (int line = std::min(mark.line, static_cast<int>(lines_.size()) - 1); line >= 0; --line) {
      std::string_view text = lines_[static_cast<size_t>(line)];
      if (line == mark.line) text = text.substr(0, static_cast<size_t>(std::max(mark.column, 0)));
      const size_t first = text.find_first_not_of(" \t");
      if (first != std::string_view::npos && text[first] != '#') return line + 1;
    }
    return 1;
  }

  // What the document holds from `mark` to the end of the file.
  std::string_view TextFrom(const YAML::Mark& mark) const {
    if (mark.line < 0 || static_cast<size_t>(mark.line) >= lines_.size()) return {};
    size_t at = static_cast<size_t>(lines_[static_cast<size_t>(mark.line)].data() - text_.data());
    if (mark.line == 0 && text_.substr(0, kUtf8Bom.size()) == kUtf8Bom) at += kUtf8Bom.size();
    if (mark.column < 0) return {};
    at += static_cast<size_t>(mark.column);
    return at < text_.size() ? text_.substr(at) : std::string_view();
  }

  // yaml-cpp takes the end of the file for a closing quote.
  void CheckQuotes(const YAML::Mark& mark) const {
    const std::string_view rest = TextFrom(mark);
    if (rest.empty() || (rest.front() != '"' && rest.front() != '\'')) return;
    const char quote = rest.front();
    for (size_t i = 1; i < rest.size(); ++i) {
      const bool escape = quote == '"' && rest[i] == '\\';
      const bool doubled = quote == '\'' && rest.substr(i, 2) == "''";
      if (escape || doubled) {
        ++i;
      } else if (rest[i] == quote) {
        return;
      }
    }
    throw Abort(LineOf(mark), "a quote opens here and is never closed");
  }

  // yaml-cpp tells of a null but not how it was written: `~` and `null` are text to
  // nutcracker, whereas nothing at all is a missing value. Empty for the latter, whose
  // mark is the next token's.
  std::string_view PlainNullAt(const YAML::Mark& mark) const {
    const bool is_value = !open_.empty() && open_.back().key != nullptr;
    if (is_value && open_.back().key->line != LineOf(mark)) return {};
    const std::string_view rest = TextFrom(mark);
    for (const std::string_view word : {"null", "Null", "NULL", "~"}) {
      if (rest.substr(0, word.size()) == word) return rest.substr(0, word.size());
    }
    return {};
  }

  const std::string_view text_;
  const std::vector<std::string_view> lines_;
  YamlDocument* const document_;
  std::vector<OpenNode> open_;
  std::map<YAML::anchor_t, const YamlNode*> anchors_;  // finished nodes only
  bool started_ = false;
};

}  // namespace

const YamlNode* YamlNode::Find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key->is_scalar() && entry.key->text == key) return entry.value;
  }
  return nullptr;
}

YamlNode* YamlDocument::NewNode(YamlNode::Kind kind, int line) {
  YamlNode& node = nodes_.emplace_back();
  node.kind = kind;
  node.line = line;
  return &node;
}

bool ParseYaml(std::string_view text, YamlDocument* document, YamlError* error) {
  if (std::optional<YamlError> fault = CheckText(text)) {
    *error = *std::move(fault);
    return false;
  }
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    TreeBuilder builder(text, document);
    while (parser.HandleNextDocument(builder)) {
    }
    return true;
  } catch (const Abort& abort) {
    *error = abort.error;
  } catch (const YAML::Exception& fault) {
    *error = {fault.mark.is_null() ? 0 : LineOf(fault.mark), Explain(fault)};
  } catch (const std::exception& fault) {
    *error = {0, fmt::format("not valid YAML: {}", base::Escape(fault.what(), 120))};
  }
  return false;
}

std::vector<std::string_view> SplitLines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    lines.push_back(line);
  }
  return lines;
}

}  // namespace cashew::config

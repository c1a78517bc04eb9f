#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cashew::ctl {

// Text for people. What comes from the network passes through Printable, so that no name can
// move a cursor.

// `text` with control characters as \xNN; the rest, UTF-8 included, as it is.
std::string Printable(std::string_view text);
// The same, but lines stay lines.
std::string PrintableLines(std::string_view text);

// Characters as a terminal counts them, roughly: bytes that begin a character.
size_t DisplayWidth(std::string_view text);

enum class Align : uint8_t { kLeft, kRight };
// Written only to a terminal.
enum class Tone : uint8_t { kPlain, kBad };

struct Column {
  std::string title;
  Align align = Align::kLeft;
};

// Rows under titles, columns padded to their widest cell, two spaces between. No row ends in
// spaces. An empty cell is shown as "-".
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns.
  void Add(std::vector<std::string> cells, Tone tone = Tone::kPlain);
  // With ANSI (bold titles, bad rows red) only when `terminal`.
  std::string Render(bool terminal) const;

 private:
  struct Row {
    std::vector<std::string> cells;
    Tone tone;
  };

  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

// `name  value` lines, values under each other; a value's later lines are indented as far.
std::string Facts(const std::vector<std::pair<std::string, std::string>>& facts);

}  // namespace cashew::ctl

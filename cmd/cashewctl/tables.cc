#include "cmd/cashewctl/tables.h"

#include <algorithm>

#include "fmt/format.h"

namespace cashew::ctl {
namespace {

constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kRed = "\x1b[31m";
constexpr std::string_view kReset = "\x1b[0m";

std::string Escaped(std::string_view text, bool keep_lines) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool control = c < 0x20 || c == 0x7f;
    // U+0080 to U+009F, which some terminals obey like ESC sequences.
    const bool c1 = c == 0xc2 && i + 1 < text.size() && (text[i + 1] & 0xe0) == 0x80;
    if ((control && !(keep_lines && c == '\n')) || c1) {
      out += fmt::format("\\x{:02x}", c);
      if (c1) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string Padded(const std::string& cell, size_t width, Align align) {
  const std::string space(width - std::min(width, DisplayWidth(cell)), ' ');
  return align == Align::kLeft ? cell + space : space + cell;
}

std::string_view ToneCode(Tone tone) { return tone == Tone::kBad ? kRed : std::string_view(); }

std::string Line(const std::vector<std::string>& cells, const std::vector<Column>& columns,
                 const std::vector<size_t>& widths, std::string_view ansi) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    line += Padded(cells[i], widths[i], columns[i].align) + "  ";
  }
  line.erase(line.find_last_not_of(' ') + 1);
  if (ansi.empty()) return line + "\n";
  return fmt::format("{}{}{}\n", ansi, line, kReset);
}

}  // namespace

std::string Printable(std::string_view text) { return Escaped(text, false); }

std::string PrintableLines(std::string_view text) { return Escaped(text, true); }

size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

void Table::Add(std::vector<std::string> cells, Tone tone) {
  for (std::string& cell : cells) cell = cell.empty() ? "-" : Printable(cell);
  rows_.push_back({std::move(cells), tone});
}

std::string Table::Render(bool terminal) const {
  std::vector<size_t> widths;
  std::vector<std::string> titles;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = DisplayWidth(columns_[i].title);
    for (const Row& row : rows_) width = std::max(width, DisplayWidth(row.cells[i]));
    widths.push_back(width);
    titles.push_back(columns_[i].title);
  }
  std::string text = Line(titles, columns_, widths, terminal ? kBold : "");
  for (const Row& row : rows_) {
    text += Line(row.cells, columns_, widths, terminal ? ToneCode(row.tone) : "");
  }
  return text;
}

std::string Facts(const std::vector<std::pair<std::string, std::string>>& facts) {
  size_t width = 0;
  for (const auto& [name, value] : facts) width = std::max(width, DisplayWidth(name));
  std::string text;
  for (const auto& [name, value] : facts) {
    std::string line = Padded(name, width + 2, Align::kLeft);
    for (const char c : PrintableLines(value)) {
      line += c;
      if (c == '\n') line.append(width + 2, ' ');
    }
    line.erase(line.find_last_not_of(" \n") + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace cashew::ctl

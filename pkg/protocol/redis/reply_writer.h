#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

namespace cashew::protocol::redis {

// Appends the line that begins a value: its type and a number.
inline void AppendHeader(std::string* out, char type, int64_t number) {
  char line[24];
  line[0] = type;
  char* end = std::to_chars(line + 1, line + sizeof line - 2, number).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out->append(line, static_cast<size_t>(end - line));
}

// Writes RESP values to the end of a string. An aggregate's elements follow it, as many
// as it announced.
class ReplyWriter {
 public:
  ReplyWriter(std::string* out, bool resp3) : out_(out), resp3_(resp3) {}

  void Status(std::string_view text) { Line('+', text); }
  void Error(std::string_view text) { Line('-', text); }
  void Integer(int64_t n) { AppendHeader(out_, ':', n); }
  void Bulk(std::string_view text) {
    AppendHeader(out_, '$', static_cast<int64_t>(text.size()));
    out_->append(text).append("\r\n");
  }
  void Null() { out_->append(resp3_ ? "_\r\n" : "$-1\r\n"); }
  void Array(size_t count) { AppendHeader(out_, '*', static_cast<int64_t>(count)); }
  void Map(size_t pairs) {
    AppendHeader(out_, resp3_ ? '%' : '*', static_cast<int64_t>(resp3_ ? pairs : 2 * pairs));
  }

 private:
  // Line ends and the like in `text` would end the line early: they are shown as spaces.
  void Line(char type, std::string_view text) {
    out_->push_back(type);
    for (const char c : text) out_->push_back(c == '\r' || c == '\n' ? ' ' : c);
    out_->append("\r\n");
  }

  std::string* const out_;
  const bool resp3_;
};

}  // namespace cashew::protocol::redis

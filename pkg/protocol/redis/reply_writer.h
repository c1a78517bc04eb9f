#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fmt/format.h"

namespace cashew::protocol::redis {

// Writes RESP values to the end of a string. An aggregate's elements follow it, as many
// as it announced.
class ReplyWriter {
 public:
  ReplyWriter(std::string* out, bool resp3) : out_(out), resp3_(resp3) {}

  void Status(std::string_view text) { Line('+', text); }
  void Error(std::string_view text) { Line('-', text); }
  void Integer(int64_t n) { fmt::format_to(std::back_inserter(*out_), ":{}\r\n", n); }
  void Bulk(std::string_view text) {
    fmt::format_to(std::back_inserter(*out_), "${}\r\n", text.size());
    out_->append(text).append("\r\n");
  }
  void Null() { out_->append(resp3_ ? "_\r\n" : "$-1\r\n"); }
  void Array(size_t count) { fmt::format_to(std::back_inserter(*out_), "*{}\r\n", count); }
  void Map(size_t pairs) {
    fmt::format_to(std::back_inserter(*out_), "{}{}\r\n", resp3_ ? '%' : '*',
                   resp3_ ? pairs : 2 * pairs);
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

#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "pkg/protocol/codec.h"
#include "pkg/protocol/memcached/command_table.h"

namespace cashew::protocol::memcached {

inline constexpr size_t kMaxKey = 250;
// memcached closes on longer lines, gets excepted.
inline constexpr size_t kMaxLine = 2048;
// A get of 100,000 keys of full length has 25 MB.
inline constexpr size_t kMaxKeysLine = size_t{32} << 20;

// memcached's text protocol, requests (doc/protocol.txt of memcached 1.6). What
// passes is valid by memcached's own rules, so that a server has one answer for it
// and no reason to hang up: keys of 1..250 bytes without NUL, LF, CR or space,
// numbers that fit, values followed by CRLF.
class MemcachedRequestParser final : public RequestParser {
 public:
  explicit MemcachedRequestParser(const Codec::Limits& limits) : limits_(limits) {}
  ParseResult Parse(std::string_view in, Command* out) override;
  Quiet SkipMessage() override;
  std::optional<std::string> SaveState() const override;
  bool RestoreState(std::string_view state) override { return state.empty(); }

 private:
  struct Line;

  ParseResult ParseLine(std::string_view in, size_t newline, Command* out);
  ParseResult Dispatch(const CommandSpec& spec, const Line& line, Command* out);
  ParseResult Keys(const CommandSpec& spec, const Line& line, Command* out);
  ParseResult Storage(const CommandSpec& spec, const Line& line, Command* out);
  ParseResult KeyOnly(const CommandSpec& spec, const Line& line, Command* out);
  ParseResult Meta(const CommandSpec& spec, const Line& line, Command* out);
  static bool EchoesLineEnd(const CommandSpec& spec, std::string_view key, uint64_t seen);
  ParseResult Keyless(const CommandSpec& spec, const Line& line, Command* out);
  ParseResult Value(const CommandSpec& spec, const Line& line, size_t length, Command* out);

  ParseResult Forward(const CommandSpec& spec, const Line& line, Command* out);
  ParseResult Reply(const Line& line, std::string_view text, Command* out);
  // The proxy's own answer to a line; in strict pools nutcracker's: none, and close.
  ParseResult Answer(const Line& line, std::string_view text, Command* out);
  ParseResult AnswerAndClose(size_t consumed, std::string_view text, Command* out);
  ParseResult AnswerAndSkip(const Line& line, size_t value, std::string_view text, Command* out);
  bool LineTooLong(std::string_view in, size_t length) const;

  const Codec::Limits& limits_;
  size_t scanned_ = 0;                // bytes of the present line known to hold no LF
  size_t message_ = 0;                // bytes of the present line and its value, when known
  size_t line_ = 0;                   // … of its line, LF included
  Quiet message_quiet_ = Quiet::kNo;  // what its line said
  size_t skip_ = 0;                   // bytes of a refused value still to come
};

}  // namespace cashew::protocol::memcached

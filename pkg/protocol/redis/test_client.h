#pragma once

#include <cstdlib>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "pkg/protocol/codec.h"

// For tests: bytes through a RequestParser as a client's session feeds it.
namespace cashew::protocol::redis {

// A request as client libraries write it.
inline std::string Encode(const std::vector<std::string>& words) {
  std::string text = fmt::format("*{}\r\n", words.size());
  for (const std::string& word : words) {
    text += fmt::format("${}\r\n", word.size());
    text.append(word).append("\r\n");
  }
  return text;
}

// What a session sees of one request; its bytes are its own.
struct Seen {
  Action action = Action::kAnswer;
  Merge merge = Merge::kBlocks;
  Lease lease = Lease::kShared;
  bool close = false, barrier = false, login_failed = false, alone = false;
  bool is_read = false, shed_when_full = false, expires = true;
  bool scan = false;
  uint8_t group = 0, reply_kind = 0;
  uint32_t interim = 0, scan_at = 0, scan_check = 0;
  int64_t wait_ms = -1, delay_ms = 0;
  std::string key, sent, answer, verb;
  std::string part;  // kSplit: all keys in one part
  std::vector<std::string> keys, stretches;
  bool operator==(const Seen&) const = default;
};

inline Codec::Limits Strict() {
  Codec::Limits limits;
  limits.strict = true;
  return limits;
}

// A client's connection: bytes in, requests out.
class Client {
 public:
  explicit Client(Codec::Limits limits = {})
      : limits_(std::move(limits)), parser_(RedisCodec().NewRequestParser(limits_)) {}

  // Each call of the parser sees a copy of exactly the bytes it may look at, so that a
  // sanitizer sees it look further.
  std::vector<Seen> Send(std::string_view bytes) {
    pending_ += bytes;
    std::vector<Seen> seen;
    bool alone = false;
    while (!pending_.empty() && !closed_) {
      const std::vector<char> exact(pending_.begin(), pending_.end());
      const ParseResult result = parser_->Parse({exact.data(), exact.size()}, &command_);
      EXPECT_LE(result.consumed, exact.size());
      if (result.status == ParseStatus::kDone) {
        if (result.consumed == 0) abort();  // a session would never end
        seen.push_back(See(alone));
        closed_ = command_.close_after || command_.action == Action::kQuit;
      }
      pending_.erase(0, result.consumed);
      if (result.status == ParseStatus::kInvalid) closed_ = true;
      if (result.status == ParseStatus::kNeedMore && result.wanted != 0) {
        EXPECT_GT(result.wanted, exact.size());
      }
      const bool stuck = result.status == ParseStatus::kNeedMore && result.consumed == 0;
      if (stuck && !result.alone) break;
      EXPECT_FALSE(stuck && alone) << "it asked to be alone twice";
      alone = result.alone;
    }
    return seen;
  }
  // The one request of `words`.
  Seen Ask(const std::vector<std::string>& words) {
    const std::vector<Seen> seen = Send(Encode(words));
    EXPECT_EQ(seen.size(), 1u) << words[0];
    return seen.empty() ? Seen() : seen[0];
  }
  // The same, which the proxy answers.
  std::string Answer(const std::vector<std::string>& words) {
    const Seen seen = Ask(words);
    EXPECT_TRUE(seen.action == Action::kAnswer || seen.action == Action::kQuit) << words[0];
    return seen.answer;
  }
  bool closed() const { return closed_; }
  RequestParser& parser() { return *parser_; }

 private:
  Seen See(bool alone) const {
    Seen s;
    s.action = command_.action;
    s.lease = command_.lease;
    s.alone = alone;
    s.barrier = command_.barrier;
    s.group = command_.group;
    if (s.action == Action::kAnswer || s.action == Action::kQuit) {
      s.answer = command_.answer;
      s.close = command_.close_after;
      s.login_failed = command_.login_failed;
      s.delay_ms = command_.delay_ms;
      return s;
    }
    s.is_read = command_.is_read;
    s.shed_when_full = command_.shed_when_full;
    s.expires = command_.expires;
    s.reply_kind = command_.reply_kind;
    s.interim = command_.interim;
    s.wait_ms = command_.wait_ms;
    s.merge = command_.merge;
    s.key = command_.key;
    s.scan = command_.scan;
    s.scan_at = command_.scan_at;
    s.scan_check = command_.scan_check;
    for (const std::string_view key : command_.keys) s.keys.emplace_back(key);
    if (s.action == Action::kSplit) {
      s.verb = command_.verb;
      for (const std::string_view bytes : command_.stretches) s.stretches.emplace_back(bytes);
      RedisCodec().EncodePart(command_, command_.stretches, &s.part);
    } else {
      s.sent = std::string(command_.head) + std::string(command_.body);
    }
    return s;
  }

  const Codec::Limits limits_;
  std::unique_ptr<RequestParser> parser_;
  Command command_;
  std::string pending_;
  bool closed_ = false;
};

}  // namespace cashew::protocol::redis

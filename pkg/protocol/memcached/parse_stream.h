#pragma once

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "fmt/format.h"

#include "pkg/protocol/codec.h"

// For tests: a stream of bytes through a RequestParser as a client's session feeds
// it, in any pieces.
namespace cashew::protocol::memcached {

// Iterations of a test, by the environment: 1 when CASHEW_TEST_SCALE is not set.
inline int Scaled(int n) {
  const char* scale = getenv("CASHEW_TEST_SCALE");
  return std::max(1, static_cast<int>(n * (scale != nullptr ? atof(scale) : 1.0)));
}

// The usual ones; parsers refer to theirs.
inline const Codec::Limits kDefaultLimits;

// A Command whose bytes are its own.
struct Parsed {
  ParseStatus status = ParseStatus::kDone;  // kDone or kInvalid
  Action action = Action::kAnswer;
  Quiet quiet = Quiet::kNo;
  bool close_after = false;
  bool is_read = false;
  bool expires = true;
  bool shed_when_full = false;
  uint8_t reply_kind = 0;
  uint32_t signature = 0;
  std::string key;
  std::string sent;  // head, then body
  std::string answer;
  std::vector<std::string> keys;
  std::string verb;
  std::string verb_argument;

  bool operator==(const Parsed&) const = default;
};

// Only what the action gives a meaning to.
inline Parsed Copy(ParseStatus status, const Command& c) {
  Parsed p;
  p.status = status;
  if (status != ParseStatus::kDone) return p;
  p.action = c.action;
  if (c.action == Action::kAnswer) {
    p.answer = c.answer;
    p.close_after = c.close_after;
    return p;
  }
  if (c.action == Action::kQuit || c.action == Action::kStats) return p;
  p.quiet = c.quiet;
  p.is_read = c.is_read;
  p.expires = c.expires;
  p.shed_when_full = c.shed_when_full;
  p.reply_kind = c.reply_kind;
  if (c.action == Action::kSplit) {
    for (const std::string_view key : c.keys) p.keys.emplace_back(key);
    p.verb = c.verb;
    p.verb_argument = c.verb_argument;
    return p;
  }
  p.sent = std::string(c.head) + std::string(c.body);
  if (c.action == Action::kForward) {
    p.signature = c.signature;
    p.key = c.key;
  }
  return p;
}

inline std::string Describe(const Parsed& p) {
  if (p.status == ParseStatus::kInvalid) return "invalid";
  std::string text = fmt::format("action={} quiet={} kind={} sent=\"{}\" answer=\"{}\" close={}",
                                 static_cast<int>(p.action), static_cast<int>(p.quiet),
                                 p.reply_kind, p.sent.substr(0, 200), p.answer, p.close_after);
  if (!p.keys.empty()) text += fmt::format(" verb={} keys={}", p.verb, p.keys.size());
  return text;
}

inline std::string Describe(const std::vector<Parsed>& all) {
  std::string text;
  for (const Parsed& p : all) text += Describe(p) + "\n";
  return text;
}

// Parses `pieces` until they are used up or the session would stop. Each call sees
// a copy of exactly the bytes it may look at, so that a sanitizer sees it look further.
inline std::vector<Parsed> Feed(RequestParser& parser,
                                const std::vector<std::string_view>& pieces) {
  std::vector<Parsed> all;
  Command command;
  std::string pending;
  for (const std::string_view piece : pieces) {
    pending += piece;
    size_t at = 0;
    while (at < pending.size()) {
      const std::vector<char> exact(pending.begin() + static_cast<long>(at), pending.end());
      const ParseResult result = parser.Parse({exact.data(), exact.size()}, &command);
      if (result.consumed > exact.size()) abort();
      if (result.status != ParseStatus::kNeedMore) all.push_back(Copy(result.status, command));
      at += result.consumed;
      if (result.status == ParseStatus::kInvalid) return all;
      if (result.status == ParseStatus::kDone) {
        if (result.consumed == 0) abort();  // a session would never end
        if (all.back().close_after || all.back().action == Action::kQuit) return all;
      } else if (result.consumed == 0) {
        break;
      }
    }
    pending.erase(0, at);
  }
  return all;
}

inline std::vector<Parsed> ParseStream(std::string_view stream, std::vector<size_t> cuts = {},
                                       const Codec::Limits& limits = {}) {
  const auto parser = MemcachedCodec().NewRequestParser(limits);
  std::sort(cuts.begin(), cuts.end());
  std::vector<std::string_view> pieces;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    pieces.push_back(stream.substr(begin, cut - begin));
    begin = cut;
  }
  pieces.push_back(stream.substr(begin));
  return Feed(*parser, pieces);
}

// Some places to cut `size` bytes at.
template <typename Random>
std::vector<size_t> RandomCuts(Random& random, size_t size) {
  std::vector<size_t> cuts(1 + random() % 8);
  for (size_t& cut : cuts) cut = random() % (size + 1);
  return cuts;
}

// Makes one small change: a byte changed, put in, taken out, or a stretch doubled.
template <typename Random>
void Mutate(Random& random, std::string* text) {
  using std::string_view_literals::operator""sv;
  static constexpr std::string_view kBytes = " \r\n0123456789-kqbvT\0\t\x80\xff="sv;
  const size_t at = text->empty() ? 0 : random() % text->size();
  switch (random() % 5) {
    case 0:
      if (!text->empty()) (*text)[at] = kBytes[random() % kBytes.size()];
      break;
    case 1:
      text->insert(at, 1, kBytes[random() % kBytes.size()]);
      break;
    case 2:
      if (!text->empty()) text->erase(at, 1 + random() % 3);
      break;
    case 3:
      text->insert(at, text->substr(at, 1 + random() % 12));
      break;
    case 4:
      text->insert(at, 1 + random() % 4, ' ');
      break;
  }
}

}  // namespace cashew::protocol::memcached

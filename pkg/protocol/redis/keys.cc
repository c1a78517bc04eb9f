#include "pkg/protocol/redis/keys.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "pkg/protocol/redis/number.h"

namespace cashew::protocol::redis {
namespace {

using Words = std::span<const std::string_view>;

bool Is(std::string_view word, std::string_view lower) {
  return word.size() == lower.size() &&
         std::equal(word.begin(), word.end(), lower.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? a + ('a' - 'A') : a) == b;
         });
}

// The option's position, or 0. Options stand behind the key.
size_t FindOption(Words words, std::string_view option) {
  for (size_t i = 2; i < words.size(); ++i) {
    if (Is(words[i], option)) return i;
  }
  return 0;
}

KeysError Counted(Words words, size_t count_at, bool may_be_none,
                  std::vector<uint32_t>* positions) {
  const auto count = ParseNumber(words[count_at]);
  if (!count) return KeysError::kNotANumber;
  if (*count < 0) return KeysError::kNegative;
  if (*count == 0 && !may_be_none) return KeysError::kNoKeys;
  if (static_cast<uint64_t>(*count) > words.size() - count_at - 1) return KeysError::kTooMany;
  for (size_t i = 1; i <= static_cast<size_t>(*count); ++i) {
    positions->push_back(static_cast<uint32_t>(count_at + i));
  }
  return KeysError::kNone;
}

// One key at 1, another behind each of the options that store a result. The last one of an
// option counts, as in redis.
void WithDestination(Words words, std::initializer_list<std::string_view> options,
                     std::vector<uint32_t>* positions) {
  positions->push_back(1);
  uint32_t destination = 0;
  for (size_t i = 2; i + 1 < words.size(); ++i) {
    for (const std::string_view option : options) {
      if (Is(words[i], option)) destination = static_cast<uint32_t>(i + 1);
    }
  }
  if (destination != 0) positions->push_back(destination);
}

KeysError Streams(Words words, std::vector<uint32_t>* positions) {
  size_t at = 0;
  for (size_t i = 1; i < words.size() && at == 0; ++i) {
    if (Is(words[i], "streams")) at = i;
    // GROUP names a group and a consumer, either of which may be called STREAMS.
    if (Is(words[i], "group")) i += 2;
  }
  if (at == 0) return KeysError::kSyntax;
  const size_t left = words.size() - at - 1;
  if (left == 0 || left % 2 != 0) return KeysError::kSyntax;
  for (size_t i = 1; i <= left / 2; ++i) positions->push_back(static_cast<uint32_t>(at + i));
  return KeysError::kNone;
}

}  // namespace

KeysError FindKeys(const CommandSpec& spec, Words words, std::vector<uint32_t>* positions) {
  positions->clear();
  switch (spec.keys) {
    case KeySpec::kNone:
      return KeysError::kNone;
    case KeySpec::kRange: {
      const int last = spec.last >= 0 ? spec.last : static_cast<int>(words.size()) + spec.last;
      for (int i = spec.first; i <= last && i < static_cast<int>(words.size()); i += spec.step) {
        positions->push_back(static_cast<uint32_t>(i));
      }
      return positions->empty() ? KeysError::kSyntax : KeysError::kNone;
    }
    case KeySpec::kNumkeys:
      return Counted(words, static_cast<size_t>(spec.first), false, positions);
    case KeySpec::kDestNumkeys:
      positions->push_back(1);
      return Counted(words, static_cast<size_t>(spec.first), false, positions);
    case KeySpec::kScript:
      return Counted(words, static_cast<size_t>(spec.first), true, positions);
    case KeySpec::kStreams:
      return Streams(words, positions);
    case KeySpec::kSort:
      WithDestination(words, {"store"}, positions);
      return KeysError::kNone;
    case KeySpec::kGeoradius:
      WithDestination(words, {"store", "storedist"}, positions);
      return KeysError::kNone;
  }
  return KeysError::kSyntax;
}

bool Blocks(const CommandSpec& spec, Words words) {
  if (spec.handling == Handling::kBlocking) return true;
  return spec.keys == KeySpec::kStreams && FindOption(words, "block") != 0;
}

int64_t BlockTimeoutMs(const CommandSpec& spec, Words words) {
  if (spec.keys == KeySpec::kStreams) {
    const size_t at = FindOption(words, "block");
    if (at == 0 || at + 1 >= words.size()) return -1;
    const auto ms = ParseNumber(words[at + 1]);
    return ms && *ms >= 0 ? *ms : -1;
  }
  // In seconds: behind the name where the keys are counted, else at the end.
  const std::string_view text = spec.keys == KeySpec::kNumkeys ? words[1] : words.back();
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || !(seconds >= 0) || seconds > 1e12) return -1;
  return static_cast<int64_t>(std::ceil(seconds * 1000));
}

}  // namespace cashew::protocol::redis

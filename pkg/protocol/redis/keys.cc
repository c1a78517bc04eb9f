#include "pkg/protocol/redis/keys.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <optional>

#include "pkg/protocol/redis/number.h"
#include "pkg/protocol/redis/words.h"

namespace cashew::protocol::redis {
namespace {

using Words = std::span<const std::string_view>;

// An option and how many words belong to it, so that none of these is taken for one.
struct Option {
  std::string_view name;
  size_t words;
};

// Tells `found` the position of each option from `at` on, until it says false. What is no
// option in the list is passed over: the server will know it, or say so.
template <size_t N, typename Found>
void ForEachOption(Words words, size_t at, const Option (&options)[N], Found found) {
  for (; at < words.size(); ++at) {
    const Option* option = std::find_if(std::begin(options), std::end(options),
                                        [&](const Option& o) { return IsWord(words[at], o.name); });
    if (option == std::end(options)) continue;
    if (!found(at, *option)) return;
    at += option->words;
  }
}

// The number of keys, and behind it the keys, each with its value when the step is 2.
KeysError Counted(const CommandSpec& spec, Words words, bool may_be_none,
                  std::vector<uint32_t>* positions) {
  const auto count_at = static_cast<size_t>(spec.first);
  const size_t step = spec.step > 1 ? static_cast<size_t>(spec.step) : 1;
  const auto count = ParseNumber(words[count_at]);
  if (!count) return KeysError::kNotANumber;
  if (*count < 0) return KeysError::kNegative;
  if (*count == 0 && !may_be_none) return KeysError::kNoKeys;
  const auto keys = static_cast<size_t>(*count);
  if (keys > (words.size() - count_at - 1) / step) return KeysError::kTooMany;
  for (size_t i = 0; i < keys; ++i) {
    positions->push_back(static_cast<uint32_t>(count_at + 1 + i * step));
  }
  return KeysError::kNone;
}

// One key at 1, another behind the options that store a result, of which the last counts.
template <size_t N>
void WithDestination(Words words, size_t at, const Option (&options)[N],
                     std::vector<uint32_t>* positions) {
  positions->push_back(1);
  size_t destination = 0;
  ForEachOption(words, at, options, [&](size_t i, const Option& option) {
    if (option.name.starts_with("store") && i + 1 < words.size()) destination = i + 1;
    return true;
  });
  if (destination != 0) positions->push_back(static_cast<uint32_t>(destination));
}

constexpr Option kSortOptions[] = {{"by", 1}, {"get", 1}, {"limit", 2}, {"store", 1}};
constexpr Option kGeoradiusOptions[] = {{"count", 1}, {"store", 1}, {"storedist", 1}};
// The first word that may be one: GEORADIUSBYMEMBER has a key, a member, a radius and a unit
// before it, and the member may have any name.
constexpr size_t kGeoradiusOptionsAt = 5;
constexpr Option kStreamOptions[] = {
    {"block", 1}, {"claim", 1}, {"count", 1}, {"group", 2}, {"streams", 0}};

struct StreamOptions {
  size_t streams = 0;  // where the word is; 0: it is not there
  size_t block = 0;
};

StreamOptions FindStreamOptions(Words words) {
  StreamOptions out;
  ForEachOption(words, 1, kStreamOptions, [&](size_t i, const Option& option) {
    if (option.name == "block") out.block = i;
    if (option.name == "streams") out.streams = i;
    return out.streams == 0;  // what follows are keys and ids
  });
  return out;
}

KeysError Streams(Words words, std::vector<uint32_t>* positions) {
  const size_t at = FindStreamOptions(words).streams;
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
      return Counted(spec, words, false, positions);
    case KeySpec::kDestNumkeys:
      positions->push_back(1);
      return Counted(spec, words, false, positions);
    case KeySpec::kScript:
      return Counted(spec, words, true, positions);
    case KeySpec::kStreams:
      return Streams(words, positions);
    case KeySpec::kSort:
      WithDestination(words, 2, kSortOptions, positions);
      return KeysError::kNone;
    case KeySpec::kGeoradius:
      WithDestination(words, kGeoradiusOptionsAt, kGeoradiusOptions, positions);
      return KeysError::kNone;
  }
  return KeysError::kSyntax;
}

bool Blocks(const CommandSpec& spec, Words words) {
  if (spec.handling == Handling::kBlocking) return true;
  return spec.keys == KeySpec::kStreams && FindStreamOptions(words).block != 0;
}

int64_t BlockTimeoutMs(const CommandSpec& spec, Words words) {
  if (spec.keys == KeySpec::kStreams) {
    const size_t at = FindStreamOptions(words).block;
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

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Random conversations in memcached's text protocol: what a client with a sense for
// trouble would send. Everything follows from (seed, number), so a stream can be made
// again.

namespace cashew::test {

// SplitMix64: small, fast, the same everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  // 0 … n-1.
  size_t Below(size_t n) { return static_cast<size_t>(Next() % n); }
  // True `n` times of `of`.
  bool Chance(size_t n, size_t of) { return Below(of) < n; }

 private:
  uint64_t state_;
};

// One request, or what damage left of it, and where send() calls begin within it.
struct Part {
  std::string bytes;
  std::vector<size_t> cuts;  // ascending
};

enum class Ending : uint8_t {
  kHalfClose,  // sends all, shuts down writing, reads to the end
  kVanish,     // sends some, and closes without reading
  kReset,      // … and resets
};

struct Stream {
  uint64_t number = 0;
  // Stands in every key, so that streams side by side do not meet; of kPrefixSize
  // bytes, in base64 keys encoded.
  std::string prefix;
  // Not empty: before the parts this key is set and read with gets, and its cas
  // unique takes the place of kAnyUnique in the parts.
  std::string cas_key;
  std::vector<Part> parts;
  Ending ending = Ending::kHalfClose;
};

inline constexpr size_t kPrefixSize = 9;
// As long as the longest unique, so that putting one in moves no byte.
inline constexpr std::string_view kAnyUnique = "18446744073709550042";

struct Habits {
  int damaged_percent = 35;
  int truncated_percent = 12;
  int vanishing_percent = 0;
};

Stream MakeStream(uint64_t seed, uint64_t number, const Habits& habits);

// The same stream in other keys: it finds a fresh world, as the first one did.
Stream WithPrefix(const Stream& stream, uint64_t seed, uint64_t number);

// All parts' bytes in a row; with `unique` (20 digits, or empty for none) where
// kAnyUnique is a word, or a C flag's number.
std::string BytesOf(const Stream& stream, std::string_view unique);

// Where the stream's bytes are cut, as sizes of the pieces.
std::vector<size_t> PieceSizes(const Stream& stream);

std::string EncodeBase64(std::string_view bytes);

}  // namespace cashew::test

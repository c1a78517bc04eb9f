#include "test/integration/conversation_generator.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include "fmt/format.h"

namespace cashew::test {
namespace {

using std::string;
using std::string_view;

constexpr size_t kMaxParts = 12;
constexpr size_t kMaxGetKeys = 8;

// Times far from now, also with a byte of them damaged: an answer must not depend on
// when it was asked for.
constexpr string_view kExptimes[] = {"0", "0", "0", "0", "900000", "-9"};
constexpr string_view kStorageVerbs[] = {"set",     "set",    "set",    "add",
                                         "replace", "append", "prepend"};
constexpr string_view kTrickyValues[] = {"END\r\n",
                                         "VALUE x 0 3\r\nabc\r\nEND\r\n",
                                         "\r\n",
                                         "\r\nget a\r\n",
                                         "STORED\r\n",
                                         "HD\r\n",
                                         "VA 3 c1\r\nabc\r\n",
                                         "EN\r\n",
                                         "MN\r\n",
                                         "ERROR\r\n",
                                         "SERVER_ERROR x\r\n",
                                         "set x 0 0 1\r\ny\r\n"};
constexpr string_view kNumbers[] = {
    "0", "7", "50000", "5000000000", "777777777777777777", "18446744073709551616", "x1"};
constexpr string_view kDeltas[] = {"0", "1", "1", "5", "5", "100", "18446744073709551615"};

template <typename T, size_t n>
T Pick(Random& random, const T (&from)[n]) {
  return from[random.Below(n)];
}

// What each request of one stream is made from.
class Composer {
 public:
  Composer(Random& random, const string& prefix) : random_(random), prefix_(prefix) {
    const size_t keys = 1 + random_.Below(5);
    for (size_t i = 0; i < keys; ++i) keys_.push_back(NewKey(i));
    binary_key_ = EncodeBase64(prefix_ + Bytes(1 + random_.Below(20), 0, 255));
  }

  const string& first_key() const { return keys_[0]; }

  string Request();

 private:
  struct Kind {
    size_t weight;
    string (Composer::*make)();
  };

  string NewKey(size_t index) {
    string key = fmt::format("{}k{}", prefix_, index);
    if (random_.Chance(1, 6)) key += Bytes(random_.Below(12), 0x21, 0xff);
    if (random_.Chance(1, 12)) key.resize(100 + random_.Below(150), '.');
    if (random_.Chance(1, 12)) key.resize(250, '_');
    return key;
  }

  string Bytes(size_t n, int low, int high) {
    string bytes(n, '\0');
    for (char& c : bytes) {
      c = static_cast<char>(low +
                            static_cast<int>(random_.Below(static_cast<size_t>(high - low + 1))));
    }
    return bytes;
  }

  string Key() {
    if (random_.Chance(1, 12)) return prefix_ + "missing";
    return keys_[random_.Below(keys_.size())];
  }

  string LongKey() { return prefix_ + string(242 + random_.Below(200), 'L'); }

  string Exptime() { return string(Pick(random_, kExptimes)); }
  string Flags() {
    return random_.Chance(1, 3) ? fmt::format("{}", random_.Next() & 0xffffffff) : "0";
  }

  string Value() {
    if (random_.Chance(1, 6)) return string(Pick(random_, kNumbers));
    if (random_.Chance(1, 3)) {
      string value;
      for (size_t n = 1 + random_.Below(4); n > 0; --n) value += Pick(random_, kTrickyValues);
      return value;
    }
    size_t size = random_.Below(201);
    if (random_.Chance(1, 40)) size = 20'000;
    if (random_.Chance(1, 120)) size = 70'000;
    if (random_.Chance(1, 4'000)) size = 1'200'000;  // more than a server takes
    if (size > 1'000 || random_.Chance(1, 2)) {
      return string(size, static_cast<char>('a' + random_.Below(26)));
    }
    return Bytes(size, 0, 255);
  }

  // The words with a space between each two; now and then with more.
  string Join(const std::vector<string>& words) {
    const bool spaced = random_.Chance(1, 12);
    string line = spaced ? string(random_.Below(3), ' ') : "";
    for (size_t i = 0; i < words.size(); ++i) {
      if (i > 0) line += string(spaced ? 1 + random_.Below(3) : 1, ' ');
      line += words[i];
    }
    return spaced ? line + string(random_.Below(3), ' ') : line;
  }

  string Line(std::vector<string> words) { return Join(words) + "\r\n"; }

  string LineNoReply(std::vector<string> words) {
    if (random_.Chance(1, 8)) words.push_back("noreply");
    return Line(std::move(words));
  }

  string WithValue(std::vector<string> words, const string& value) {
    return Line(std::move(words)) + value + "\r\n";
  }

  string Retrieval() {
    std::vector<string> words;
    if (random_.Chance(1, 5)) {
      words = {random_.Chance(1, 2) ? "gat" : "gats", Exptime()};
    } else {
      words = {random_.Chance(3, 4) ? "get" : "gets"};
    }
    const size_t keys = random_.Chance(1, 2) ? 1 : 1 + random_.Below(kMaxGetKeys);
    for (size_t i = 0; i < keys; ++i) words.push_back(Key());
    return Line(std::move(words));
  }

  string Storage() {
    const string value = Value();
    std::vector<string> words = {string(Pick(random_, kStorageVerbs)), Key(), Flags(), Exptime(),
                                 fmt::format("{}", value.size())};
    if (random_.Chance(1, 5)) words.push_back("noreply");
    return WithValue(std::move(words), value);
  }

  // A unique fits one key only: elsewhere it might, by chance, be right on one of the
  // two sides. (Another than kAnyUnique is never replaced.)
  string UniqueFor(const string& key) {
    return key == first_key() ? string(kAnyUnique) : "18446744073709550043";
  }

  string Cas() {
    const string value = Value();
    const string key = random_.Chance(1, 2) ? first_key() : Key();
    std::vector<string> words = {
        "cas", key, Flags(), Exptime(), fmt::format("{}", value.size()), UniqueFor(key)};
    if (random_.Chance(1, 6)) words.push_back("noreply");
    return WithValue(std::move(words), value);
  }

  string Arithmetic() {
    return LineNoReply(
        {random_.Chance(1, 2) ? "incr" : "decr", Key(), string(Pick(random_, kDeltas))});
  }
  string Touch() { return LineNoReply({"touch", Key(), Exptime()}); }
  string Delete() {
    std::vector<string> words = {"delete", Key()};
    if (random_.Chance(1, 8)) words.push_back("0");
    return LineNoReply(std::move(words));
  }

  // Some of `flags`, each once, in any order (C gets its number here); and b with a key
  // that suits it.
  std::vector<string> MetaWords(string verb, std::vector<string> flags, string size = "") {
    const bool binary = random_.Chance(1, 6);
    std::vector<string> words = {std::move(verb), binary ? binary_key_ : Key()};
    if (!size.empty()) words.push_back(std::move(size));
    if (binary) words.push_back("b");
    const size_t most = 1 + random_.Below(6);
    for (size_t i = 0; i < most && !flags.empty(); ++i) {
      const size_t at = random_.Below(flags.size());
      words.push_back(flags[at] == "C" ? "C" + UniqueFor(words[1]) : flags[at]);
      flags.erase(flags.begin() + static_cast<std::ptrdiff_t>(at));
    }
    return words;
  }

  string Opaque() { return fmt::format("O{}", random_.Below(1'000'000)); }

  string MetaGet() {
    return Line(MetaWords("mg", {"v", "k", "q", "f", "c", "h", "l", "s", "t", Opaque(), "T900000",
                                 "N900000", "R90", "E5"}));
  }
  string MetaSet() {
    const string value = Value();
    return WithValue(
        MetaWords("ms",
                  {"k", "q", "c", "I", Opaque(), "C", "F77", "T900000", "T0",
                   fmt::format("M{}", "SARPEXsa"[random_.Below(8)]), "N900000", "s", "t", "E5"},
                  fmt::format("{}", value.size())),
        value);
  }
  string MetaDelete() {
    return Line(MetaWords("md", {"k", "q", Opaque(), "C", "I", "T900000", "x", "E5"}));
  }
  string MetaArithmetic() {
    return Line(MetaWords("ma", {"k", "q", "v", "t", "c", Opaque(), "C", "D5", "J10", "N900000",
                                 "T900000", fmt::format("M{}", "ID+-X"[random_.Below(5)]), "E5"}));
  }
  string MetaDebug() {
    return random_.Chance(1, 4) ? Line({"me", binary_key_, "b"}) : Line({"me", Key()});
  }

  string Keyless() {
    static constexpr string_view kLines[] = {
        "mn", "mn", "version", "version", "version x", "verbosity 1", "verbosity 1 noreply"};
    return Join({string(Pick(random_, kLines))}) + "\r\n";
  }

  string Refused() {
    static constexpr string_view kLines[] = {"flush_all",
                                             "flush_all 0 noreply",
                                             "lru mode flat",
                                             "slabs reassign 1 2",
                                             "watch",
                                             "shutdown",
                                             "cache_memlimit 1",
                                             "lru_crawler metadump all",
                                             "stats items",
                                             "stats reset",
                                             "config get x",
                                             "verbosity",
                                             "GET a",
                                             "mget a",
                                             "",
                                             " ",
                                             "hello",
                                             "mi",
                                             "extstore x y",
                                             "refresh_certs"};
    return string(Pick(random_, kLines)) + "\r\n";
  }

  string Quit() { return "quit\r\n"; }

  // Refused with an error line; the two sides stay in step.
  string Wrong() {
    const string key = Key();
    const string nul_key = prefix_ + string(1, '\0') + "x";
    switch (random_.Below(40)) {
      case 0:
        return "get\r\n";
      case 1:
        return "gets  \r\n";
      case 2:
        return "gat\r\n";
      case 3:
        return "gat 0\r\n";
      case 4:
        return "gat x " + key + "\r\n";
      case 5:
        return "get " + LongKey() + "\r\n";
      case 6:
        return "get " + key + " " + LongKey() + "\r\n";
      case 7:
        return "get " + nul_key + "\r\n";
      case 8:
        return "set " + nul_key + " 0 0 3\r\nabc\r\n";
      case 9:
        return "set " + LongKey() + " 0 0 9\r\nget a\r\n\r\n\r\n";
      case 10:
        return "set " + key + " x 0 8\r\nget b\r\nx\r\n";
      case 11:
        return "set " + key + " 0 x 3\r\nabc\r\n";
      case 12:
        return "set " + key + " 4294967296 0 3\r\nabc\r\n";
      case 13:
        return "set " + key + " -1 0 3 noreply\r\nabc\r\n";
      case 14:
        return "set " + key + " 0 0 3 please\r\nabc\r\n";
      case 15:
        return "cas " + key + " 0 0 3\r\nabc\r\n";
      case 16:
        return "cas " + key + " 0 0 3 x\r\nabc\r\n";
      case 17:
        return "incr " + key + "\r\n";
      case 18:
        return "incr " + key + " -1\r\n";
      case 19:
        return "decr " + key + " x noreply\r\n";
      case 20:
        return "incr " + key + " 18446744073709551616\r\n";
      case 21:
        return "incr " + key + " 1 2 3\r\n";
      case 22:
        return "touch " + key + "\r\n";
      case 23:
        return "touch " + key + " x\r\n";
      case 24:
        return "delete\r\n";
      case 25:
        return "delete " + key + " 5\r\n";
      case 26:
        return "delete " + LongKey() + "\r\n";
      case 27:
        return "mg\r\n";
      case 28:
        return "mg " + key + " !\r\n";
      case 29:
        return "mg " + key + " v v\r\n";
      case 30:
        return "mg " + key + " Tx\r\n";
      case 31:
        return "mg " + key + " N99999999999\r\n";
      case 32:
        return "mg " + key + " O" + string(32, 'o') + "\r\n";
      case 33:
        return "mg " + key + "!!! b\r\n";
      case 34:
        return "ms " + key + " 8 !\r\nget c\r\nx\r\n";
      case 35:
        return "ms " + LongKey() + " 3\r\nabc\r\n";
      case 36:
        return "md " + key + " z\r\n";
      case 37:
        return "ma " + key + " Dx\r\n";
      case 38:
        return "mg " + key + string(24, ' ') + "k" + Repeated(" v", 24) + "\r\n";
      default:
        return "mg " + nul_key + " v\r\n";
    }
  }

  // After these nobody can tell where the next request begins.
  string Fatal() {
    const string key = Key();
    switch (random_.Below(14)) {
      case 0:
        return "set " + key + " 0 0\r\n";
      case 1:
        return "set " + key + " 0 0 -3\r\nabc\r\n";
      case 2:
        return "set " + key + " 0 0 x\r\nabc\r\n";
      case 3:
        return "set " + key + " 0 0 3\r\nabcd\r\n";
      case 4:
        return "set " + key + " 0 0 3 noreply\r\nab\r\n\r\n";
      case 5:
        return "set " + key + " 0 0 2147483646\r\nabc\r\n";
      case 6:
        return "set " + key + " 0 0 99999999999\r\nabc\r\n";
      case 7:
        return "set " + key + " 0 0 70000000\r\nabc\r\n";  // the rest is its value
      case 8:
        return "ms " + key + "\r\n";
      case 9:
        return "ms " + key + " x v\r\nabc\r\n";
      case 10:
        return "get " + key + "\n";
      case 11:
        return "get " + key + "\r" + key + "\r\n";
      case 12:
        return string("\x80\x00\x00\x03key", 7);
      default:
        return "\n";
    }
  }

  // Longer than a server reads a line, where it does not end in a key too many.
  string LongLine() {
    const string much(2'100 + random_.Below(14'000), 'x');
    const string key = Key();
    switch (random_.Below(10)) {
      case 0:
        return "delete " + much + "\r\n";
      case 1:
        return much + "\r\n";
      case 2:
        return "mg " + key + " k" + much + " v\r\n";
      case 3:
        return "md " + key + " q" + much + "\r\n";
      case 4:
        return "touch " + key + string(much.size(), ' ') + "0\r\n";
      case 5:
        return "set " + key + " 0 " + string(much.size(), '0') + " 3\r\nabc\r\n";
      case 6:
        return "get " + much + "\r\n";
      case 7:
        return "gat " + string(much.size(), '0') + " " + key + "\r\n";
      case 8:
        return "get " + key + Repeated(" " + key, 1 + 3'000 / key.size()) + "\r\n";
      default:
        return "gat 0 " + key + Repeated(" " + key, 1 + 3'000 / key.size()) + "\r\n";
    }
  }

  static string Repeated(const string& text, size_t times) {
    string all;
    for (; times > 0; --times) all += text;
    return all;
  }

  Random& random_;
  const string prefix_;
  std::vector<string> keys_;
  string binary_key_;
};

string Composer::Request() {
  static constexpr Kind kKinds[] = {
      {220, &Composer::Retrieval},     {240, &Composer::Storage},  {60, &Composer::Cas},
      {80, &Composer::Arithmetic},     {40, &Composer::Touch},     {60, &Composer::Delete},
      {110, &Composer::MetaGet},       {100, &Composer::MetaSet},  {40, &Composer::MetaDelete},
      {60, &Composer::MetaArithmetic}, {10, &Composer::MetaDebug}, {40, &Composer::Keyless},
      {30, &Composer::Refused},        {4, &Composer::Quit},       {50, &Composer::Wrong},
      {12, &Composer::Fatal},          {6, &Composer::LongLine},
  };
  static const size_t kAll =
      std::accumulate(std::begin(kKinds), std::end(kKinds), size_t{0},
                      [](size_t sum, const Kind& kind) { return sum + kind.weight; });
  size_t at = random_.Below(kAll);
  const Kind* kind = kKinds;
  for (; at >= kind->weight; ++kind) at -= kind->weight;
  return (this->*kind->make)();
}

// ---- damage and cuts -----------------------------------------------------------

char OddByte(Random& random) {
  static constexpr char kOften[] = {' ', '\r', '\n', '\0', '0', '9', '-', 'q', 'b', '\x80'};
  if (random.Chance(1, 2)) return Pick(random, kOften);
  return static_cast<char>(random.Below(256));
}

// A place in it; in a request with a value, mostly before the value.
size_t Place(Random& random, const string& bytes) {
  const size_t line = bytes.find('\n');
  if (line != string::npos && line + 1 < bytes.size() && random.Chance(3, 4)) {
    return random.Below(line + 1);
  }
  return random.Below(bytes.size());
}

void Damage(Random& random, string* bytes) {
  if (bytes->empty()) return;
  const size_t at = Place(random, *bytes);
  const size_t some = 1 + random.Below(10);
  switch (random.Below(6)) {
    case 0:
      (*bytes)[at] = OddByte(random);
      break;
    case 1:
      (*bytes)[at] = static_cast<char>((*bytes)[at] ^ (1 << random.Below(8)));
      break;
    case 2:
      bytes->erase(at, 1);
      break;
    case 3:
      bytes->insert(at, 1, OddByte(random));
      break;
    case 4:
      bytes->erase(at, some);
      break;
    default:
      bytes->insert(at, bytes->substr(at, some));
      break;
  }
}

void Cut(Random& random, Stream* stream) {
  size_t total = 0;
  for (const Part& part : stream->parts) total += part.bytes.size();
  const size_t manner = random.Below(10);
  if (manner < 3 || total == 0) return;  // in one piece
  const bool everywhere = manner == 3 && total <= 400;
  for (Part& part : stream->parts) {
    const size_t size = part.bytes.size();
    if (size == 0) continue;
    if (everywhere) {
      for (size_t i = 0; i < size; ++i) part.cuts.push_back(i);
    } else if (manner == 4) {  // within each CRLF of a line
      part.cuts.push_back(std::min(part.bytes.find('\n'), size - 1));
    } else {
      for (size_t n = random.Below(3); n > 0; --n) part.cuts.push_back(random.Below(size));
      std::sort(part.cuts.begin(), part.cuts.end());
    }
  }
}

void Truncate(Random& random, Stream* stream) {
  stream->parts.resize(1 + random.Below(stream->parts.size()));
  string& last = stream->parts.back().bytes;
  last.resize(random.Below(last.size() + 1));
}

// 36 bits that tell a stream from all others, as text.
string PrefixOf(uint64_t seed, uint64_t number) {
  Random random(seed * 0x9e3779b97f4a7c15 + number);
  random.Next();
  return fmt::format("{:09x}", random.Next() >> 28);
}

void ReplaceAll(string_view from, string_view to, string* text) {
  for (size_t at = 0; (at = text->find(from, at)) != string::npos; at += to.size()) {
    text->replace(at, from.size(), to);
  }
}

}  // namespace

uint64_t Random::Next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

Stream MakeStream(uint64_t seed, uint64_t number, const Habits& habits) {
  Random random(seed ^ (number * 0xd1342543de82ef95));
  Stream stream;
  stream.number = number;
  stream.prefix = PrefixOf(seed, number);
  Composer composer(random, stream.prefix);
  for (size_t n = 1 + random.Below(kMaxParts); n > 0; --n) {
    stream.parts.push_back({composer.Request(), {}});
  }
  if (random.Chance(1, 16)) stream.cas_key = composer.first_key();
  const auto percent = [&](int n) { return random.Chance(static_cast<size_t>(n), 100); };
  if (percent(habits.damaged_percent)) {
    for (size_t n = random.Chance(3, 4) ? 1 : 3; n > 0; --n) {
      Damage(random, &stream.parts[random.Below(stream.parts.size())].bytes);
    }
  }
  if (percent(habits.truncated_percent)) Truncate(random, &stream);
  if (percent(habits.vanishing_percent)) {
    stream.ending = random.Chance(1, 2) ? Ending::kVanish : Ending::kReset;
  }
  Cut(random, &stream);
  return stream;
}

Stream WithPrefix(const Stream& stream, uint64_t seed, uint64_t number) {
  Stream other = stream;
  other.prefix = PrefixOf(seed, number);
  ReplaceAll(stream.prefix, other.prefix, &other.cas_key);
  for (Part& part : other.parts) {
    ReplaceAll(stream.prefix, other.prefix, &part.bytes);
    ReplaceAll(EncodeBase64(stream.prefix), EncodeBase64(other.prefix), &part.bytes);
  }
  return other;
}

string BytesOf(const Stream& stream, string_view unique) {
  string bytes;
  for (const Part& part : stream.parts) bytes += part.bytes;
  if (unique.empty()) return bytes;
  for (size_t at = 0; (at = bytes.find(kAnyUnique, at)) != string::npos; at += unique.size()) {
    const size_t word = at - (at > 0 && bytes[at - 1] == 'C' ? 1 : 0);
    if (word > 0 && bytes[word - 1] == ' ') bytes.replace(at, kAnyUnique.size(), unique);
  }
  return bytes;
}

std::vector<size_t> PieceSizes(const Stream& stream) {
  std::vector<size_t> sizes;
  size_t begin = 0, part_begin = 0;
  for (const Part& part : stream.parts) {
    for (const size_t cut : part.cuts) {
      const size_t at = part_begin + cut;
      if (cut >= part.bytes.size() || at <= begin) continue;
      sizes.push_back(at - begin);
      begin = at;
    }
    part_begin += part.bytes.size();
  }
  if (part_begin > begin) sizes.push_back(part_begin - begin);
  return sizes;
}

string EncodeBase64(string_view bytes) {
  static constexpr string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t have = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) {
      bits = bits << 8 | (j < have ? static_cast<uint8_t>(bytes[i + j]) : 0);
    }
    for (size_t j = 0; j < 4; ++j) {
      out += j <= have ? kAlphabet[bits >> (18 - 6 * j) & 63] : '=';
    }
  }
  return out;
}

}  // namespace cashew::test

#include "test/integration/conversation_reference.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "fmt/format.h"

#include "test/integration/conversation_generator.h"

namespace cashew::test {
namespace {

using std::string;
using std::string_view;
using std::vector;

constexpr uint64_t kSigned = uint64_t{1} << 63;
// Where it stands in a stream, incr may exceed 64 bits.
constexpr string_view kNearOverflow = "184467440737095516";
constexpr size_t kLongestKey = 250;
constexpr size_t kLongestLine = 2048;
constexpr size_t kLongestExptime = 11;  // of gat, whose line must stay short
constexpr size_t kMostWords = 24;
constexpr uint64_t kLargestValue = uint64_t{64} << 20;
constexpr uint64_t kLargestLength = 2147483647 - 2;

constexpr string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr string_view kError = "ERROR\r\n";
constexpr string_view kBadLine = "CLIENT_ERROR bad command line format\r\n";
constexpr string_view kBadKey = "CLIENT_ERROR key has a control character\r\n";
constexpr string_view kBadChunk = "CLIENT_ERROR bad data chunk\r\n";
constexpr string_view kBadExptime = "CLIENT_ERROR invalid exptime argument\r\n";
constexpr string_view kBadToken = "CLIENT_ERROR bad token in command line format\r\n";
constexpr string_view kBareLf = "CLIENT_ERROR line must end in CRLF\r\n";
constexpr string_view kRefused = "CLIENT_ERROR command not available through the proxy\r\n";

// The meta commands and the flags they take; the second string: those with a number.
const std::map<string_view, std::pair<string_view, string_view>> kMetaFlags = {
    {"mg", {"bcfhklOqstvENRT", "ENRT"}},
    {"ms", {"bckOqstCEFIMNT", "CEFNT"}},
    {"md", {"bkOqCEITx", "CET"}},
    {"ma", {"bckOqtvCDEIJMNT", "CDEJNT"}},
    {"me", {"bk", ""}},
};
const std::set<string_view> kRetrieval = {"get", "gets", "gat", "gats"};
const std::set<string_view> kStorage = {"set", "add", "replace", "append", "prepend", "cas"};
const std::set<string_view> kKeyOnly = {"incr", "decr", "touch", "delete"};
const std::set<string_view> kKeyless = {"version", "quit", "mn", "stats", "flush_all", "verbosity"};
const std::set<string_view> kAdministration = {
    "cache_memlimit", "config",      "extstore", "lru",   "lru_crawler",
    "refresh_certs",  "reload_auth", "shutdown", "slabs", "watch"};

vector<string_view> Split(string_view line) {
  vector<string_view> words;
  size_t begin = 0;
  while ((begin = line.find_first_not_of(' ', begin)) != string_view::npos) {
    const size_t end = std::min(line.find(' ', begin), line.size());
    words.push_back(line.substr(begin, end - begin));
    begin = end;
  }
  return words;
}

template <typename T>
std::optional<T> Number(string_view text) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return value;
}

// A value's length, when it is one that a server would take for one.
std::optional<uint64_t> Length(string_view text) {
  const auto length = Number<uint64_t>(text);
  if (!length || *length > kLargestLength) return std::nullopt;
  return length;
}

// Why a server would misread the key; empty when it would not.
string_view KeyProblem(string_view key) {
  if (key.size() > kLongestKey) return "CLIENT_ERROR key is longer than 250 bytes\r\n";
  if (key.find('\0') != string_view::npos) return kBadKey;
  return {};
}

// RFC 4648 with padding; nothing when it is not that, or empty.
std::optional<string> DecodedBase64(string_view text) {
  const size_t padding = text.size() - std::min(text.find('='), text.size());
  if (text.size() % 4 != 0 || padding > 2) return std::nullopt;
  string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t digit = kBase64.find(text[i]);
    const bool pads = i + padding >= text.size();
    if (pads ? text[i] != '=' : digit == string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(pads ? 0 : digit);
    if (i % 4 != 3) continue;
    for (const int shift : {16, 8, 0}) bytes += static_cast<char>(bits >> shift & 0xff);
  }
  bytes.resize(bytes.size() - std::min(padding, bytes.size()));
  if (bytes.empty()) return std::nullopt;
  return bytes;
}

// How many characters of `prefix` come in this order at the front of `key`, whatever was
// lost or stands between.
size_t InCommon(string_view prefix, string_view key) {
  if (key.substr(0, prefix.size()) == prefix) return prefix.size();
  key = key.substr(0, 2 * prefix.size());
  vector<size_t> row(key.size() + 1, 0);
  for (const char c : prefix) {
    size_t diagonal = 0;
    for (size_t i = 0; i < key.size(); ++i) {
      const size_t above = row[i + 1];
      row[i + 1] = c == key[i] ? diagonal + 1 : std::max(above, row[i]);
      diagonal = above;
    }
  }
  return row.back();
}

bool IsBlank(string_view value) {
  return value.find_first_not_of(" \t\n\v\f\r") == string_view::npos;
}

}  // namespace

Reference::Reference(uint16_t port) : memcached_(port) {
  const string key = fmt::format("end-of-answer-{}", static_cast<const void*>(this));
  const string value = "a text that nobody else knows: " + key;
  mark_ = fmt::format("get {}\r\n", key);
  end_ = fmt::format("VALUE {} 0 {}\r\n{}\r\nEND\r\n", key, value.size(), value);
  string stored;
  memcached_.Send(fmt::format("set {} 0 0 {}\r\n{}\r\n", key, value.size(), value));
  memcached_.ReadUntil("STORED\r\n", &stored);
}

Reference::Answer Reference::Converse(string_view in, string_view prefix) {
  answer_ = {};
  in_ = in;
  open_ = true;
  prefix_ = prefix;
  encoded_prefix_ = EncodeBase64(prefix);
  may_overflow_ = in.find(kNearOverflow) != string_view::npos;
  unreadable_.clear();
  padded_.clear();
  uneven_.clear();
  while (open_ && !answer_.failed && Step()) {
  }
  return answer_;
}

bool Reference::Step() {
  if (in_.empty()) return false;
  if (in_[0] == '\x80') {
    Close("CLIENT_ERROR the binary protocol is not supported, use the text protocol\r\n");
    return false;
  }
  if (LineTooLong()) {
    Close("CLIENT_ERROR line too long\r\n");
    return false;
  }
  const size_t lf = in_.find('\n');
  if (lf == string_view::npos) return false;  // a request cut off is dropped
  line_ = in_.substr(0, lf + 1);
  if (lf == 0 || line_.find('\r') != lf - 1) {  // none at all, or not only before the LF
    Close(kBareLf);
    return false;
  }
  in_.remove_prefix(line_.size());
  Execute(Split(line_.substr(0, lf - 1)));
  return true;
}

// Only a retrieval's keys may take more than memcached reads of a line.
bool Reference::LineTooLong() const {
  if (in_.size() <= kLongestLine || in_.find('\n') <= kLongestLine) return false;
  const vector<string_view> words = Split(in_.substr(0, kLongestLine));
  return words.empty() || kRetrieval.count(words[0]) == 0;
}

void Reference::Execute(const Words& words) {
  const string_view name = words.empty() ? "" : words[0];
  if (kRetrieval.count(name) != 0) return Retrieve(words);
  if (kStorage.count(name) != 0) return Store(words);
  if (kKeyOnly.count(name) != 0) return KeyOnly(words);
  if (kMetaFlags.count(name) != 0) return Meta(words);
  if (kKeyless.count(name) != 0) return Keyless(words);
  Say(kAdministration.count(name) != 0 ? kRefused : kError);
}

void Reference::Retrieve(const Words& words) {
  const bool touches = words[0][1] == 'a';
  if (touches &&
      (words.size() < 2 || words[1].size() > kLongestExptime || !Number<int32_t>(words[1]))) {
    return Say(kBadExptime);
  }
  if (touches) NoteExptime(words[1]);
  const size_t first_key = touches ? 2 : 1;
  for (size_t i = first_key; i < words.size(); ++i) {
    if (const string_view problem = KeyProblem(words[i]); !problem.empty()) return Say(problem);
    Uses(words[i]);
    Shows(words[i]);
  }
  if (words.size() == first_key) return Say(kError);
  if (line_.size() <= kLongestLine || !touches) return Say(Ask(line_));
  // memcached hangs up on a gat this long: key by key, then.
  for (size_t i = first_key; i < words.size(); ++i) {
    const string reply = Ask(fmt::format("{} {} {}\r\n", words[0], words[1], words[i]));
    Say(string_view(reply).substr(0, reply.size() - std::min<size_t>(reply.size(), 5)));
  }
  Say("END\r\n");
}

// verb key flags exptime bytes [unique] [noreply]
void Reference::Store(Words words) {
  const size_t whole = words[0] == "cas" ? 6 : 5;
  const bool quiet = words.size() == whole + 1 && words.back() == "noreply";
  if (quiet) words.pop_back();
  if (words.size() < 5) return Close(kBadLine);
  const auto length = Length(words[4]);
  if (!length) return Close(kBadChunk);
  if (words[4].size() == kAnyUnique.size()) answer_.comparable = false;  // that is no length
  if (words.size() != whole) return Skip(*length, kBadLine);
  if (const string_view problem = KeyProblem(words[1]); !problem.empty()) {
    return Skip(*length, quiet ? "" : problem);
  }
  if (!Number<uint32_t>(words[2]) || !Number<int32_t>(words[3]) ||
      (whole == 6 && !Number<uint64_t>(words[5]))) {
    return Skip(*length, quiet ? "" : kBadLine);
  }
  NoteExptime(words[3]);
  WithValue(words[1], *length, quiet);
}

// incr|decr key delta, touch key exptime, delete key [0]; [noreply]
void Reference::KeyOnly(Words words) {
  const bool is_delete = words[0] == "delete";
  const size_t whole = is_delete ? 2 : 3;
  const bool quiet = words.size() > whole && words.back() == "noreply";
  if (quiet) words.pop_back();
  const auto refuse = [&](string_view text) { Say(quiet ? "" : text); };
  if (is_delete && words.size() == 3) {
    if (words[2] != "0") {
      return refuse("CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n");
    }
    words.pop_back();
  }
  if (words.size() == 1) return Say(kError);
  if (words.size() != whole) return Say(kBadLine);
  if (const string_view problem = KeyProblem(words[1]); !problem.empty()) return refuse(problem);
  if (words[0] == "touch") {
    if (!Number<int32_t>(words[2])) return refuse(kBadExptime);
    NoteExptime(words[2]);
  } else if (!is_delete && !Number<uint64_t>(words[2])) {
    return refuse("CLIENT_ERROR invalid numeric delta argument\r\n");
  }
  const bool counts = words[0] == "incr" || words[0] == "decr";
  Uses(words[1]);
  if (counts) Counts(words[1]);
  const string reply = Ask(line_);
  if (counts) NoteResult(words[1], words[0] == "decr", *Number<uint64_t>(words[2]), reply);
  Say(reply);
}

// mg|md|ma|me key flag*, ms key bytes flag*
void Reference::Meta(const Words& words) {
  const bool has_value = words[0] == "ms";
  const auto& [letters, with_number] = kMetaFlags.at(words[0]);
  std::optional<uint64_t> length;
  if (has_value) {
    if (words.size() < 3) return Close(kBadLine);
    length = Length(words[2]);
    if (!length) return Close(kBadChunk);
  }
  const auto refuse = [&](string_view text) { has_value ? Skip(*length, text) : Say(text); };
  if (words.size() < 2) return refuse(kBadLine);
  if (words.size() - 1 > kMostWords) {
    return refuse("CLIENT_ERROR options flags are too long\r\n");
  }
  if (const string_view problem = KeyProblem(words[1]); !problem.empty()) return refuse(problem);
  std::set<char> seen;
  uint64_t delta = 1;
  bool subtracts = false;
  for (size_t i = has_value ? 3 : 2; i < words.size(); ++i) {
    const char flag = words[i][0];
    const string_view argument = words[i].substr(1);
    if (words[i].find('\0') != string_view::npos) return refuse(kBadToken);
    if (letters.find(flag) == string_view::npos) return refuse("CLIENT_ERROR invalid flag\r\n");
    if (!seen.insert(flag).second) return refuse("CLIENT_ERROR duplicate flag\r\n");
    const bool is_time = flag == 'T' || flag == 'N' || flag == 'R';
    const bool fits = is_time       ? Number<int32_t>(argument).has_value()
                      : flag == 'F' ? Number<uint32_t>(argument).has_value()
                                    : Number<uint64_t>(argument).has_value();
    if (with_number.find(flag) != string_view::npos && !fits) return refuse(kBadToken);
    if (flag == 'O' && argument.size() > 31) {
      return refuse("CLIENT_ERROR opaque token too long\r\n");
    }
    if (flag == 'b' && !DecodedBase64(words[1])) {
      return refuse("CLIENT_ERROR error decoding key\r\n");
    }
    if (is_time) NoteExptime(argument);
    if (flag == 'D') delta = *Number<uint64_t>(argument);
    if (flag == 'M') subtracts = argument == "D" || argument == "d" || argument == "-";
  }
  if (has_value) return WithValue(words[1], *length, /*quiet=*/false);
  // Here memcached 1.6.18 answers with the key as it is, not as it was asked for: a line
  // end in it would begin another reply.
  const bool tells_key = words[0] == "me" || (words[0] == "mg" && seen.count('k') != 0);
  if (tells_key && seen.count('b') != 0 &&
      DecodedBase64(words[1])->find_first_of("\r\n") != string::npos) {
    return Say(kBadKey);
  }
  Uses(words[1]);
  if (words[0] == "ma") Counts(words[1]);
  if (words[0] != "md") Shows(words[1]);
  const string reply = Ask(line_);
  if (words[0] == "ma") NoteResult(words[1], subtracts, delta, reply);
  if (words[0] == "mg" && reply.find(" W") != string::npos) unreadable_.emplace(words[1]);
  // memcached tells a quiet ma's success when it had to create the number, though the
  // same HD is hidden else. The proxy cannot know, and hides a success always.
  const bool success = reply.substr(0, 2) == "HD" || reply.substr(0, 2) == "VA";
  if (words[0] == "ma" && seen.count('q') != 0 && success) return;
  Say(reply);
}

void Reference::Keyless(Words words) {
  const string_view name = words[0];
  if (name == "version") return Say(Ask("version\r\n"));
  if (name == "mn") return Say("MN\r\n");
  if (name == "quit") return Close("");
  if (name == "stats") {
    if (words.size() > 1) return Say(kRefused);
    answer_.comparable = false;
    return;
  }
  const bool quiet = words.size() > 1 && words.back() == "noreply";
  if (name == "flush_all") return Say(quiet ? "" : kRefused);
  if (words.size() == (quiet ? 2 : 1)) return Say(kError);
  Say(quiet ? "" : "OK\r\n");
}

// The line is right; its value follows.
void Reference::WithValue(string_view key, uint64_t length, bool quiet) {
  if (length > kLargestValue) {
    return Skip(length, quiet ? "" : "SERVER_ERROR object too large for cache\r\n");
  }
  if (in_.size() < length + 2) {
    in_ = {};  // cut off
    return;
  }
  if (in_.substr(length, 2) != "\r\n") return Close(kBadChunk);
  Uses(key);
  if (line_.find("pend") != string_view::npos || line_.find(" M") != string_view::npos) Shows(key);
  const string reply = Ask(string(line_) + string(in_.substr(0, length + 2)));
  NoteStored(key, in_.substr(0, length), reply);
  in_.remove_prefix(length + 2);
  Say(reply);
}

void Reference::Close(string_view text) {
  Say(text);
  open_ = false;
}

void Reference::Skip(uint64_t length, string_view text) {
  Say(text);
  in_.remove_prefix(std::min<uint64_t>(in_.size(), length + 2));
}

string Reference::Ask(string_view request) {
  string reply;
  if (!memcached_.Send(string(request) + mark_) || !memcached_.ReadUntil(end_, &reply)) {
    answer_.failed = true;
    return reply;
  }
  reply.resize(reply.size() - end_.size());
  return reply;
}

// A time so near that the proxy's servers and the reference, asked at different moments,
// may see it pass between.
void Reference::NoteExptime(string_view word) {
  const auto seconds = Number<int64_t>(word);
  if (seconds && *seconds > 0 && *seconds < 60) answer_.comparable = false;
}

// A key so damaged that other streams may come upon it, too.
void Reference::Uses(string_view key) {
  const bool own = InCommon(prefix_, key) + 1 >= prefix_.size() ||
                   InCommon(encoded_prefix_, key) + 1 >= encoded_prefix_.size();
  if (!own) answer_.comparable = false;
}

// memcached reads a number out of a value of spaces, or of nothing, by what lies behind
// it in its memory; and there it looks for the sign of one from 2^63 on.
void Reference::Counts(string_view key) {
  if (unreadable_.count(key) != 0) answer_.comparable = false;
}

// A number that got shorter than its value is padded with spaces where it lies, or stored
// anew without them when an earlier reply that is not out yet still needs the old one:
// which of the two depends on what came in one batch.
void Reference::NoteResult(string_view key, bool subtracts, uint64_t delta, string_view reply) {
  const size_t begin = reply.substr(0, 2) == "VA" ? reply.find("\r\n") + 2 : 0;
  const auto result = Number<uint64_t>(reply.substr(begin, reply.find("\r\n", begin) - begin));
  const auto digits = [](uint64_t n) { return fmt::format_int(n).size(); };
  const bool untold = reply.empty() || reply.substr(0, 2) == "HD";
  const bool shorter = !result     ? untold && (subtracts || may_overflow_)
                       : subtracts ? digits(*result + delta) > digits(*result)
                                   : *result < delta;
  const bool done = result || untold;
  if (result ? *result >= kSigned : untold && may_overflow_) unreadable_.emplace(key);
  if (shorter || (done && uneven_.count(key) != 0)) padded_.emplace(key);
}

void Reference::Shows(string_view key) {
  if (padded_.count(key) != 0) answer_.comparable = false;
}

void Reference::NoteStored(string_view key, string_view value, string_view reply) {
  const bool is_set = line_.find("set") != string_view::npos;
  const auto number = Number<uint64_t>(value);
  if (!is_set || !number || fmt::format_int(*number).size() != value.size()) uneven_.emplace(key);
  if (IsBlank(value) || (number && *number >= kSigned)) {
    unreadable_.emplace(key);
  } else if (is_set && reply == "STORED\r\n") {
    unreadable_.erase(string(key));
    padded_.erase(string(key));
  }
}

namespace {

bool IsNumber(string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == string_view::npos;
}

// "c77" as "c#": the meta flags that are a unique, a time, or (since incr may store its
// number anew) whether the item was hit before.
string MetaFlag(string_view flag) {
  const bool differs = flag[0] == 'c' || flag[0] == 't' || flag[0] == 'l' || flag[0] == 'h';
  return differs && IsNumber(flag.substr(1)) ? string(1, flag[0]) + "#" : string(flag);
}

// "cas=77" as "cas=#".
string DebugField(string_view field) {
  const string_view name = field.substr(0, field.find('=') + 1);
  const bool differs =
      name == "cas=" || name == "la=" || name == "fetch=" || (name == "exp=" && field != "exp=-1");
  return differs ? string(name) + "#" : string(field);
}

// `line` is without its CRLF.
string NormalizedLine(string_view line, const vector<string_view>& words) {
  const string_view first = words.empty() ? "" : words[0];
  if (first == "VALUE" && words.size() == 5) {
    return string(line.substr(0, line.rfind(' '))) + " #";
  }
  const bool debug = first == "ME";
  if (!debug && first != "VA" && first != "HD" && first != "EN" && first != "NF" && first != "NS" &&
      first != "EX") {
    return string(line);
  }
  string out(first);
  const size_t fixed = debug || first == "VA" ? 2 : 1;
  for (size_t i = 1; i < words.size(); ++i) {
    out += ' ';
    out += i < fixed ? string(words[i]) : debug ? DebugField(words[i]) : MetaFlag(words[i]);
  }
  return out;
}

}  // namespace

string Normalized(string_view replies) {
  string out;
  while (!replies.empty()) {
    const size_t end = replies.find("\r\n");
    if (end == string_view::npos) return out + string(replies);
    const string_view line = replies.substr(0, end);
    replies.remove_prefix(end + 2);
    const vector<string_view> words = Split(line);
    out += NormalizedLine(line, words) + "\r\n";
    const size_t size_at = words.empty() ? 0 : words[0] == "VALUE" ? 3 : words[0] == "VA" ? 1 : 0;
    if (size_at == 0 || words.size() <= size_at) continue;
    const auto size = Number<uint64_t>(words[size_at]);
    if (!size) continue;
    const string_view value = replies.substr(0, *size + 2);
    out += value;
    replies.remove_prefix(value.size());
  }
  return out;
}

}  // namespace cashew::test

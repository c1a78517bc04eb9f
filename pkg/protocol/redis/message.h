#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "pkg/protocol/codec.h"

namespace cashew::protocol::redis {

// The most words a command may have, as in redis.
inline constexpr int64_t kMaxWords = 1024 * 1024;
// The longest single word, as redis' proto-max-bulk-len.
inline constexpr int64_t kMaxWord = int64_t{512} << 20;

// Finds the end of one client message, a RESP array of bulk strings, and its words. Keeps
// its place, so that a message may arrive cut at any byte and none is looked at twice. Takes
// only what every redis takes: digits without sign or leading zero, CRLF.
class MessageReader {
 public:
  enum class Status : uint8_t {
    kDone,      // size() bytes; words() until Reset()
    kNeedMore,  // size_known() bytes at least
    kEmpty,     // "*0\r\n", or an empty line: size() bytes, nothing to do
    kPing,      // the inline commands that health checkers send
    kQuit,
    kInvalid,  // problem() says what; out of step
  };

  // Caps for a client that has not logged in.
  void set_cautious(bool cautious) { cautious_ = cautious; }
  // `in` begins where the message does. `scratch` is borrowed from the first call until
  // Reset(), so that a client between two messages holds no memory.
  Status Read(std::string_view in, std::vector<Word>* scratch);
  void Reset(std::vector<Word>* scratch);

  // Gives the message up: from here on its bytes are taken as they come. Returns how many
  // of `in`, which begins where the message does at the first call, were taken; kDone: all.
  Status Skip(std::string_view in, size_t* taken);

  size_t size() const { return at_; }
  size_t size_known() const { return known_; }
  const char* problem() const { return problem_; }
  size_t word_count() const { return words_.size(); }
  // The words, of the message that begins at `in`, into `*out`.
  void CopyWords(std::string_view in, std::vector<std::string_view>* out) const;

 private:
  Status Inline(std::string_view in);
  // The number of a header line at at_; -2 when its line is not whole, -1 when invalid.
  int64_t HeaderNumber(std::string_view in, char type);
  Status Invalid(const char* problem);

  bool cautious_ = false;
  int64_t left_ = -1;  // words still to come; -1: the array's header is
  int64_t word_ = -1;  // length of the word at at_; -1: its header comes first
  bool skipping_ = false;
  size_t at_ = 0;     // bytes dealt with
  size_t known_ = 0;  // bytes the message has at least
  const char* problem_ = "";
  std::vector<Word> words_;
};

}  // namespace cashew::protocol::redis

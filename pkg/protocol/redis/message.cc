#include "pkg/protocol/redis/message.h"

#include <algorithm>

#include "pkg/protocol/redis/number.h"
#include "pkg/protocol/redis/words.h"

namespace cashew::protocol::redis {
namespace {

constexpr size_t kMaxHeader = 32;
constexpr size_t kMaxInline = 64;
// As redis: a stranger cannot make us keep much.
constexpr int64_t kCautiousWords = 10;
constexpr int64_t kCautiousWord = 16 * 1024;
constexpr size_t kWordsKept = 4096;

}  // namespace

MessageReader::Status MessageReader::Read(std::string_view in, std::vector<Word>* scratch) {
  if (words_.capacity() == 0) words_.swap(*scratch);
  if (at_ == 0 && in.front() != '*') return Inline(in);
  if (left_ < 0) {
    const int64_t count = HeaderNumber(in, '*');
    if (count == -2) return Status::kNeedMore;
    if (count == -1 || count > kMaxWords) {
      return Invalid("Protocol error: invalid multibulk length");
    }
    if (cautious_ && count > kCautiousWords) {
      return Invalid("Protocol error: unauthenticated multibulk length");
    }
    if (count == 0) return Status::kEmpty;
    left_ = count;
  }
  while (left_ > 0) {
    if (word_ < 0) {
      if (at_ == in.size()) return Status::kNeedMore;
      if (in[at_] != '$') return Invalid("Protocol error: expected '$' before each argument");
      const int64_t length = HeaderNumber(in, '$');
      if (length == -2) return Status::kNeedMore;
      if (length == -1 || length > kMaxWord) return Invalid("Protocol error: invalid bulk length");
      if (cautious_ && length > kCautiousWord) {
        return Invalid("Protocol error: unauthenticated bulk length");
      }
      word_ = length;
      known_ = at_ + static_cast<size_t>(length) + 2;
    }
    if (in.size() < known_) return Status::kNeedMore;
    if (in[known_ - 2] != '\r' || in[known_ - 1] != '\n') {
      return Invalid("Protocol error: no CRLF behind an argument of the announced length");
    }
    words_.push_back({at_, static_cast<size_t>(word_)});
    at_ = known_;
    word_ = -1;
    --left_;
  }
  return Status::kDone;
}

int64_t MessageReader::HeaderNumber(std::string_view in, char type) {
  const ShortHeader header = ReadShortHeader(in.substr(at_));
  if (header.size != 0 && in[at_] == type) {
    known_ = at_ += header.size;
    return header.number;
  }
  const std::string_view near = in.substr(at_, kMaxHeader);
  const size_t lf = near.find('\n');
  if (lf == std::string_view::npos) return near.size() < kMaxHeader ? -2 : -1;
  if (lf < 2 || near[lf - 1] != '\r' || near.front() != type) return -1;
  const auto number = ParseNumber(near.substr(1, lf - 2));
  if (!number || *number < 0) return -1;
  at_ += lf + 1;
  known_ = at_;
  return *number;
}

// Only what health checkers send, and the empty lines that redis-cli --pipe does.
MessageReader::Status MessageReader::Inline(std::string_view in) {
  const std::string_view near = in.substr(0, kMaxInline);
  const size_t lf = near.find('\n');
  if (lf == std::string_view::npos && near.size() < kMaxInline) return Status::kNeedMore;
  if (lf == std::string_view::npos) return Invalid("Protocol error: expected '*'");
  std::string_view line = near.substr(0, lf);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  at_ = lf + 1;
  if (line.empty()) return Status::kEmpty;
  if (IsWord(line, "ping")) return Status::kPing;
  if (IsWord(line, "quit")) return Status::kQuit;
  return Invalid("Protocol error: expected '*'; of inline commands only PING and QUIT are taken");
}

MessageReader::Status MessageReader::Invalid(const char* problem) {
  problem_ = problem;
  return Status::kInvalid;
}

MessageReader::Status MessageReader::Skip(std::string_view in, size_t* taken) {
  if (!skipping_) {
    skipping_ = true;
    words_.clear();
    *taken = at_;
    known_ = word_ < 0 ? 0 : static_cast<size_t>(word_) + 2;  // from here on: left of the word
  } else {
    *taken = 0;
  }
  while (left_ > 0) {
    const std::string_view rest = in.substr(*taken);
    if (known_ == 0) {
      if (rest.empty()) return Status::kNeedMore;
      at_ = 0;
      const int64_t length = HeaderNumber(rest, '$');
      if (length == -2) return Status::kNeedMore;
      if (length == -1 || length > kMaxWord) return Invalid("Protocol error: invalid bulk length");
      *taken += at_;
      known_ = static_cast<size_t>(length) + 2;
      continue;
    }
    const size_t n = std::min(known_, rest.size());
    *taken += n;
    known_ -= n;
    if (known_ > 0) return Status::kNeedMore;
    --left_;
  }
  return Status::kDone;
}

void MessageReader::Reset(std::vector<Word>* scratch) {
  left_ = word_ = -1;
  at_ = known_ = 0;
  skipping_ = false;
  words_.clear();
  if (words_.capacity() <= kWordsKept) words_.swap(*scratch);
  std::vector<Word>().swap(words_);
}

void MessageReader::CopyWords(std::string_view in, std::vector<std::string_view>* out) const {
  out->clear();
  for (const Word& word : words_) out->push_back(in.substr(word.begin, word.length));
}

}  // namespace cashew::protocol::redis

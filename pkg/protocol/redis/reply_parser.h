#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "pkg/protocol/codec.h"

namespace cashew::protocol::redis {

// What a request's reply may be.
enum class ReplyKind : uint8_t {
  kAny,      // one value of any type, or an error
  kList,     // an array with one simple value for each key of the part; Merge::kBlocks
  kInteger,  // Merge::kSum
  kOk,       // +OK
  kScan,     // a cursor, which is taken out, and a list
  // Merge::kWhole: arrays of 0 and 1, all of which must be 1; the same text from all; lists
  // to be put behind each other; any one that is not null.
  kAllTrue,
  kSame,
  kConcatenate,
  kAnyOne,
};

// The longest value that is believed; redis' own limit is 512 MB unless configured.
inline constexpr int64_t kMaxBulk = int64_t{2} << 30;
// Elements that one reply may announce, over all its levels.
inline constexpr int64_t kMaxElements = int64_t{1} << 32;

// RESP replies (redis.io/docs/reference/protocol-spec). A reply is passed through as it
// comes; what is kept is how many elements are still to come, so nesting costs nothing
// and needs no recursion. Streamed strings and aggregates ("$?", "*?") are refused: no
// server sends them to what is forwarded.
class RedisReplyParser final : public ReplyParser {
 public:
  explicit RedisReplyParser(bool resp3) : resp3_(resp3) {}
  Result Parse(std::string_view in, Expectation* expect, std::vector<Block>* blocks) override;
  bool IsUnasked(std::string_view in) const override;

 private:
  // What a stretch of bytes was.
  enum class Step : uint8_t { kTaken, kNeedMore, kInvalid };

  Step Begin(std::string_view in, Expectation* expect, std::vector<Block>* blocks);
  Step Element(std::string_view in, Expectation* expect);
  Step ScanHead(std::string_view in, Expectation* expect);
  Step Header(std::string_view in, char type, Expectation* expect);
  Step Numbered(char type, int64_t number, Expectation* expect);
  Step Aggregate(char type, int64_t count, Expectation* expect);
  Step LineRest(std::string_view in);
  Step Body(std::string_view in);
  bool FitsKind(char type, ReplyKind kind) const;
  void ElementDone() { --elements_; }
  void Finish(Expectation* expect, Result* result);

  const bool resp3_;
  bool begun_ = false;    // inside a reply
  bool in_line_ = false;  // inside a line that ends in CRLF and may be long
  bool saw_cr_ = false;   // … whose last byte was CR
  bool unasked_ = false;  // the reply is a push message
  bool error_ = false;    // it is an error
  bool list_ = false;     // its elements are told apart, for merging
  Trouble trouble_ = Trouble::kNone;
  int64_t elements_ = 0;  // still to come
  int64_t body_ = 0;      // bytes of a value, CRLF included, still to come
  size_t used_ = 0;       // by the last step
  size_t frame_ = 0;      // of these, bytes that merging makes anew
};

}  // namespace cashew::protocol::redis

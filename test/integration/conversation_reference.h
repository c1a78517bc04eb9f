#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "test/support/raw_client.h"

namespace cashew::test {

// What a client of the proxy should be told, found out the slow and obvious way: the
// bytes are taken apart into requests by string searches, and each valid one is sent, as
// it came, to one memcached, whose answer is awaited before the next is looked at. So
// noreply, q and the order of a multi-get's values are memcached's own doing. It shares
// no code with the proxy.
//
// What memcached and the proxy see differently follows the proxy's rules, which are
// written down here a second time: requests that a memcached would misread are refused
// with an error line (or silently, when a noreply was understood), and the connection is
// closed where nobody can tell where the next
// request begins.
class Reference {
 public:
  // Speaks to the memcached at `port`; nobody else may use keys of the same streams.
  explicit Reference(uint16_t port);

  struct Answer {
    std::string bytes;
    // False: the answer depends on the time of day, on the proxy's own state, or on how
    // memcached was at it.
    bool comparable = true;
    bool failed = false;  // memcached did not answer
  };

  // The answer to all of `in`, after which the client half-closes. `prefix` stands in the
  // keys of this stream, and in no other's.
  Answer Converse(std::string_view in, std::string_view prefix);

 private:
  using Words = std::vector<std::string_view>;

  // Takes one request off the front of in_; false at the end of the conversation.
  bool Step();
  bool LineTooLong() const;
  void Execute(const Words& words);

  void Retrieve(const Words& words);
  void Store(Words words);
  void KeyOnly(Words words);
  void Meta(const Words& words);
  void Keyless(Words words);
  void WithValue(std::string_view key, uint64_t length, bool quiet);

  // `text` is the answer to this line. After Close() nothing else is read; after Skip()
  // the refused line's value is passed over.
  void Say(std::string_view text) { answer_.bytes += text; }
  void Close(std::string_view text);
  void Skip(uint64_t length, std::string_view text);
  // memcached's answer to `request`.
  std::string Ask(std::string_view request);

  // What makes an answer incomparable: each is told of what a request does to a key, and
  // knows (in the .cc) why that matters.
  void NoteExptime(std::string_view word);
  void Uses(std::string_view key);
  void Counts(std::string_view key);
  void Shows(std::string_view key);
  void NoteResult(std::string_view key, bool subtracts, uint64_t delta, std::string_view reply);
  void NoteStored(std::string_view key, std::string_view value, std::string_view reply);

  RawClient memcached_;
  std::string end_;   // what memcached says after its answer
  std::string mark_;  // the request for it

  Answer answer_;
  std::string prefix_, encoded_prefix_;
  bool may_overflow_ = false;
  std::string_view in_;    // all that was not looked at yet
  std::string_view line_;  // the present one, CRLF included
  bool open_ = true;
  // Keys with a value that is no sure number; that is more than a number's digits; of which
  // nobody knows how long it is.
  std::set<std::string, std::less<>> unreadable_, uneven_, padded_;
};

// `replies` without what differs between any two memcacheds: cas uniques, and times in
// seconds. Two replies are the same if these are.
std::string Normalized(std::string_view replies);

}  // namespace cashew::test

// Reply N belongs to request N, whatever clients send: random pipelines, damaged and cut
// at any byte, through the proxy in front of three memcacheds, and through a reference
// that asks one memcached one request at a time. Both must say the same.
//
//   CASHEW_STREAMS     how many conversations (110000)
//   CASHEW_TEST_SCALE  times that (1), for slower builds
//   CASHEW_SEED        what they are made from
//   CASHEW_STREAM      only this one, as a failure names it (with --gtest_filter=*OneRequest*)

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "pkg/base/mutex.h"
#include "test/integration/conversation_generator.h"
#include "test/integration/conversation_reference.h"
#include "test/support/cashew_process.h"
#include "test/support/raw_client.h"
#include "test/support/server_process.h"

namespace cashew::test {
namespace {

using std::string;
using std::string_view;

constexpr int kThreads = 24;
constexpr int kServers = 3;
constexpr int kMegabytes = 1024;  // nothing is evicted while its stream runs
constexpr int kMaxShrinkTries = 300;
constexpr uint64_t kDefaultSeed = 20220517;

// From this number on streams are made by the hostile.
constexpr uint64_t kFirstHostile = uint64_t{1} << 32;
constexpr Habits kHostile = {
    .damaged_percent = 90, .truncated_percent = 30, .vanishing_percent = 50};

Habits HabitsOf(uint64_t number) { return number < kFirstHostile ? Habits{} : kHostile; }

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = getenv(name);
  return text != nullptr ? strtoull(text, nullptr, 10) : otherwise;
}

uint64_t Streams() {
  const char* scale = getenv("CASHEW_TEST_SCALE");
  const double streams = static_cast<double>(FromEnvironment("CASHEW_STREAMS", 110'000)) *
                         (scale != nullptr ? atof(scale) : 1.0);
  return std::max<uint64_t>(1, static_cast<uint64_t>(streams));
}

string Escaped(string_view bytes) {
  string out;
  for (size_t i = 0; i < bytes.size();) {
    const char c = bytes[i];
    const size_t same = std::min(bytes.find_first_not_of(c, i), bytes.size()) - i;
    const string one = c == '\r'               ? "\\r"
                       : c == '\n'             ? "\\n"
                       : c == '"' || c == '\\' ? fmt::format("\\{}", c)
                       : c >= ' ' && c < 0x7f  ? string(1, c)
                                               : fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    if (same > 40) {
      out += fmt::format("{}<{} times>", one, same);
      i += same;
    } else {
      out += one;
      ++i;
    }
  }
  return out;
}

// ---- one conversation ------------------------------------------------------------

enum class Verdict : uint8_t { kSame, kDifferent, kNotComparable };

struct Comparison {
  Verdict verdict = Verdict::kSame;
  string actual, expected;  // normalized
};

// The unique in the reply to `gets`, as long as kAnyUnique.
string UniqueIn(string_view reply) {
  const size_t end = reply.find("\r\nabc");
  if (end == string_view::npos) return {};
  const size_t begin = reply.rfind(' ', end) + 1;
  return fmt::format("{:0>20}", reply.substr(begin, end - begin));
}

// A conversation with the proxy, all of it. A word about what went wrong, or empty.
string ConverseWithCashew(uint16_t port, uint8_t from, const Stream& stream, string_view prelude,
                          string* answer) {
  RawClient client(port, from);
  if (!client.connected()) return "cannot connect";
  if (!prelude.empty() && !(client.Send(prelude) && client.ReadUntil("END\r\n", answer))) {
    return "no answer to gets";
  }
  const string bytes = BytesOf(stream, UniqueIn(*answer));
  size_t at = 0;
  for (const size_t size : PieceSizes(stream)) {
    // The proxy may have closed its side already, and with it the conversation.
    if (!client.Send(string_view(bytes).substr(at, size))) break;
    at += size;
    if (stream.ending != Ending::kHalfClose && at > bytes.size() / 2) break;
  }
  if (stream.ending != Ending::kHalfClose) {
    if (stream.ending == Ending::kReset) client.ResetOnClose();
    return {};
  }
  client.HalfClose();
  return client.ReadToEnd(answer) ? "" : "the connection was not closed in order";
}

Comparison Compare(uint16_t port, uint8_t from, Reference& reference, const Stream& stream) {
  string prelude;
  if (!stream.cas_key.empty()) {
    prelude = fmt::format("set {0} 0 0 3\r\nabc\r\ngets {0}\r\n", stream.cas_key);
  }
  Comparison result;
  string actual;
  const string trouble = ConverseWithCashew(port, from, stream, prelude, &actual);
  if (stream.ending != Ending::kHalfClose) return {Verdict::kNotComparable, {}, {}};

  Reference::Answer expected;
  if (!prelude.empty()) expected = reference.Converse(prelude, stream.prefix);
  const Reference::Answer rest =
      reference.Converse(BytesOf(stream, UniqueIn(expected.bytes)), stream.prefix);
  result.actual = Normalized(actual) + trouble;
  result.expected = Normalized(expected.bytes + rest.bytes);
  if (rest.failed) result.expected += "the reference's memcached did not answer";
  if (!rest.comparable && !rest.failed && trouble.empty()) {
    result.verdict = Verdict::kNotComparable;
  } else if (result.actual != result.expected) {
    result.verdict = Verdict::kDifferent;
  }
  return result;
}

// ---- a neighbour -------------------------------------------------------------------

// A client with manners, whose requests share the server connections with all others:
// sets, deletes and reads keys of its own, and knows every answer beforehand.
class Neighbour {
 public:
  Neighbour(uint16_t port, uint64_t seed)
      : client_(std::make_unique<RawClient>(port, 200)), random_(seed) {
    thread_ = std::thread([this] { Run(); });
  }
  ~Neighbour() { Stop(); }

  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    client_.reset();
  }

  // After Stop().
  uint64_t answers() const { return answers_; }
  const string& trouble() const { return trouble_; }

 private:
  static constexpr size_t kKeys = 60;

  static string KeyName(size_t i) { return fmt::format("neighbour-{}", i); }

  void Run() {
    do {
      string requests, expected;
      const size_t batch = 1 + random_.Below(10);
      for (size_t i = 0; i < batch; ++i) AddRequest(&requests, &expected);
      string actual;
      if (!client_->Send(requests) || !client_->ReadExactly(expected.size(), &actual) ||
          actual != expected) {
        trouble_ = fmt::format("asked \"{}\"\nexpected \"{}\"\ngot \"{}\"", Escaped(requests),
                               Escaped(expected), Escaped(actual));
      }
      answers_ += batch;
      std::this_thread::sleep_for(std::chrono::microseconds(200));  // its pace
    } while (!stop_ && trouble_.empty());
  }

  void AddRequest(string* requests, string* expected) {
    const size_t key = random_.Below(kKeys);
    switch (random_.Below(4)) {
      case 0: {
        const string value =
            fmt::format("{}:{}:{}", KeyName(key), ++writes_, string(random_.Below(300), 'n'));
        *requests += fmt::format("set {} 7 0 {}\r\n{}\r\n", KeyName(key), value.size(), value);
        *expected += "STORED\r\n";
        values_[key] = value;
        break;
      }
      case 1:
        *requests += fmt::format("delete {}\r\n", KeyName(key));
        *expected += values_.erase(key) != 0 ? "DELETED\r\n" : "NOT_FOUND\r\n";
        break;
      case 2:
        *requests += fmt::format("get {}\r\n", KeyName(key));
        *expected += Block(key) + "END\r\n";
        break;
      default:
        *requests += "get";
        for (size_t i = 0; i < 5; ++i) {
          const size_t other = random_.Below(kKeys);
          *requests += " " + KeyName(other);
          *expected += Block(other);
        }
        *requests += "\r\n";
        *expected += "END\r\n";
    }
  }

  string Block(size_t key) const {
    const auto found = values_.find(key);
    if (found == values_.end()) return {};
    return fmt::format("VALUE {} 7 {}\r\n{}\r\n", KeyName(key), found->second.size(),
                       found->second);
  }

  std::unique_ptr<RawClient> client_;
  Random random_;
  std::map<size_t, string> values_;
  uint64_t writes_ = 0, answers_ = 0;
  string trouble_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// ---- many conversations ------------------------------------------------------------

struct Tally {
  std::atomic<uint64_t> next{0}, same{0}, not_comparable{0};
};

class Conversations : public testing::Test {
 protected:
  void Start(const CashewProcess::Options& options) {
    reference_memcached_ = std::make_unique<Memcached>(kMegabytes);
    std::vector<uint16_t> ports;
    for (int i = 0; i < kServers; ++i) {
      servers_.push_back(std::make_unique<Memcached>(kMegabytes));
      ports.push_back(servers_.back()->port());
    }
    cashew_ = std::make_unique<CashewProcess>(ports, options);
    fmt::print("CASHEW_SEED={}\n", seed_);
  }

  // Runs the streams first … last - 1, many at a time, until one differs.
  void Run(uint64_t first, uint64_t last) {
    tally_.next = first;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([=, this] { Work(static_cast<uint8_t>(i + 1), last); });
    }
    for (std::thread& thread : threads) thread.join();
    fmt::print("{} conversations compared, {} not comparable, CASHEW_SEED={}\n", tally_.same.load(),
               tally_.not_comparable.load(), seed_);
    const base::MutexLock lock(&mu_);
    if (failed_) ADD_FAILURE() << Report(*failed_, difference_);
  }

  // The servers are in step with the proxy, nothing is left in it, and it stops well.
  void ExpectHealthyEnd() {
    for (const char* name :
         {"cashew_server_desync_total", "cashew_server_err_total", "cashew_server_eof_total",
          "cashew_server_timedout_total", "cashew_server_expired_total",
          "cashew_forward_error_total", "cashew_client_evicted_total"}) {
      EXPECT_EQ(cashew_->Metric(name), 0) << name << "\n" << cashew_->LogTail();
    }
    for (const char* name :
         {"cashew_client_connections", "cashew_server_in_queue", "cashew_server_out_queue"}) {
      EXPECT_TRUE(BecomesZero(name)) << name << " is " << cashew_->Metric(name);
    }
    cashew_->process().Signal(SIGTERM);
    EXPECT_EQ(cashew_->process().Wait(20'000), 0) << cashew_->LogTail();
  }

  const uint64_t seed_ = FromEnvironment("CASHEW_SEED", kDefaultSeed);
  Tally tally_;
  std::unique_ptr<Memcached> reference_memcached_;
  std::vector<std::unique_ptr<Memcached>> servers_;
  std::unique_ptr<CashewProcess> cashew_;

 private:
  void Work(uint8_t from, uint64_t last) {
    Reference reference(reference_memcached_->port());
    while (!stop_) {
      const uint64_t number = tally_.next++;
      if (number >= last) return;
      const Stream stream = MakeStream(seed_, number, HabitsOf(number));
      const Comparison comparison = Compare(cashew_->port(), from, reference, stream);
      if (comparison.verdict == Verdict::kDifferent) return OnDifference(stream, comparison);
      ++(comparison.verdict == Verdict::kSame ? tally_.same : tally_.not_comparable);
    }
  }

  void OnDifference(const Stream& stream, const Comparison& comparison) {
    stop_ = true;
    const base::MutexLock lock(&mu_);
    if (failed_) return;
    failed_ = stream;
    difference_ = comparison;
  }

  string Report(const Stream& failed, const Comparison& difference) {
    string text = fmt::format("CASHEW_SEED={} CASHEW_STREAM={}\n{}", seed_, failed.number,
                              Described(failed, difference));
    Comparison comparison;
    Reference reference(reference_memcached_->port());
    Stream shrunk = Renewed(failed);
    if (!StillFails(reference, &shrunk, &comparison)) {
      return text + "It does not fail again alone.\n" + cashew_->LogTail();
    }
    Shrink(reference, &shrunk, &comparison);
    return text + "shrunk:\n" + Described(shrunk, comparison) + cashew_->LogTail();
  }

  // Drops requests, then cuts, while it still fails.
  void Shrink(Reference& reference, Stream* stream, Comparison* comparison) {
    bool smaller = true;
    while (smaller && tries_ < kMaxShrinkTries) {
      smaller = false;
      for (size_t i = stream->parts.size(); i-- > 0 && stream->parts.size() > 1;) {
        Stream without = *stream;
        without.parts.erase(without.parts.begin() + static_cast<std::ptrdiff_t>(i));
        smaller |= Accept(reference, without, stream, comparison);
      }
      for (size_t i = 0; i < stream->parts.size(); ++i) {
        if (stream->parts[i].cuts.empty()) continue;
        Stream without = *stream;
        without.parts[i].cuts.clear();
        smaller |= Accept(reference, without, stream, comparison);
      }
    }
  }

  bool Accept(Reference& reference, const Stream& candidate, Stream* stream,
              Comparison* comparison) {
    Stream renewed = Renewed(candidate);
    Comparison result;
    if (tries_ >= kMaxShrinkTries || !StillFails(reference, &renewed, &result)) return false;
    *stream = renewed;
    *comparison = result;
    return true;
  }

  bool StillFails(Reference& reference, Stream* stream, Comparison* comparison) {
    *comparison = Compare(cashew_->port(), 0, reference, *stream);
    return comparison->verdict == Verdict::kDifferent;
  }

  // In keys that no stream had yet.
  Stream Renewed(const Stream& stream) {
    return WithPrefix(stream, seed_, (uint64_t{1} << 40) + ++tries_);
  }

  static string Described(const Stream& stream, const Comparison& comparison) {
    const string bytes = BytesOf(stream, "");
    const std::vector<size_t> pieces = PieceSizes(stream);
    const bool byte_by_byte = pieces.size() > 1 && pieces.size() == bytes.size();
    string sent = byte_by_byte ? fmt::format("  byte by byte: \"{}\"\n", Escaped(bytes)) : "";
    size_t begin = 0;
    for (size_t i = 0; i < pieces.size() && !byte_by_byte; begin += pieces[i++]) {
      sent += fmt::format("  \"{}\"\n", Escaped(string_view(bytes).substr(begin, pieces[i])));
    }
    return fmt::format("sent{}:\n{}expected:\n  \"{}\"\ngot:\n  \"{}\"\n",
                       stream.cas_key.empty() ? "" : ", after a gets", sent,
                       Escaped(comparison.expected), Escaped(comparison.actual));
  }

  bool BecomesZero(const char* name) {
    for (int i = 0; i < 500; ++i) {
      if (cashew_->Metric(name) == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  std::atomic<bool> stop_ = false;
  base::Mutex mu_;
  std::optional<Stream> failed_ CASHEW_GUARDED_BY(mu_);
  Comparison difference_ CASHEW_GUARDED_BY(mu_);
  uint64_t tries_ = 0;
};

TEST_F(Conversations, AnswersAreThoseOfOneMemcachedAskedOneRequestAtATime) {
  Start({.workers = 2, .server_connections = 2});
  const uint64_t only = FromEnvironment("CASHEW_STREAM", UINT64_MAX);
  const uint64_t streams = Streams();
  if (only != UINT64_MAX) return Run(only, only + 1);
  Run(0, streams);
  EXPECT_EQ(tally_.same + tally_.not_comparable, streams);
  EXPECT_LE(tally_.not_comparable, 20 + streams / 12);  // else it proves less than it says
  ExpectHealthyEnd();
}

TEST_F(Conversations, ANeighbourOfHostileClientsGetsItsOwnAnswersOnly) {
  Start({.workers = 1, .server_connections = 1});
  const uint64_t streams = std::max<uint64_t>(1, Streams() / 4);
  Neighbour neighbour(cashew_->port(), seed_);
  Run(kFirstHostile, kFirstHostile + streams);
  neighbour.Stop();
  EXPECT_EQ(neighbour.trouble(), "") << cashew_->LogTail();
  EXPECT_GT(neighbour.answers(), streams / 20);
  EXPECT_EQ(tally_.same + tally_.not_comparable, streams);
  ExpectHealthyEnd();
}

}  // namespace
}  // namespace cashew::test

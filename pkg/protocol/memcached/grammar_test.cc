// What the request parser lets through, told to a real memcached. Server
// connections are shared by clients, so each request must have exactly one reply:
// no input that we accept may make a healthy server close, stop or answer twice.

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <gtest/gtest.h>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "fmt/format.h"

#include "pkg/protocol/codec.h"
#include "pkg/protocol/memcached/command_table.h"
#include "pkg/protocol/memcached/parse_stream.h"
#include "test/support/server_process.h"

namespace cashew::protocol::memcached {
namespace {

constexpr int kPatienceMs = 10'000;

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A connection that asks and waits.
class Connection {
 public:
  static std::unique_ptr<Connection> To(uint16_t port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(port);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      close(fd);
      return nullptr;
    }
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return std::unique_ptr<Connection>(new Connection(fd));
  }
  ~Connection() { close(fd_); }

  // All that comes up to the answer to an `mn` sent behind `request`, without it.
  // Complains when there is none.
  std::string Ask(std::string_view request) {
    constexpr std::string_view kEnd = "MN\r\n";
    Send(std::string(request) + "mn\r\n");
    std::string got;
    while (got.size() < kEnd.size() || got.substr(got.size() - kEnd.size()) != kEnd) {
      pollfd p{fd_, POLLIN, 0};
      char buffer[64 << 10];
      const ssize_t n = poll(&p, 1, kPatienceMs) == 1 ? recv(fd_, buffer, sizeof buffer, 0) : -1;
      if (n <= 0) {
        ADD_FAILURE() << (n == 0 ? "the server hung up on " : "the server says no more to ")
                      << testing::PrintToString(request.substr(0, 3'000)) << " after "
                      << testing::PrintToString(got);
        broken = true;
        return got;
      }
      got.append(buffer, static_cast<size_t>(n));
    }
    got.resize(got.size() - kEnd.size());
    return got;
  }
  bool broken = false;

 private:
  explicit Connection(int fd) : fd_(fd) {}
  void Send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
  }
  const int fd_;
};

class Grammar : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    memcached_ = std::make_unique<test::Memcached>();
    server_ = Connection::To(memcached_->port());
    ASSERT_NE(server_, nullptr);
  }
  static void TearDownTestSuite() {
    server_.reset();
    memcached_.reset();
  }
  void SetUp() override { server_->Ask("flush_all\r\n"); }

  static std::unique_ptr<test::Memcached> memcached_;
  static std::unique_ptr<Connection> server_;
};

std::unique_ptr<test::Memcached> Grammar::memcached_;
std::unique_ptr<Connection> Grammar::server_;

// ---- requests, most of them nearly right --------------------------------------

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  std::string Next() {
    const CommandSpec* spec;
    do {
      spec = CommandsBegin() + Below(static_cast<size_t>(CommandsEnd() - CommandsBegin()));
    } while (spec->shape == Shape::kRefused || spec->shape == Shape::kQuit);
    std::string request = Request(*spec);
    if (Below(3) == 0) {
      for (size_t n = 1 + Below(3); n > 0; --n) Mutate(random_, &request);
    }
    return request;
  }

 private:
  size_t Below(size_t n) { return random_() % n; }
  template <size_t N>
  std::string Pick(const std::string_view (&of)[N]) {
    return std::string(of[Below(N)]);
  }

  std::string Key() {
    static const std::string longest(250, 'k');
    switch (Below(12)) {
      case 0:
        return longest;
      case 1:
        return longest + "k";
      case 2:
        return {static_cast<char>(1 + Below(255))};
      case 3:
        return "noreply";
      case 4:
        return "\x80\xff\x7f\t";
      default:
        return fmt::format("key{}", Below(8));
    }
  }
  std::string Number() {
    static constexpr std::string_view kNumbers[] = {"0",
                                                    "1",
                                                    "2",
                                                    "30",
                                                    "-1",
                                                    "-2",
                                                    "007",
                                                    "2592001",
                                                    "65535",
                                                    "65536",
                                                    "2147483646",
                                                    "2147483647",
                                                    "2147483648",
                                                    "-2147483648",
                                                    "-2147483649",
                                                    "4294967295",
                                                    "4294967296",
                                                    "9223372036854775807",
                                                    "9223372036854775808",
                                                    "-9223372036854775808",
                                                    "18446744073709551615",
                                                    "18446744073709551616",
                                                    "99999999999999999999999",
                                                    "+1",
                                                    "0x10",
                                                    "1.5",
                                                    "",
                                                    "x"};
    return Below(2) == 0 ? std::to_string(Below(100)) : Pick(kNumbers);
  }
  std::string Value() {
    switch (Below(8)) {
      case 0:
        return "";
      case 1:
        return "\r\n";
      case 2:
        return "get key1\r\nEND\r\n";
      case 3:
        return std::string(Below(3'000), '\0');
      case 4:
        return Below(20) == 0 ? std::string(1'100'000, 'x') : "x";  // more than memcached keeps
      default:
        return std::to_string(Below(1'000'000));
    }
  }
  std::string Noreply() { return Below(4) == 0 ? " noreply" : ""; }
  std::string Flags(const CommandSpec& spec) {
    static constexpr std::string_view kAny = "abcdefghijklmnopqrstuvwxyzCDEFIJMNOPRSTWXZ0#?~";
    std::string flags;
    for (size_t n = Below(5); n > 0; --n) {
      const char flag =
          Below(5) == 0 ? kAny[Below(kAny.size())] : spec.flags[Below(spec.flags.size())];
      flags += fmt::format(" {}", flag);
      const bool upper = flag >= 'A' && flag <= 'Z';
      if (upper && Below(12) != 0) {
        flags += flag == 'M'   ? std::string(1, "EAPRSeaprsIDid+-X"[Below(17)])
                 : flag == 'O' ? std::string(Below(40), 'o')
                 : flag == 'I' ? ""
                               : Number();
      } else if (Below(30) == 0) {
        flags += Number();
      }
    }
    return flags;
  }
  std::string Request(const CommandSpec& spec) {
    switch (spec.shape) {
      case Shape::kKeys:
      case Shape::kExptimeKeys: {
        std::string line(spec.name);
        if (spec.shape == Shape::kExptimeKeys) line += " " + Number();
        for (size_t n = Below(3) == 0 ? 1 + Below(60) : 1; n > 0; --n) line += " " + Key();
        return line + "\r\n";
      }
      case Shape::kStorage:
      case Shape::kCas: {
        const std::string value = Value();
        return fmt::format("{} {} {} {} {}{}{}\r\n{}\r\n", spec.name, Key(), Number(), Number(),
                           value.size(), spec.shape == Shape::kCas ? " " + Number() : "", Noreply(),
                           value);
      }
      case Shape::kArithmetic:
      case Shape::kTouch:
        return fmt::format("{} {} {}{}\r\n", spec.name, Key(), Number(), Noreply());
      case Shape::kDelete:
        return fmt::format("delete {}{}{}\r\n", Key(), Below(5) == 0 ? " 0" : "", Noreply());
      case Shape::kMeta:
        return fmt::format("{} {}{}\r\n", spec.name, MetaKey(), Flags(spec));
      case Shape::kMetaSet: {
        const std::string value = Value();
        return fmt::format("ms {} {}{}\r\n{}\r\n", MetaKey(), value.size(), Flags(spec), value);
      }
      default:
        return fmt::format("{}{}\r\n", spec.name, Below(2) == 0 ? " " + Number() : "");
    }
  }
  std::string MetaKey() {
    static constexpr std::string_view kEncoded[] = {
        "a2V5MQ==", "AAEC", "IA==", "DQo=", "/w==", "a2V5MR==", "a2V5"};
    return Below(3) == 0 ? Pick(kEncoded) : Key();
  }

  std::mt19937 random_;
};

// ---- the checks -----------------------------------------------------------------

// Exactly one reply, and one that we take.
void ExpectOneReply(std::string_view got, uint8_t kind, const std::vector<uint32_t>& signatures,
                    std::string_view sent) {
  Expectation expect{kind, signatures.data(), static_cast<uint32_t>(signatures.size()), 0};
  const auto parser = MemcachedCodec().NewReplyParser(0);
  std::vector<Block> blocks;
  std::string_view left = got;
  ReplyParser::Result result;
  do {
    result = parser->Parse(left, &expect, &blocks);
    left.remove_prefix(result.consumed);
  } while (result.status == ParseStatus::kNeedMore && result.consumed > 0 && !left.empty());
  const std::string what = testing::PrintToString(sent.substr(0, 3'000)) + " was answered " +
                           testing::PrintToString(got.substr(0, 3'000));
  EXPECT_EQ(result.status, ParseStatus::kDone) << what;
  EXPECT_NE(result.outcome, Outcome::kDesync) << what;
  EXPECT_EQ(left, "") << "more than one reply: " << what;
}

// A split request's parts, all to one server, as many as it takes.
void AskParts(Connection& server, const Parsed& p) {
  Command command;
  command.action = Action::kSplit;
  command.verb = p.verb;
  command.verb_argument = p.verb_argument;
  const std::vector<std::string_view> keys(p.keys.begin(), p.keys.end());
  for (size_t at = 0; at < keys.size() && !server.broken;) {
    const auto left = std::span(keys).subspan(at);
    const auto part = left.first(MemcachedCodec().KeysPerPart(command, left));
    std::string request;
    MemcachedCodec().EncodePart(command, part, &request);
    std::vector<uint32_t> signatures;
    for (const std::string_view key : part) signatures.push_back(KeySignature(key));
    ExpectOneReply(server.Ask(request), p.reply_kind, signatures, request);
    at += part.size();
  }
}

TEST_F(Grammar, WhateverIsAcceptedHasExactlyOneReply) {
  Codec::Limits limits;
  limits.allow_flush = true;
  int forwarded = 0;
  int answered = 0;
  for (int seed = 0; seed < Scaled(30); ++seed) {
    Generator generator(static_cast<unsigned>(seed));
    for (int i = 0; i < 1'000; ++i) {
      for (const Parsed& p : ParseStream(generator.Next(), {}, limits)) {
        if (p.status != ParseStatus::kDone) continue;
        if (p.action == Action::kForward || p.action == Action::kBroadcast) {
          ++forwarded;
          const std::vector<uint32_t> signatures(p.signature != 0 ? 1 : 0, p.signature);
          ExpectOneReply(server_->Ask(p.sent), p.reply_kind, signatures, p.sent);
        } else if (p.action == Action::kSplit) {
          ++forwarded;
          AskParts(*server_, p);
        } else {
          ++answered;
        }
        ASSERT_FALSE(HasFailure()) << "seed " << seed << ", request " << i;
      }
    }
  }
  EXPECT_GT(forwarded, answered / 2) << "the generator should be nearly right";
}

// What a client sees of `request` through the proxy: q is taken out, and the reply
// hidden when it is a nominal one.
std::string SeenThroughUs(Connection& server, std::string_view request) {
  const std::vector<Parsed> all = ParseStream(request);
  EXPECT_EQ(all.size(), 1u) << request;
  if (all.size() != 1 || all[0].action != Action::kForward) return "not forwarded";
  const std::string got = server.Ask(all[0].sent);
  Expectation expect{all[0].reply_kind, &all[0].signature, all[0].signature != 0 ? 1u : 0u, 0};
  const ReplyParser::Result result =
      MemcachedCodec().NewReplyParser(0)->Parse(got, &expect, nullptr);
  EXPECT_EQ(result.status, ParseStatus::kDone) << request << got;
  const bool hidden = all[0].quiet == Quiet::kAll ||
                      (all[0].quiet == Quiet::kNominal && result.outcome == Outcome::kNominal);
  return hidden ? "" : got;
}

// Not among them: ma with N and q, which memcached answers when it had to create the
// item. The reply does not say so, and we hide it.
TEST_F(Grammar, QuietHidesThroughUsWhatItHidesDirectly) {
  const std::string_view setup =
      "set word 0 0 2\r\nhi\r\nset number 0 0 1\r\n5\r\nset stale 0 0 1\r\n1\r\nmd stale I\r\n"
      "delete absent\r\ndelete made\r\n";
  for (std::string_view request : {"mg word q\r\n",
                                   "mg word v q\r\n",
                                   "mg word q s k\r\n",
                                   "mg absent q\r\n",
                                   "mg absent q v k\r\n",
                                   "mg absent v\r\n",
                                   "mg made N30 q\r\n",
                                   "mg made N30 v q\r\n",
                                   "mg stale v q\r\n",
                                   "ms word 2 q\r\nho\r\n",
                                   "ms word 2 q ME\r\nho\r\n",
                                   "ms absent 2 q MR\r\nho\r\n",
                                   "ms absent 2 q MA\r\nho\r\n",
                                   "ms word 2 q C1\r\nho\r\n",
                                   "ms absent 2 q C1\r\nho\r\n",
                                   "ms word 2 MX q\r\nho\r\n",
                                   "ms word 2\r\nho\r\n",
                                   "md word q\r\n",
                                   "md word q I T30\r\n",
                                   "md absent q\r\n",
                                   "md word q C1\r\n",
                                   "md word\r\n",
                                   "ma number q\r\n",
                                   "ma number q v\r\n",
                                   "ma number v\r\n",
                                   "ma absent q\r\n",
                                   "ma absent q v\r\n",
                                   "ma word q\r\n",
                                   "ma number q C1\r\n",
                                   "ma number MD D2 q v\r\n",
                                   "me absent\r\n",
                                   "set word 0 0 2 noreply\r\nho\r\n",
                                   "add word 0 0 2 noreply\r\nho\r\n",
                                   "delete absent noreply\r\n",
                                   "incr number 1 noreply\r\n",
                                   "touch absent 0 noreply\r\n"}) {
    server_->Ask(setup);
    const std::string direct = server_->Ask(request);
    server_->Ask(setup);
    EXPECT_EQ(SeenThroughUs(*server_, request), direct) << request;
  }
}

// A refusal of ours where memcached would refuse, too: as many lines, so that a
// client's replies stay in order whoever refuses.
TEST_F(Grammar, ARefusalIsAsManyLinesAsMemcachedsOwn) {
  const std::string long_key(251, 'k');
  for (const std::string& request : std::vector<std::string>{"bogus\r\n",
                                                             "GET key\r\n",
                                                             "get\r\n",
                                                             "get " + long_key + "\r\n",
                                                             "incr k x\r\n",
                                                             "incr k -1\r\n",
                                                             "incr k x noreply\r\n",
                                                             "incr k\r\n",
                                                             "incr k 1 2\r\n",
                                                             "incr " + long_key + " 1\r\n",
                                                             "incr " + long_key + " 1 noreply\r\n",
                                                             "touch k x\r\n",
                                                             "touch k x noreply\r\n",
                                                             "touch k\r\n",
                                                             "delete k 1\r\n",
                                                             "delete k 1 noreply\r\n",
                                                             "delete\r\n",
                                                             "gat x k\r\n",
                                                             "mg\r\n",
                                                             "mg k ~\r\n",
                                                             "mg k v v\r\n",
                                                             "mg " + long_key + "\r\n",
                                                             "mg k Tx q\r\n",
                                                             "ma k Dx\r\n",
                                                             "md k v v q\r\n",
                                                             "mg a b\r\n",
                                                             "ms k 2 ~\r\nhi\r\n",
                                                             "ms k 2 Fx q\r\nhi\r\n",
                                                             "verbosity\r\n"}) {
    const std::string direct = server_->Ask(request);
    const std::vector<Parsed> all = ParseStream(request);
    ASSERT_EQ(all.size(), 1u) << request;
    ASSERT_EQ(all[0].action, Action::kAnswer) << request;
    EXPECT_EQ(all[0].answer.empty(), direct.empty()) << request << direct;
    EXPECT_EQ(std::count(direct.begin(), direct.end(), '\n'),
              std::count(all[0].answer.begin(), all[0].answer.end(), '\n'))
        << request << direct;
  }
}

TEST_F(Grammar, ALongLineOfGetIsTakenWhole) {
  std::string line = "get";
  for (int i = 0; i < 20'000; ++i) line += fmt::format(" key{}", i % 3);
  server_->Ask("set key1 0 0 1\r\n1\r\n");
  const std::vector<Parsed> all = ParseStream(line + "\r\n");
  ASSERT_EQ(all.size(), 1u);
  AskParts(*server_, all[0]);
  std::string touch = "gat 0";
  for (int i = 0; i < 2'000; ++i) touch += fmt::format(" key{}", i % 3);
  const std::vector<Parsed> touched = ParseStream(touch + "\r\n");
  ASSERT_EQ(touched.size(), 1u);
  AskParts(*server_, touched[0]);
}

}  // namespace
}  // namespace cashew::protocol::memcached

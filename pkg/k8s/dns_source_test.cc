#include "pkg/k8s/dns_source.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <array>
#include <condition_variable>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fmt/format.h"

#include "pkg/k8s/dns_answer.h"

namespace cashew::k8s {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string Big(uint32_t number, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(number >> (8 * i));
  return out;
}

std::string WireName(const std::string& name) {
  std::string wire;
  for (size_t at = 0; at < name.size();) {
    const size_t dot = std::min(name.find('.', at), name.size());
    wire += static_cast<char>(dot - at);
    wire += name.substr(at, dot - at);
    at = dot + 1;
  }
  return wire + '\0';
}

std::string Record(const std::string& owner, int type, const std::string& data, uint32_t ttl) {
  return WireName(owner) + Big(static_cast<uint32_t>(type), 2) + Big(1, 2) + Big(ttl, 4) +
         Big(static_cast<uint32_t>(data.size()), 2) + data;
}

std::string Srv(const std::string& owner, const std::string& target, uint16_t port,
                uint32_t ttl = 30) {
  return Record(owner, ns_t_srv, Big(0, 2) + Big(10, 2) + Big(port, 2) + WireName(target), ttl);
}

std::string A(const std::string& owner, const std::string& ip, uint32_t ttl = 30) {
  std::string bytes(4, '\0');
  inet_pton(AF_INET, ip.c_str(), bytes.data());
  return Record(owner, ns_t_a, bytes, ttl);
}

// What the test server says to one question.
struct Reply {
  std::vector<std::string> answer = {};
  std::vector<std::string> additional = {};
  int code = ns_r_noerror;
};

std::string Message(const std::string& query, const Reply& reply) {
  // The question is the query's: name, type, class after the header of 12 bytes.
  const size_t question_end = query.find('\0', 12) + 5;
  std::string message = query.substr(0, 2) + "\x85" + static_cast<char>(0x80 | reply.code) +
                        Big(1, 2) + Big(static_cast<uint32_t>(reply.answer.size()), 2) + Big(0, 2) +
                        Big(static_cast<uint32_t>(reply.additional.size()), 2) +
                        query.substr(12, question_end - 12);
  for (const auto& record : reply.answer) message += record;
  for (const auto& record : reply.additional) message += record;
  return message;
}

// Answers on UDP from a table of "name type"; what is not in it does not exist.
class DnsServer {
 public:
  DnsServer() {
    EXPECT_EQ(pipe(stop_), 0);
    fd_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    socklen_t size = sizeof(address);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~DnsServer() {
    EXPECT_EQ(write(stop_[1], "x", 1), 1);
    thread_.join();
    for (const int fd : {fd_, stop_[0], stop_[1]}) close(fd);
  }

  std::string address() const { return fmt::format("127.0.0.1:{}", port_); }
  void Set(const std::string& question, Reply reply) {
    std::lock_guard lock(mutex_);
    table_[question] = std::move(reply);
  }

 private:
  void Run() {
    for (;;) {
      std::array<pollfd, 2> polled{{{fd_, POLLIN, 0}, {stop_[0], POLLIN, 0}}};
      poll(polled.data(), polled.size(), -1);
      if (polled[1].revents != 0) return;
      std::array<char, 2048> bytes;
      sockaddr_in from{};
      socklen_t size = sizeof(from);
      const ssize_t n =
          recvfrom(fd_, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
      if (n < 17) continue;
      const std::string query(bytes.data(), static_cast<size_t>(n));
      const std::string answer = Message(query, Find(query));
      sendto(fd_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
  }

  Reply Find(const std::string& query) {
    std::string name;
    size_t at = 12;
    while (query[at] != 0) {
      const auto length = static_cast<size_t>(query[at]);
      name += (name.empty() ? "" : ".") + query.substr(at + 1, length);
      at += length + 1;
    }
    std::lock_guard lock(mutex_);
    const auto it = table_.find(fmt::format("{} {}", name, static_cast<int>(query[at + 2])));
    return it == table_.end() ? Reply{.answer = {}, .additional = {}, .code = ns_r_nxdomain}
                              : it->second;
  }

  int stop_[2] = {-1, -1};
  int fd_ = -1;
  int port_ = 0;
  std::mutex mutex_;
  std::map<std::string, Reply> table_;
  std::thread thread_;
};

class DnsSourceTest : public ::testing::Test {
 protected:
  void Start(const std::string& port) {
    DnsOptions options;
    options.name = "mc.demo.test.";
    options.port = port;
    options.servers = server_.address();
    options.query_timeout_ms = 1'000;
    options.min_refresh_ms = 10;
    options.max_refresh_ms = 20;
    options.backoff = {.first_ms = 5, .max_ms = 10};
    source_ = std::make_unique<DnsSource>(options, base::RealClock(), metrics_.ForSource("mc"),
                                          [this](const MapResult& result) {
                                            std::lock_guard lock(mutex_);
                                            lines_.clear();
                                            for (const auto& server : result.servers) {
                                              lines_.push_back(server.name + " " + server.address);
                                            }
                                            ++answers_;
                                            changed_.notify_all();
                                          });
    source_->Start();
  }
  void TearDown() override {
    if (source_) source_->Stop();
  }

  // Until the servers are these, each "name address".
  void WaitFor(const std::vector<std::string>& expected) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] {
      return answers_ > 0 && lines_ == expected;
    })) << fmt::format("{}", fmt::join(lines_, ", "));
  }

  DnsServer server_;
  Metrics metrics_;
  std::unique_ptr<DnsSource> source_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  int answers_ = 0;
};

constexpr char kSrvName[] = "_memcached._tcp.mc.demo.test";

TEST_F(DnsSourceTest, ServersAreCalledAsTheirPodsAre) {
  server_.Set(fmt::format("{} {}", kSrvName, static_cast<int>(ns_t_srv)),
              {.answer = {Srv(kSrvName, "mc-10.mc.demo.test", 11211),
                          Srv(kSrvName, "mc-2.mc.demo.test", 11211),
                          Srv(kSrvName, "other.example.test", 11299)},
               .additional = {A("mc-2.mc.demo.test", "10.0.0.2")}});
  server_.Set("mc-10.mc.demo.test 1", {.answer = {A("mc-10.mc.demo.test", "10.0.0.10")}});
  server_.Set("other.example.test 1", {.answer = {A("other.example.test", "10.0.0.77")}});
  Start("memcached");
  WaitFor({"mc-2 10.0.0.2:11211", "mc-10 10.0.0.10:11211", "other.example.test 10.0.0.77:11299"});
}

TEST_F(DnsSourceTest, ChangesAreSeenAndFailuresKeepTheLastList) {
  server_.Set("mc.demo.test 1",
              {.answer = {A("mc.demo.test", "10.0.0.9"), A("mc.demo.test", "10.0.0.1")}});
  Start("11211");
  WaitFor({"10.0.0.1:11211 10.0.0.1:11211", "10.0.0.9:11211 10.0.0.9:11211"});
  server_.Set("mc.demo.test 1", {.answer = {}, .additional = {}, .code = ns_r_servfail});
  server_.Set("mc.demo.test 28", {.answer = {}, .additional = {}, .code = ns_r_servfail});
  while (metrics_.Text().find("source_errors_total{source=\"mc\"} 0") != std::string::npos) {
    std::this_thread::yield();
  }
  WaitFor({"10.0.0.1:11211 10.0.0.1:11211", "10.0.0.9:11211 10.0.0.9:11211"});
  server_.Set("mc.demo.test 1", {.answer = {A("mc.demo.test", "10.0.0.3")}});
  WaitFor({"10.0.0.3:11211 10.0.0.3:11211"});
}

TEST_F(DnsSourceTest, NameWithoutRecordsIsAnEmptyList) {
  Start("memcached");
  WaitFor({});
}

TEST(DnsAnswer, NoBytesHurt) {
  const std::string query = std::string("\x12\x34\x01\0\0\1\0\0\0\0\0\0", 12) + WireName("a.test") +
                            Big(33, 2) + Big(1, 2);
  const std::string good =
      Message(query, {.answer = {Srv("a.test", "b.test", 1), A("b.test", "1.2.3.4", 7)}});
  const auto whole = ParseDnsAnswer(good);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(whole->ttl_s, 7U);
  EXPECT_EQ(whole->srv[0].target, "b.test");
  EXPECT_EQ(whole->addresses[0].address, "1.2.3.4");
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ParseDnsAnswer(std::string_view(good).substr(0, size)).ok()) << size;
  }
  for (size_t at = 0; at < good.size(); ++at) {
    for (const char byte : {'\0', '\x3f', '\xc0', '\xff'}) {
      std::string bad = good;
      bad[at] = byte;
      const auto answer = ParseDnsAnswer(bad);
      if (answer.ok()) {
        EXPECT_LE(answer->srv.size() + answer->addresses.size(), 2U);
      }
    }
  }
}

}  // namespace
}  // namespace cashew::k8s

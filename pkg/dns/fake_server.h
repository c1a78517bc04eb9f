#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace cashew::dns {

// A DNS server on loopback, UDP and TCP on one port, that answers as its script says. For tests.
class FakeServer {
 public:
  enum class Type : uint16_t { kA = 1, kCname = 5, kAaaa = 28 };

  struct Query {
    std::string name;  // lower case
    Type type;
    bool tcp;
    int count;  // of this name and type before this one
  };

  struct Record {
    Type type;
    std::string value;  // an address, or a CNAME's target
    uint32_t ttl = 60;
    std::string owner = {};  // empty: the name asked for
  };

  enum class Kind { kAnswer, kNxDomain, kServFail, kSilence, kTruncated, kBytes };
  struct Reply {
    Kind kind = Kind::kAnswer;
    std::vector<Record> records = {};  // those of another type are left out, but for CNAMEs
    std::string bytes = {};            // kBytes: sent as they are, after the query's id
  };

  using Script = std::function<Reply(const Query&)>;

  // On a port of its own if `port` is 0.
  explicit FakeServer(Script script, std::string ip = "127.0.0.1", uint16_t port = 0);
  ~FakeServer();

  uint16_t port() const { return port_; }
  std::string address() const { return ip_ + ":" + std::to_string(port_); }
  void Use(Script script);
  // Queries so far for this name and type.
  int Count(const std::string& name, Type type = Type::kA);

 private:
  void Run();
  // The reply to send; empty: none.
  std::string Respond(const std::string& query, bool tcp);
  void ServeUdp();
  void ServeTcp();

  const std::string ip_;
  std::mutex mu_;
  Script script_;
  std::map<std::pair<std::string, Type>, int> counts_;
  uint16_t port_ = 0;
  int udp_ = -1;
  int tcp_ = -1;
  int stop_ = -1;
  std::thread thread_;
};

}  // namespace cashew::dns

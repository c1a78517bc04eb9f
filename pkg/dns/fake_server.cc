#include "pkg/dns/fake_server.h"

#include <arpa/inet.h>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <utility>

namespace cashew::dns {
namespace {

constexpr size_t kHeaderBytes = 12;

std::string Be16(uint16_t n) { return {static_cast<char>(n >> 8), static_cast<char>(n)}; }

std::string Be32(uint32_t n) {
  return Be16(static_cast<uint16_t>(n >> 16)) + Be16(static_cast<uint16_t>(n));
}

std::string WireName(const std::string& name) {
  std::string wire;
  for (size_t from = 0; from < name.size();) {
    const size_t dot = std::min(name.find('.', from), name.size());
    wire += static_cast<char>(dot - from);
    wire += name.substr(from, dot - from);
    from = dot + 1;
  }
  return wire + '\0';
}

std::string WireRecord(const FakeServer::Record& record) {
  std::string data;
  if (record.type == FakeServer::Type::kCname) {
    data = WireName(record.value);
  } else {
    char bytes[16] = {};
    const bool v4 = record.type == FakeServer::Type::kA;
    inet_pton(v4 ? AF_INET : AF_INET6, record.value.c_str(), bytes);
    data.assign(bytes, v4 ? 4 : 16);
  }
  const std::string owner = record.owner.empty() ? "\xc0\x0c" : WireName(record.owner);
  return owner + Be16(static_cast<uint16_t>(record.type)) + Be16(1) + Be32(record.ttl) +
         Be16(static_cast<uint16_t>(data.size())) + data;
}

bool ReadExactly(int fd, char* to, size_t size) {
  while (size > 0) {
    const ssize_t n = read(fd, to, size);
    if (n <= 0) return false;
    to += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

int Bound(int type, const std::string& ip, uint16_t port) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  inet_pton(AF_INET, ip.c_str(), &address.sin_addr);
  address.sin_port = htons(port);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

}  // namespace

FakeServer::FakeServer(Script script, std::string ip, uint16_t port)
    : ip_(std::move(ip)), script_(std::move(script)) {
  for (int attempt = 0; attempt < 100 && tcp_ < 0; ++attempt) {
    if (udp_ >= 0) close(udp_);
    udp_ = Bound(SOCK_DGRAM, ip_, port);
    sockaddr_in address = {};
    socklen_t size = sizeof(address);
    getsockname(udp_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    tcp_ = Bound(SOCK_STREAM, ip_, port_);
  }
  if (tcp_ < 0 || listen(tcp_, 16) != 0) {
    perror("cannot listen");
    abort();
  }
  stop_ = eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] { Run(); });
}

FakeServer::~FakeServer() {
  eventfd_write(stop_, 1);
  thread_.join();
  for (const int fd : {udp_, tcp_, stop_}) close(fd);
}

void FakeServer::Use(Script script) {
  const std::lock_guard lock(mu_);
  script_ = std::move(script);
}

int FakeServer::Count(const std::string& name, Type type) {
  const std::lock_guard lock(mu_);
  return counts_[{name, type}];
}

void FakeServer::Run() {
  pollfd fds[] = {{stop_, POLLIN, 0}, {udp_, POLLIN, 0}, {tcp_, POLLIN, 0}};
  while (poll(fds, 3, -1) > 0 && fds[0].revents == 0) {
    if (fds[1].revents != 0) ServeUdp();
    if (fds[2].revents != 0) ServeTcp();
  }
}

void FakeServer::ServeUdp() {
  char buffer[1500];
  sockaddr_in peer = {};
  socklen_t size = sizeof(peer);
  auto* address = reinterpret_cast<sockaddr*>(&peer);
  const ssize_t n = recvfrom(udp_, buffer, sizeof(buffer), 0, address, &size);
  if (n < 0) return;
  const std::string reply = Respond(std::string(buffer, static_cast<size_t>(n)), false);
  if (!reply.empty()) sendto(udp_, reply.data(), reply.size(), 0, address, size);
}

// As many queries as the client sends; it closes the connection.
void FakeServer::ServeTcp() {
  const int fd = accept(tcp_, nullptr, nullptr);
  const timeval patience = {2, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  unsigned char length[2];
  while (ReadExactly(fd, reinterpret_cast<char*>(length), 2)) {
    std::string query(length[0] * 256u + length[1], '\0');
    if (!ReadExactly(fd, query.data(), query.size())) break;
    const std::string reply = Respond(query, true);
    if (reply.empty()) break;
    const std::string framed = Be16(static_cast<uint16_t>(reply.size())) + reply;
    if (send(fd, framed.data(), framed.size(), MSG_NOSIGNAL) < 0) break;
  }
  close(fd);
}

std::string FakeServer::Respond(const std::string& query, bool tcp) {
  Query asked;
  size_t at = kHeaderBytes;
  while (at < query.size() && query[at] != 0) {
    const auto length = static_cast<size_t>(query[at]);
    if (!asked.name.empty()) asked.name += '.';
    for (const char c : query.substr(at + 1, length)) {
      asked.name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    at += length + 1;
  }
  if (query.size() < at + 5) return "";
  asked.type = static_cast<Type>(static_cast<unsigned char>(query[at + 2]));
  asked.tcp = tcp;
  Reply reply;
  {
    const std::lock_guard lock(mu_);
    asked.count = counts_[{asked.name, asked.type}]++;
    reply = script_(asked);
  }
  if (reply.kind == Kind::kSilence) return "";
  if (reply.kind == Kind::kBytes) return query.substr(0, 2) + reply.bytes;
  std::string answers;
  uint16_t count = 0;
  for (const Record& record : reply.records) {
    if (record.type != asked.type && record.type != Type::kCname) continue;
    answers += WireRecord(record);
    ++count;
  }
  uint16_t flags = 0x8180;
  if (reply.kind == Kind::kNxDomain) flags |= 3;
  if (reply.kind == Kind::kServFail) flags |= 2;
  if (reply.kind == Kind::kTruncated) flags |= 0x200;
  const std::string question = query.substr(kHeaderBytes, at + 5 - kHeaderBytes);
  return query.substr(0, 2) + Be16(flags) + Be16(1) + Be16(count) + Be32(0) + question + answers;
}

}  // namespace cashew::dns

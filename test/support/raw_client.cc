#include "test/support/raw_client.h"

#include <algorithm>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

namespace cashew::test {
namespace {

constexpr size_t kReadSize = 64 * 1024;

template <typename T>
void SetOption(int fd, int level, int name, const T& value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

sockaddr_in Address(uint32_t host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(host);
  return address;
}

}  // namespace

RawClient::RawClient(uint16_t port, uint8_t from) {
  fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{30, 0};
  SetOption(fd_, SOL_SOCKET, SO_RCVTIMEO, patience);
  SetOption(fd_, SOL_SOCKET, SO_SNDTIMEO, patience);
  SetOption(fd_, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd_, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  const sockaddr_in own = Address(INADDR_LOOPBACK + (uint32_t{from} << 8), 0);
  bind(fd_, reinterpret_cast<const sockaddr*>(&own), sizeof own);
  const sockaddr_in peer = Address(INADDR_LOOPBACK, port);
  connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&peer), sizeof peer) == 0;
}

RawClient::~RawClient() { close(fd_); }

bool RawClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

void RawClient::HalfClose() { shutdown(fd_, SHUT_WR); }

void RawClient::ResetOnClose() { SetOption(fd_, SOL_SOCKET, SO_LINGER, linger{1, 0}); }

bool RawClient::ReadToEnd(std::string* out) {
  int64_t n;
  while ((n = Receive(kReadSize, out)) > 0) {
  }
  return n == 0;
}

bool RawClient::ReadUntil(std::string_view suffix, std::string* out) {
  while (out->size() < suffix.size() ||
         out->compare(out->size() - suffix.size(), suffix.size(), suffix) != 0) {
    if (Receive(kReadSize, out) <= 0) return false;
  }
  return true;
}

bool RawClient::ReadExactly(size_t bytes, std::string* out) {
  while (bytes > 0) {
    const int64_t n = Receive(std::min(bytes, kReadSize), out);
    if (n <= 0) return false;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

int64_t RawClient::Receive(size_t most, std::string* out) {
  char buffer[kReadSize];
  const ssize_t n = recv(fd_, buffer, most, 0);
  if (n > 0) out->append(buffer, static_cast<size_t>(n));
  return n;
}

std::string HttpGet(uint16_t port, std::string_view path) {
  RawClient client(port);
  std::string reply;
  client.Send("GET " + std::string(path) + " HTTP/1.0\r\n\r\n");
  client.ReadToEnd(&reply);
  const size_t end = reply.find("\r\n\r\n");
  return end == std::string::npos ? "" : reply.substr(end + 4);
}

}  // namespace cashew::test

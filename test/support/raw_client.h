#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cashew::test {

// A blocking TCP client on loopback that deals in bytes. Every call gives up after
// 30 seconds; after a failure the client is of no more use. One thread at a time.
class RawClient {
 public:
  // Connects from 127.0.<from>.1, so that tests which open many connections in a
  // minute do not run out of local ports.
  explicit RawClient(uint16_t port, uint8_t from = 0);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return connected_; }

  // One send() call, without delay by the kernel, unless the buffers are full.
  bool Send(std::string_view bytes);
  // No more will be sent; replies may still come.
  void HalfClose();
  // Makes the destructor send RST, not FIN.
  void ResetOnClose();

  // Appends what comes until the other side closes. False when it was not an orderly
  // close.
  bool ReadToEnd(std::string* out);
  // Appends what comes until `out` ends with `suffix`.
  bool ReadUntil(std::string_view suffix, std::string* out);
  // Appends exactly `bytes` bytes.
  bool ReadExactly(size_t bytes, std::string* out);

 private:
  // At most `most` bytes; 0 at the end of the stream, -1 on an error.
  int64_t Receive(size_t most, std::string* out);

  int fd_ = -1;
  bool connected_ = false;
};

// The body of GET `path`; empty when there is none.
std::string HttpGet(uint16_t port, std::string_view path);

}  // namespace cashew::test

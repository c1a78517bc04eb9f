#include "pkg/app/handover.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "fmt/format.h"

namespace cashew::app {
namespace {

constexpr uint32_t kMagic = 0x63617368;  // "cash"
// A pool's record has up to 4,096 servers, a client up to 1 MiB of a request.
constexpr uint32_t kMaxPart = 16u << 20;
constexpr int kInheritTimeoutMs = 10'000;

struct Header {
  uint32_t magic = kMagic;
  uint32_t kind = 0;
  uint32_t name = 0;
  uint32_t text = 0;
  uint32_t bytes = 0;
};

absl::Status Gone() { return absl::UnavailableError("the other process is gone"); }

}  // namespace

HandoverChannel::~HandoverChannel() { close(fd_); }

void HandoverChannel::Shutdown() { shutdown(fd_, SHUT_RDWR); }

absl::Status HandoverChannel::Send(const Frame& frame) {
  Header header;
  header.kind = static_cast<uint32_t>(frame.kind.size());
  header.name = static_cast<uint32_t>(frame.name.size());
  header.text = static_cast<uint32_t>(frame.text.size());
  header.bytes = static_cast<uint32_t>(frame.bytes.size());
  std::string all(reinterpret_cast<const char*>(&header), sizeof header);
  all += frame.kind;
  all += frame.name;
  all += frame.text;
  all += frame.bytes;

  // The descriptor goes with the first byte.
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part{all.data(), all.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (frame.fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &frame.fd, sizeof(int));
  }
  while (part.iov_len > 0) {
    const ssize_t n = sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Gone();
    part.iov_base = static_cast<char*>(part.iov_base) + n;
    part.iov_len -= static_cast<size_t>(n);
    message.msg_control = nullptr;
    message.msg_controllen = 0;
  }
  return absl::OkStatus();
}

absl::Status HandoverChannel::ReadAll(char* to, size_t size, int* fd) {
  while (size > 0) {
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    iovec part{to, size};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Gone();
    for (cmsghdr* rights = CMSG_FIRSTHDR(&message); rights != nullptr;
         rights = CMSG_NXTHDR(&message, rights)) {
      if (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) continue;
      int received;
      memcpy(&received, CMSG_DATA(rights), sizeof received);
      if (*fd >= 0) close(*fd);
      *fd = received;
    }
    to += n;
    size -= static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<Frame> HandoverChannel::Receive(int timeout_ms) {
  pollfd ready{fd_, POLLIN, 0};
  int n;
  do {
    n = poll(&ready, 1, timeout_ms);
  } while (n < 0 && errno == EINTR);
  if (n == 0) return absl::DeadlineExceededError("the other process says nothing");
  Frame frame;
  Header header;
  const auto fail = [&frame](const absl::Status& status) {
    if (frame.fd >= 0) close(frame.fd);
    return status;
  };
  absl::Status status = ReadAll(reinterpret_cast<char*>(&header), sizeof header, &frame.fd);
  if (!status.ok()) return fail(status);
  const std::pair<std::string*, uint32_t> parts[] = {{&frame.kind, header.kind},
                                                     {&frame.name, header.name},
                                                     {&frame.text, header.text},
                                                     {&frame.bytes, header.bytes}};
  for (const auto& [part, size] : parts) {
    if (header.magic != kMagic || size > kMaxPart) {
      return fail(absl::InvalidArgumentError("the other process does not speak this hand-over"));
    }
    part->resize(size);
    status = ReadAll(part->data(), size, &frame.fd);
    if (!status.ok()) return fail(status);
  }
  return frame;
}

std::shared_ptr<HandoverChannel> TakePredecessor() {
  const char* text = std::getenv(kHandoverEnv);
  if (text == nullptr) return nullptr;
  const int fd = atoi(text);
  unsetenv(kHandoverEnv);
  int type = 0;
  socklen_t size = sizeof type;
  if (fd < 3 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return nullptr;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return std::make_shared<HandoverChannel>(fd);
}

int Inheritance::Take(const std::string& name) {
  const auto it = std::find_if(listeners.begin(), listeners.end(),
                               [&](const Listening& one) { return one.name == name; });
  if (it == listeners.end()) return -1;
  const int fd = it->fd;
  listeners.erase(it);
  return fd;
}

absl::StatusOr<Inheritance> ReceiveInheritance(HandoverChannel* channel) {
  Inheritance inheritance;
  for (;;) {
    absl::StatusOr<Frame> frame = channel->Receive(kInheritTimeoutMs);
    if (!frame.ok()) return frame.status();
    if (frame->kind == "begin") return inheritance;
    if (frame->kind == "listener" && frame->fd >= 0) {
      inheritance.listeners.push_back({frame->name, frame->fd});
    } else if (frame->kind == "state") {
      inheritance.records.push_back({frame->name, std::move(frame->bytes)});
    } else if (frame->kind == "ejected") {
      Inheritance::Ejected ejected{frame->name, {}};
      for (size_t at = 0; at < frame->text.size();) {
        const size_t end = std::min(frame->text.find('\n', at), frame->text.size());
        ejected.servers.push_back(frame->text.substr(at, end - at));
        at = end + 1;
      }
      inheritance.ejected.push_back(std::move(ejected));
    } else if (frame->fd >= 0) {
      close(frame->fd);  // of a newer program's: not ours to use
    }
  }
}

}  // namespace cashew::app

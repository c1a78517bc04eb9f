#include "pkg/rpc/address.h"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstring>
#include <netinet/in.h>
#include <string_view>
#include <utility>

#include "fmt/format.h"

#include "pkg/base/log.h"

namespace cashew::rpc {
namespace {

constexpr size_t kMaxHost = 253;  // of a DNS name
constexpr char kForm[] = "write host:port or [v6]:port";

struct Network {
  uint32_t address;
  int bits;
  const char* kind;
};

constexpr Network kRefusedV4[] = {
    {0x00000000, 8, "an unspecified"},  // 0.0.0.0/8 means this host
    {0xa9fe0000, 16, "a link-local"},   // 169.254.0.0/16
    {0xe0000000, 4, "a multicast"},     // 224.0.0.0/4
    {0xffffffff, 32, "a broadcast"},
};

template <typename... Args>
absl::Status Refuse(fmt::format_string<Args...> format, Args&&... args) {
  return absl::InvalidArgumentError(fmt::format(format, std::forward<Args>(args)...));
}

std::string Quoted(std::string_view text) { return fmt::format("\"{}\"", base::Escape(text, 80)); }

// Why the address is refused; null if it is not.
const char* RefusedV4(uint32_t address) {
  for (const Network& network : kRefusedV4) {
    if (((address ^ network.address) >> (32 - network.bits)) == 0) return network.kind;
  }
  return nullptr;
}

const char* RefusedV6(const in6_addr& address) {
  if (IN6_IS_ADDR_UNSPECIFIED(&address)) return "an unspecified";
  if (IN6_IS_ADDR_LINKLOCAL(&address)) return "a link-local";
  if (IN6_IS_ADDR_MULTICAST(&address)) return "a multicast";
  if (!IN6_IS_ADDR_V4MAPPED(&address)) return nullptr;
  uint32_t v4;
  memcpy(&v4, &address.s6_addr[12], sizeof(v4));
  return RefusedV4(ntohl(v4));
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsBlank(char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f; }

bool IsNameByte(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' ||
         c == '_';
}

// What a resolver may take for an IPv4 address in one of its old spellings: the last label is
// a number.
bool LooksNumeric(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  const std::string_view last = host.substr(host.rfind('.') + 1);
  if (last.starts_with("0x") || last.starts_with("0X")) return true;
  return std::all_of(last.begin(), last.end(), IsDigit);
}

absl::Status CheckV6(const std::string& host) {
  in6_addr address;
  if (inet_pton(AF_INET6, host.c_str(), &address) != 1) {
    return Refuse("{} is not an IPv6 address", Quoted(host));
  }
  const char* kind = RefusedV6(address);
  return kind == nullptr ? absl::OkStatus() : Refuse("{} is {} address", Quoted(host), kind);
}

absl::Status CheckV4(const std::string& host) {
  in_addr address;
  if (inet_pton(AF_INET, host.c_str(), &address) != 1) {
    return Refuse("{} is not an IPv4 address; write it as four decimal numbers", Quoted(host));
  }
  const char* kind = RefusedV4(ntohl(address.s_addr));
  return kind == nullptr ? absl::OkStatus() : Refuse("{} is {} address", Quoted(host), kind);
}

absl::Status CheckName(const std::string& host) {
  if (host.size() > kMaxHost) {
    return Refuse("a host name of {} bytes; at most {}", host.size(), kMaxHost);
  }
  const bool dots = host.starts_with('.') || host.find("..") != std::string::npos;
  if (dots || !std::all_of(host.begin(), host.end(), IsNameByte)) {
    return Refuse("{} is not a host name", Quoted(host));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint16_t> ParsePort(std::string_view text) {
  unsigned port = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error == std::errc::invalid_argument || stop != text.data() + text.size()) {
    return Refuse("the port {} is not a number; {}", Quoted(text), kForm);
  }
  if (error != std::errc() || port == 0 || port > 65535) {
    return Refuse("port {} does not exist; give 1 to 65535", base::Escape(text, 20));
  }
  return static_cast<uint16_t>(port);
}

// "[v6]:port"
absl::StatusOr<HostPort> ParseBracketed(const std::string& address) {
  const size_t close = address.find(']');
  if (close == std::string::npos) {
    return Refuse("{} has no closing bracket; {}", Quoted(address), kForm);
  }
  if (address.compare(close + 1, 1, ":") != 0) {
    return Refuse("{} has no port after the bracket; {}", Quoted(address), kForm);
  }
  HostPort parsed{address.substr(1, close - 1)};
  if (absl::Status status = CheckV6(parsed.host); !status.ok()) return status;
  absl::StatusOr<uint16_t> port = ParsePort(std::string_view(address).substr(close + 2));
  if (!port.ok()) return port.status();
  parsed.port = *port;
  return parsed;
}

}  // namespace

absl::StatusOr<HostPort> ParseServerAddress(const std::string& address) {
  if (address.empty()) return Refuse("is missing; {}", kForm);
  if (std::any_of(address.begin(), address.end(), IsBlank)) {
    return Refuse("{} has a space or a control character; {}", Quoted(address), kForm);
  }
  if (address.find('/') != std::string::npos || address.starts_with("unix:") ||
      address.starts_with('@')) {
    return Refuse("{} is a unix path; those are for the configuration file, here {}",
                  Quoted(address), kForm);
  }
  if (address.front() == '[') return ParseBracketed(address);
  const size_t colon = address.find(':');
  if (colon == std::string::npos) return Refuse("{} has no port; {}", Quoted(address), kForm);
  if (address.find(':', colon + 1) != std::string::npos) {
    return Refuse("{} has more than one colon; {}", Quoted(address), kForm);
  }
  HostPort parsed{address.substr(0, colon)};
  if (parsed.host.empty()) return Refuse("{} has no host; {}", Quoted(address), kForm);
  absl::Status checked = LooksNumeric(parsed.host) ? CheckV4(parsed.host) : CheckName(parsed.host);
  if (!checked.ok()) return checked;
  absl::StatusOr<uint16_t> port = ParsePort(std::string_view(address).substr(colon + 1));
  if (!port.ok()) return port.status();
  parsed.port = *port;
  return parsed;
}

}  // namespace cashew::rpc

#include "pkg/config/values.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <fmt/format.h>
#include <netinet/in.h>
#include <numeric>
#include <vector>

#include "pkg/base/log.h"

namespace cashew::config {

namespace {

constexpr size_t kMaxUnixPath = 107;           // sizeof(sockaddr_un::sun_path) - 1
constexpr uint16_t kLibmemcachedPort = 11211;  // left out of a derived name
constexpr uint32_t kMaxMode = 0777;
constexpr int64_t kMaxSize = int64_t{1} << 50;

constexpr std::string_view kServerForm =
    "write host:port:weight [name], such as 10.0.0.1:11211:1 cache-0";

template <typename... Args>
absl::Status Fault(fmt::format_string<Args...> format, Args&&... args) {
  return absl::InvalidArgumentError(fmt::format(format, std::forward<Args>(args)...));
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool AllDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsDigit);
}

// REQUIRES: AllDigits(text). Beyond `limit` the result is some number above it.
int64_t DigitsUpTo(std::string_view text, int64_t limit) {
  int64_t value = 0;
  for (const char c : text) {
    value = value * 10 + (c - '0');
    if (value > limit) return limit + 1;
  }
  return value;
}

std::string DescribeRange(const NumberRange& range) {
  if (range.max == kMaxNumber) {
    return fmt::format("a whole number of at least {}, such as {}", range.min, range.example);
  }
  return fmt::format("a whole number from {} to {}", range.min, range.max);
}

struct Unit {
  std::string_view name;
  int64_t factor;
};
constexpr Unit kDurationUnits[] = {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
constexpr Unit kSizeUnits[] = {
    {"kb", int64_t{1} << 10}, {"mb", int64_t{1} << 20}, {"gb", int64_t{1} << 30}};

// Digits, then one of `units`. Nothing for other text; beyond `max` it is max + 1.
std::optional<int64_t> ParseWithUnit(std::string_view text, std::span<const Unit> units,
                                     int64_t max) {
  const size_t digits =
      static_cast<size_t>(std::find_if_not(text.begin(), text.end(), IsDigit) - text.begin());
  if (digits == 0) return std::nullopt;
  const auto unit = std::find_if(units.begin(), units.end(), [&](const Unit& candidate) {
    return candidate.name == text.substr(digits);
  });
  if (unit == units.end()) return std::nullopt;
  const int64_t count = DigitsUpTo(text.substr(0, digits), max / unit->factor);
  return std::min(count * unit->factor, max + 1);
}

bool IsIpv6(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET6, host.substr(0, host.find('%')).c_str(), &address) == 1;
}

bool LooksLikeIpv4(std::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) { return IsDigit(c) || c == '.'; });
}

bool IsNameCharacter(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
         c == '.';
}

// Whether a resolver could know the host. `*` is twemproxy's word for loopback.
absl::Status CheckHost(const std::string& host) {
  if (host == "*") return absl::OkStatus();
  if (host.find(':') != std::string::npos) {
    if (IsIpv6(host)) return absl::OkStatus();
    return Fault("host {} is not an IPv6 address; write one as [::1]:22121", Quoted(host));
  }
  if (LooksLikeIpv4(host)) {
    in_addr address;  // inet_aton's forms are what getaddrinfo takes: "127.1" is an address
    if (inet_aton(host.c_str(), &address) != 0) return absl::OkStatus();
    return Fault("host {} is not an IPv4 address; such as 127.0.0.1", Quoted(host));
  }
  if (host.size() > 253 || !std::all_of(host.begin(), host.end(), IsNameCharacter)) {
    return Fault("host {} is not a host name or an address; such as 127.0.0.1 or cache.example",
                 Quoted(host));
  }
  return absl::OkStatus();
}

struct HostPort {
  std::string host;
  std::string_view port;
};

// Splits at the last ':', with or without brackets around an IPv6 host.
absl::StatusOr<HostPort> SplitHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return Fault("{} has no port; write host:port, such as 127.0.0.1:22121", Quoted(text));
  }
  const std::string_view host = text.substr(0, colon);
  if (host.empty()) {
    return Fault("{} has no host; write host:port, such as 127.0.0.1:22121", Quoted(text));
  }
  if (host.front() != '[') return HostPort{std::string(host), text.substr(colon + 1)};
  if (host.back() != ']' || !IsIpv6(std::string(host.substr(1, host.size() - 2)))) {
    return Fault(
        "{} has brackets around something that is not an IPv6 address; write "
        "[::1]:22121",
        Quoted(text));
  }
  return HostPort{std::string(host.substr(1, host.size() - 2)), text.substr(colon + 1)};
}

absl::StatusOr<uint16_t> ParsePort(std::string_view whole, std::string_view port,
                                   int64_t min_port) {
  if (!AllDigits(port)) {
    return Fault("{} has a port that is not a number, {}; give {} to 65535", Quoted(whole),
                 Quoted(port), min_port);
  }
  const int64_t value = DigitsUpTo(port, 65535);
  if (value < min_port || value > 65535) {
    return Fault("{} has port {}, which is out of range; give {} to 65535", Quoted(whole),
                 base::Escape(port, 20), min_port);
  }
  return static_cast<uint16_t>(value);
}

absl::StatusOr<uint32_t> ParseMode(std::string_view whole, std::string_view mode) {
  const bool octal = !mode.empty() && std::all_of(mode.begin(), mode.end(),
                                                  [](char c) { return c >= '0' && c <= '7'; });
  if (!octal) {
    return Fault("{} has a mode that is not octal, {}; write /path 0770", Quoted(whole),
                 Quoted(mode));
  }
  uint32_t value = 0;
  for (const char c : mode) {
    value = value * 8 + static_cast<uint32_t>(c - '0');
    if (value > kMaxMode) {
      return Fault("{} has mode {}, which is above 0777; write /path 0770", Quoted(whole),
                   base::Escape(mode, 20));
    }
  }
  return value;
}

absl::StatusOr<Address> ParseUnixListen(std::string_view text) {
  Address address;
  const size_t space = text.rfind(' ');  // nutcracker: nc_conf.c, conf_set_listen()
  const absl::StatusOr<std::string> path = ParseUnixPath(text.substr(0, space));
  if (!path.ok()) return path.status();
  address.unix_path = *path;
  address.text = std::string(text);
  if (space != std::string_view::npos) {
    const absl::StatusOr<uint32_t> mode = ParseMode(text, text.substr(space + 1));
    if (!mode.ok()) return mode.status();
    address.unix_mode = *mode;
  }
  return address;
}

// Cuts the part after the last `separator` off `*rest`. Nothing, and `*rest` as it was, when
// there is none.
std::optional<std::string_view> CutRight(std::string_view* rest, char separator) {
  const size_t at = rest->rfind(separator);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view part = rest->substr(at + 1);
  *rest = rest->substr(0, at);
  return part;
}

absl::StatusOr<uint32_t> ParseWeight(std::string_view whole, std::string_view weight) {
  if (!AllDigits(weight)) {
    // "10.0.0.1:11211:1  name": the second space belongs to the weight.
    const bool space = weight.find(' ') != std::string_view::npos;
    return Fault("{} has a weight that is not a number, {}; {}", Quoted(whole), Quoted(weight),
                 space ? "put one space before the name, and none inside it" : kServerForm);
  }
  const int64_t value = DigitsUpTo(weight, kMaxNumber);
  if (value < 1 || value > kMaxNumber) {
    return Fault("{} has weight {}; give 1 to {}", Quoted(whole), base::Escape(weight, 20),
                 kMaxNumber);
  }
  return static_cast<uint32_t>(value);
}

bool HasControlCharacter(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

absl::StatusOr<Address> ParseServerUnix(std::string_view whole, std::string_view path) {
  if (path.find(':') != std::string_view::npos) {
    return Fault("{} has a ':' inside the path; write /path:weight [name] and a path without one",
                 Quoted(whole));
  }
  absl::StatusOr<std::string> checked = ParseUnixPath(path);
  if (!checked.ok()) return checked.status();
  Address address;
  address.unix_path = *std::move(checked);
  address.text = address.unix_path;
  return address;
}

absl::StatusOr<Address> ParseServerHostPort(std::string_view whole, std::string_view host_port) {
  if (host_port.find(':') == std::string_view::npos) {
    return Fault("{} has no weight after the port; {}", Quoted(whole), kServerForm);
  }
  return ParseHostPort(host_port, 1);
}

// nutcracker: nc_conf.c, conf_add_server()
std::string DerivedName(const Address& address) {
  if (address.is_unix()) return address.unix_path + ":";
  if (address.port == kLibmemcachedPort) return address.text.substr(0, address.text.rfind(':'));
  return address.text;
}

// Changes of one letter, exchanges of two neighbours included, that lead from a to b.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_last(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string WithoutSeparators(std::string text) {
  std::erase_if(text, [](char c) { return c == '_' || c == '-'; });
  return text;
}

}  // namespace

absl::StatusOr<int64_t> ParseNumber(std::string_view text, const NumberRange& range) {
  if (!AllDigits(text)) {
    const bool with_unit = ParseWithUnit(text, kDurationUnits, kMaxNumber).has_value();
    return Fault("{} is not a number; give {}{}", Quoted(text), DescribeRange(range),
                 with_unit ? " (this key is bare milliseconds, without a unit)" : "");
  }
  const int64_t value = DigitsUpTo(text, range.max);
  if (value > range.max) {
    return Fault("{} is too large; give a whole number of at most {}", Quoted(text), range.max);
  }
  if (value < range.min) {
    return Fault("{} is too small; give {}", Quoted(text), DescribeRange(range));
  }
  return value;
}

absl::StatusOr<bool> ParseBool(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return Fault("{} is not a boolean; give exactly true or false", Quoted(text));
}

absl::StatusOr<int64_t> ParseDuration(std::string_view text, int64_t min_ms) {
  const std::optional<int64_t> value = ParseWithUnit(text, kDurationUnits, kMaxNumber);
  if (!value) {
    const bool bare = AllDigits(text);
    return Fault("{} {}; give a whole number with ms, s, m or h, such as 400ms or 30s",
                 Quoted(text), bare ? "has no unit" : "is not a duration");
  }
  if (*value > kMaxNumber) return Fault("{} is too long; give at most 596h", Quoted(text));
  if (*value < min_ms) return Fault("{} is too short; give at least {}ms", Quoted(text), min_ms);
  return *value;
}

absl::StatusOr<int64_t> ParseSize(std::string_view text, int64_t min_bytes) {
  const std::optional<int64_t> value = ParseWithUnit(text, kSizeUnits, kMaxSize);
  if (!value) {
    const bool bare = AllDigits(text);
    return Fault("{} {}; give a whole number with kb, mb or gb, such as 64mb", Quoted(text),
                 bare ? "has no unit" : "is not a size");
  }
  if (*value > kMaxSize) return Fault("{} is too large; such as 64mb", Quoted(text));
  if (*value < min_bytes) {
    return Fault("{} is too small; give at least {}kb", Quoted(text), min_bytes >> 10);
  }
  return *value;
}

absl::StatusOr<std::string> ParseUnixPath(std::string_view path) {
  if (path.empty() || path.front() != '/') {
    return Fault("{} is not an absolute path; such as /run/cache.sock", Quoted(path));
  }
  if (path.size() > kMaxUnixPath) {
    return Fault("the unix path {} has {} bytes; a socket's path has at most {}", Quoted(path),
                 path.size(), kMaxUnixPath);
  }
  if (path.find('\0') != std::string_view::npos) {
    return Fault("{} has a NUL byte in the path; remove it", Quoted(path));
  }
  return std::string(path);
}

absl::StatusOr<Address> ParseHostPort(std::string_view text, int64_t min_port) {
  const absl::StatusOr<HostPort> split = SplitHostPort(text);
  if (!split.ok()) return split.status();
  const absl::StatusOr<uint16_t> port = ParsePort(text, split->port, min_port);
  if (!port.ok()) return port.status();
  const absl::Status host = CheckHost(split->host);
  if (!host.ok()) return host;
  Address address;
  address.host = split->host;
  address.port = *port;
  address.text = std::string(text);
  return address;
}

absl::StatusOr<Address> ParseListen(std::string_view text) {
  if (!text.empty() && text.front() == '/') return ParseUnixListen(text);
  return ParseHostPort(text, 1);
}

absl::StatusOr<Server> ParseServer(std::string_view text) {
  if (!text.empty() && text.back() == ' ') {
    return Fault("{} ends with a space; {}", Quoted(text), kServerForm);
  }
  std::string_view rest = text;
  const std::optional<std::string_view> name = CutRight(&rest, ' ');
  const std::optional<std::string_view> weight = CutRight(&rest, ':');
  if (!weight) {
    const bool spaced_name = name && text.find(':') != std::string_view::npos;
    return Fault("{} has no weight; {}{}", Quoted(text), kServerForm,
                 spaced_name ? " (no spaces but the one before the name)" : "");
  }
  const bool is_unix = !rest.empty() && rest.front() == '/';
  absl::StatusOr<Address> address =
      is_unix ? ParseServerUnix(text, rest) : ParseServerHostPort(text, rest);
  if (!address.ok()) return address.status();
  const absl::StatusOr<uint32_t> parsed_weight = ParseWeight(text, *weight);
  if (!parsed_weight.ok()) return parsed_weight.status();
  Server server;
  server.address = *std::move(address);
  server.weight = *parsed_weight;
  server.named = name.has_value();
  server.name = name ? std::string(*name) : DerivedName(server.address);
  if (HasControlCharacter(server.name)) {
    return Fault("{} has a control character in the name; use letters, digits, '-' and '.'",
                 Quoted(text));
  }
  return server;
}

std::string Quoted(std::string_view value) { return "\"" + base::Escape(value, 80) + "\""; }

std::optional<std::string_view> Nearest(std::string_view text,
                                        std::span<const std::string_view> names) {
  if (text.size() > 64) return std::nullopt;  // nobody mistypes that much
  const std::string lower = Lower(text);
  std::optional<std::string_view> best;
  size_t best_distance = std::clamp<size_t>(text.size() / 3, 1, 3) + 1;
  for (const std::string_view name : names) {
    if (WithoutSeparators(lower) == WithoutSeparators(std::string(name))) return name;
    const size_t distance = EditDistance(lower, name);
    if (distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace cashew::config

// Closed-loop load generator for memcached (ASCII) and redis (RESP2) endpoints.
//
//   load --proto memcached|redis --addr 127.0.0.1:10010 [--conns 50] [--depth 1]
//        [--ops N] [--keys 10000] [--value 64] [--set-ratio 0.1] [--mget 1]
//        [--rate 0] [--verify] [--prefill] [--seed 1] [--tag NAME]
//
// One thread, one epoll loop. Every connection keeps `depth` requests in flight.
// `--rate R` switches to an open loop: requests are due at a fixed rate and their
// latency counts from the moment they were due (no coordinated omission).
// `--verify` compares every returned value with the one the key must hold.
// Prints one JSON object: ops, seconds, ops_per_s, latency quantiles in
// microseconds, the process's own CPU seconds, hits, misses, errors, mismatches.
#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <random>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

namespace {

uint64_t NowNs() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return uint64_t{1000000000} * uint64_t(ts.tv_sec) + uint64_t(ts.tv_nsec);
}

constexpr uint64_t kNoProgressNs = 10'000'000'000;  // then the rest counts as errors
constexpr size_t kReadSize = 65536;

struct Options {
  bool redis = false, verify = false, prefill = false;
  std::string addr = "127.0.0.1:10010", tag = "k";
  int conns = 50, depth = 1, mget = 1;
  uint64_t ops = 200000, keys = 10000;
  size_t value = 64;
  double set_ratio = 0.1, rate = 0;
  uint64_t seed = 1;
};

// Log-linear histogram of nanoseconds: 64 sub-buckets per power of two.
struct Histogram {
  std::vector<uint64_t> counts = std::vector<uint64_t>(size_t{64} * 64, 0);
  uint64_t total = 0, max = 0;
  static size_t Index(uint64_t v) {
    if (v < 64) return v;
    int shift = 63 - __builtin_clzll(v) - 6;
    return size_t(shift + 1) * 64 + ((v >> shift) & 63);
  }
  static uint64_t Value(size_t i) {
    if (i < 64) return i;
    return (uint64_t(64) + (i & 63)) << (i / 64 - 1);
  }
  void Add(uint64_t v) {
    ++counts[std::min(Index(v), counts.size() - 1)];
    ++total;
    max = std::max(max, v);
  }
  double QuantileUs(double q) const {
    uint64_t want = uint64_t(q * double(total)), seen = 0;
    for (size_t i = 0; i < counts.size(); ++i)
      if ((seen += counts[i]) > want) return double(Value(i)) / 1000.0;
    return double(max) / 1000.0;
  }
};

enum class Op : uint8_t { kGet, kSet };
struct Pending {
  Op op;
  uint64_t start;
  uint32_t first_key, nkeys, seen;
};

struct Conn {
  int fd = -1;
  std::string out, in;
  size_t out_pos = 0, in_pos = 0;
  bool want_write = false;
  std::deque<Pending> pending;
};

struct Stats {
  uint64_t done = 0, hits = 0, misses = 0, errors = 0, mismatches = 0;
  Histogram latency;
  std::string first_error;
};

class Load {
 public:
  explicit Load(Options o) : o_(std::move(o)), rng_(o_.seed) {
    pad_.assign(o_.value, 'x');
    for (size_t i = 0; i < pad_.size(); ++i) pad_[i] = char('a' + i % 26);
  }

  int Run() {
    ep_ = epoll_create1(0);
    conns_.resize(size_t(o_.conns));
    for (size_t i = 0; i < conns_.size(); ++i) Open(conns_[i], i);
    if (o_.prefill) {
      filling_ = true;
      Phase(o_.keys);
      filling_ = false;
      if (stats_.errors) return Report(1);
      stats_ = Stats{};
    }
    issued_ = 0;
    begin_ = NowNs();
    rusage a, b;
    getrusage(RUSAGE_SELF, &a);
    Phase(o_.ops);
    getrusage(RUSAGE_SELF, &b);
    cpu_ = Cpu(b) - Cpu(a);
    seconds_ = double(NowNs() - begin_) / 1e9;
    return Report(stats_.errors || stats_.mismatches ? 1 : 0);
  }

 private:
  static double Cpu(const rusage& r) {
    return double(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           double(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
  }

  void Open(Conn& c, size_t index) {
    if (o_.addr[0] == '/') {
      sockaddr_un sa{};
      sa.sun_family = AF_UNIX;
      strncpy(sa.sun_path, o_.addr.c_str(), sizeof sa.sun_path - 1);
      c.fd = socket(AF_UNIX, SOCK_STREAM, 0);
      if (connect(c.fd, (sockaddr*)&sa, sizeof sa)) Die("connect");
    } else {
      size_t colon = o_.addr.rfind(':');
      sockaddr_in sa{};
      sa.sin_family = AF_INET;
      sa.sin_port = htons(uint16_t(atoi(o_.addr.c_str() + colon + 1)));
      inet_pton(AF_INET, o_.addr.substr(0, colon).c_str(), &sa.sin_addr);
      c.fd = socket(AF_INET, SOCK_STREAM, 0);
      if (connect(c.fd, (sockaddr*)&sa, sizeof sa)) Die("connect");
      int one = 1;
      setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    epoll_event ev{};
    ev.events = EPOLLIN;
    ev.data.u64 = index;
    epoll_ctl(ep_, EPOLL_CTL_ADD, c.fd, &ev);
  }

  [[noreturn]] static void Die(const char* what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
  }

  // Ends in eight mixed hex digits: keys that differ only in their last characters
  // clump on one server under fnv1a_64.
  std::string Key(uint64_t k) const {
    uint64_t h = (k + 1) * 0x9e3779b97f4a7c15ull;
    h = (h ^ (h >> 31)) * 0xbf58476d1ce4e5b9ull;
    char mixed[9];
    snprintf(mixed, sizeof mixed, "%08x", unsigned(h >> 32));
    return o_.tag + ":" + std::to_string(k) + ":" + mixed;
  }
  std::string Value(uint64_t k) const {
    std::string v = std::to_string(k) + "=";
    if (v.size() < o_.value) v.append(pad_, 0, o_.value - v.size());
    return v;
  }

  void Issue(Conn& c, uint64_t due) {
    Pending p{};
    p.start = due;
    p.nkeys = 1;
    uint64_t k = filling_ ? issued_ : rng_() % o_.keys;
    bool set = filling_ || double(rng_() % 1000000) < o_.set_ratio * 1e6;
    p.op = set ? Op::kSet : Op::kGet;
    p.first_key = uint32_t(k);
    if (set) {
      std::string key = Key(k), v = Value(k);
      if (o_.redis)
        c.out += "*3\r\n$3\r\nSET\r\n$" + std::to_string(key.size()) + "\r\n" + key + "\r\n$" +
                 std::to_string(v.size()) + "\r\n" + v + "\r\n";
      else
        c.out += "set " + key + " 0 0 " + std::to_string(v.size()) + "\r\n" + v + "\r\n";
    } else {
      p.nkeys = uint32_t(o_.mget);
      if (o_.redis) {
        c.out += "*" + std::to_string(p.nkeys + 1) +
                 (p.nkeys > 1 ? "\r\n$4\r\nMGET\r\n" : "\r\n$3\r\nGET\r\n");
        for (uint32_t i = 0; i < p.nkeys; ++i) {
          std::string key = Key((k + i) % o_.keys);
          c.out += "$" + std::to_string(key.size()) + "\r\n" + key + "\r\n";
        }
      } else {
        c.out += "get";
        for (uint32_t i = 0; i < p.nkeys; ++i) c.out += " " + Key((k + i) % o_.keys);
        c.out += "\r\n";
      }
    }
    c.pending.push_back(p);
    ++issued_;
  }

  void Phase(uint64_t target) {
    target_ = target;
    issued_ = 0;
    uint64_t start = NowNs();
    if (o_.rate <= 0 || filling_) {
      for (auto& c : conns_) {
        for (int d = 0; d < (filling_ ? 1 : o_.depth) && issued_ < target_; ++d) Issue(c, NowNs());
        Flush(c);
      }
    }
    size_t next = 0;
    std::vector<epoll_event> evs(1024);
    uint64_t last_progress = NowNs(), last_done = 0;
    while (stats_.done + stats_.errors < target_) {
      int wait_ms = 1000;
      if (o_.rate > 0 && !filling_) {
        uint64_t now = NowNs();
        while (issued_ < target_) {
          uint64_t due = start + uint64_t(double(issued_) / o_.rate * 1e9);
          if (due > now) break;
          Conn& c = conns_[next++ % conns_.size()];
          Issue(c, due);
          Flush(c);
        }
        wait_ms = 0;
      }
      int n = epoll_wait(ep_, evs.data(), int(evs.size()), wait_ms);
      for (int i = 0; i < n; ++i) {
        Conn& c = conns_[evs[size_t(i)].data.u64];
        if (evs[size_t(i)].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) Read(c);
        if (c.fd >= 0) Flush(c);
      }
      if (stats_.done != last_done)
        last_done = stats_.done, last_progress = NowNs();
      else if (NowNs() - last_progress > kNoProgressNs) {
        stats_.errors += target_ - stats_.done;
        if (stats_.first_error.empty()) stats_.first_error = "no reply for 10 s";
        return;
      }
    }
  }

  void Flush(Conn& c) {
    while (c.out_pos < c.out.size()) {
      ssize_t n = send(c.fd, c.out.data() + c.out_pos, c.out.size() - c.out_pos,
                       MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0) {
        if (errno == EAGAIN) break;
        Fail(c, strerror(errno));
        return;
      }
      c.out_pos += size_t(n);
    }
    bool want = c.out_pos < c.out.size();
    if (!want) c.out.clear(), c.out_pos = 0;
    if (want != c.want_write) {
      epoll_event ev{};
      ev.events = EPOLLIN | (want ? uint32_t(EPOLLOUT) : 0u);
      ev.data.u64 = uint64_t(&c - conns_.data());
      epoll_ctl(ep_, EPOLL_CTL_MOD, c.fd, &ev);
      c.want_write = want;
    }
  }

  void Fail(Conn& c, const std::string& why) {
    if (stats_.first_error.empty()) stats_.first_error = why;
    stats_.errors += c.pending.size();
    close(c.fd);
    size_t index = size_t(&c - conns_.data());
    c = Conn{};
    Open(c, index);
    Refill(c);
  }

  void Refill(Conn& c) {
    if (o_.rate > 0 && !filling_) return;
    size_t depth = filling_ ? 1 : size_t(o_.depth);
    while (c.pending.size() < depth && issued_ < target_) Issue(c, NowNs());
  }

  void Read(Conn& c) {
    for (;;) {
      size_t old = c.in.size();
      c.in.resize(old + kReadSize);
      ssize_t n = recv(c.fd, c.in.data() + old, kReadSize, MSG_DONTWAIT);
      c.in.resize(old + (n > 0 ? size_t(n) : 0));
      if (n == 0) return Fail(c, "connection closed");
      if (n < 0) {
        if (errno == EAGAIN) break;
        return Fail(c, strerror(errno));
      }
      if (size_t(n) < kReadSize) break;
    }
    while (!c.pending.empty()) {
      int r = o_.redis ? ParseRedis(c) : ParseMemcached(c);
      if (r == 0) break;
      Pending p = c.pending.front();
      c.pending.pop_front();
      if (r < 0)
        ++stats_.errors;
      else {
        ++stats_.done;
        stats_.latency.Add(NowNs() - p.start);
      }
    }
    if (c.in_pos) c.in.erase(0, c.in_pos), c.in_pos = 0;
    Refill(c);
  }

  bool Line(Conn& c, size_t from, std::string_view& line, size_t& next) const {
    size_t e = c.in.find("\r\n", from);
    if (e == std::string::npos) return false;
    line = std::string_view(c.in).substr(from, e - from);
    next = e + 2;
    return true;
  }

  void Check(std::string_view key, std::string_view value) {
    ++stats_.hits;
    if (!o_.verify) return;
    uint64_t k = strtoull(std::string(key.substr(o_.tag.size() + 1)).c_str(), nullptr, 10);
    if (value != Value(k)) ++stats_.mismatches;
  }

  int Bad(std::string_view line) {
    if (stats_.first_error.empty()) stats_.first_error = std::string(line);
    return -1;
  }

  // Each parser returns 1 when the front request is answered, 0 when more bytes
  // are needed and -1 when the answer is an error.
  int ParseMemcached(Conn& c) {
    Pending& p = c.pending.front();
    for (;;) {
      std::string_view line;
      size_t next;
      if (!Line(c, c.in_pos, line, next)) return 0;
      if (p.op == Op::kSet) {
        bool ok = line == "STORED";
        int r = ok ? 1 : Bad(line);
        c.in_pos = next;
        return r;
      }
      if (line == "END") {
        c.in_pos = next;
        stats_.misses += p.nkeys - p.seen;
        return 1;
      }
      if (line.substr(0, 6) != "VALUE ") {
        int r = Bad(line);
        c.in_pos = next;
        return r;
      }
      size_t sp = line.rfind(' ');
      size_t len = strtoull(std::string(line.substr(sp + 1)).c_str(), nullptr, 10);
      if (c.in.size() < next + len + 2) return 0;
      std::string_view key = line.substr(6, line.find(' ', 6) - 6);
      Check(key, std::string_view(c.in).substr(next, len));
      ++p.seen;
      c.in_pos = next + len + 2;
    }
  }

  int ParseRedis(Conn& c) {
    Pending& p = c.pending.front();
    std::string_view line;
    size_t next;
    if (!Line(c, c.in_pos, line, next)) return 0;
    if (line[0] == '-') {
      int r = Bad(line);
      c.in_pos = next;
      return r;
    }
    if (line[0] == '+') {
      c.in_pos = next;
      return 1;
    }
    size_t at = c.in_pos;
    uint32_t n = 1;
    if (line[0] == '*') {
      n = uint32_t(atoi(std::string(line.substr(1)).c_str()));
      at = next;
    }
    struct Item {
      bool nil;
      size_t pos, len;
    };
    std::vector<Item> items;
    for (uint32_t i = 0; i < n; ++i) {
      if (!Line(c, at, line, next)) return 0;
      if (line.empty() || line[0] != '$') return Bad(line);
      long len = atol(std::string(line.substr(1)).c_str());
      if (len < 0) {
        items.push_back({true, 0, 0});
        at = next;
        continue;
      }
      if (c.in.size() < next + size_t(len) + 2) return 0;
      items.push_back({false, next, size_t(len)});
      at = next + size_t(len) + 2;
    }
    for (uint32_t i = 0; i < n; ++i) {
      if (items[i].nil)
        ++stats_.misses;
      else
        Check(Key((p.first_key + i) % o_.keys),
              std::string_view(c.in).substr(items[i].pos, items[i].len));
    }
    c.in_pos = at;
    return 1;
  }

  int Report(int rc) {
    printf(
        "{\"ops\":%llu,\"seconds\":%.3f,\"ops_per_s\":%.0f,\"p50_us\":%.0f,\"p99_us\":%.0f,\"p999_"
        "us\":%.0f,"
        "\"max_us\":%.0f,\"load_cpu_s\":%.2f,\"hits\":%llu,\"misses\":%llu,\"errors\":%llu,"
        "\"mismatches\":%llu,"
        "\"first_error\":\"%s\"}\n",
        (unsigned long long)stats_.done, seconds_,
        seconds_ > 0 ? double(stats_.done) / seconds_ : 0.0, stats_.latency.QuantileUs(.5),
        stats_.latency.QuantileUs(.99), stats_.latency.QuantileUs(.999),
        double(stats_.latency.max) / 1000.0, cpu_, (unsigned long long)stats_.hits,
        (unsigned long long)stats_.misses, (unsigned long long)stats_.errors,
        (unsigned long long)stats_.mismatches, stats_.first_error.c_str());
    return rc;
  }

  Options o_;
  std::mt19937_64 rng_;
  std::string pad_;
  int ep_ = -1;
  std::vector<Conn> conns_;
  Stats stats_;
  uint64_t issued_ = 0, target_ = 0, begin_ = 0;
  bool filling_ = false;
  double seconds_ = 0, cpu_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    std::string a = argv[i];
    auto val = [&]() -> const char* {
      if (i + 1 >= argc) {
        fprintf(stderr, "load: %s needs a value\n", a.c_str());
        exit(2);
      }
      return argv[++i];
    };
    if (a == "--proto")
      o.redis = std::string(val()) == "redis";
    else if (a == "--addr")
      o.addr = val();
    else if (a == "--conns")
      o.conns = atoi(val());
    else if (a == "--depth")
      o.depth = atoi(val());
    else if (a == "--ops")
      o.ops = strtoull(val(), nullptr, 10);
    else if (a == "--keys")
      o.keys = strtoull(val(), nullptr, 10);
    else if (a == "--value")
      o.value = strtoull(val(), nullptr, 10);
    else if (a == "--set-ratio")
      o.set_ratio = atof(val());
    else if (a == "--mget")
      o.mget = atoi(val());
    else if (a == "--rate")
      o.rate = atof(val());
    else if (a == "--seed")
      o.seed = strtoull(val(), nullptr, 10);
    else if (a == "--tag")
      o.tag = val();
    else if (a == "--verify")
      o.verify = true;
    else if (a == "--prefill")
      o.prefill = true;
    else {
      fprintf(stderr, "load: unknown option %s\n", a.c_str());
      return 2;
    }
  }
  return Load(o).Run();
}

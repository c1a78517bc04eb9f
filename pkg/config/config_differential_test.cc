// What the real nutcracker accepts Cashew accepts, what it rejects Cashew rejects; a row where
// the two differ says why, and must differ.

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "pkg/config/config.h"

extern char** environ;

namespace cashew::config {
namespace {

struct Row {
  std::string yaml;
  std::string differs = "";  // empty: both say the same
};

constexpr char kFlow[] = "flow style is fine";
constexpr char kAnchors[] = "anchors are fine";
constexpr char kMarks[] = "directives, tags and document marks are fine";
constexpr char kBrackets[] = "brackets around IPv6 are understood";
constexpr char kWraps[] = "numbers do not wrap in 32 bits";
constexpr char kSyntax[] = "a server that can never be connected to is refused at once";
constexpr char kMode[] = "a mode that is not octal is refused instead of ignored";
constexpr char kClash[] = "two listeners in one place fail now rather than on bind";
constexpr char kControl[] = "names reach logs and JSON: no control characters";
constexpr char kNewKey[] = "nutcracker 0.5.0 does not have the key yet";

Row Pool(const std::string& lines, const std::string& differs = "") {
  return {"a:\n  listen: 127.0.0.1:22121\n" + lines + "  servers:\n   - 127.0.0.1:11211:1\n",
          differs};
}

Row Listen(const std::string& listen, const std::string& differs = "") {
  return {"a:\n  listen: " + listen + "\n  servers:\n   - 127.0.0.1:11211:1\n", differs};
}

Row Server(const std::string& server, const std::string& differs = "") {
  return {"a:\n  listen: 127.0.0.1:22121\n  servers:\n   - " + server + "\n", differs};
}

std::vector<Row> KeyRows() {
  std::vector<Row> rows;
  for (const char* good : {"hash: md5",
                           "hash: one_at_a_time",
                           "hash: crc16",
                           "hash: crc32",
                           "hash: crc32a",
                           "hash: fnv1_64",
                           "hash: fnv1a_64",
                           "hash: fnv1_32",
                           "hash: fnv1a_32",
                           "hash: hsieh",
                           "hash: murmur",
                           "hash: jenkins",
                           "hash_tag: \"{}\"",
                           "hash_tag: '$$'",
                           "hash_tag: ab",
                           "distribution: ketama",
                           "distribution: modula",
                           "distribution: random",
                           "timeout: 0",
                           "timeout: 010",
                           "timeout: '400'",
                           "timeout: 2147483647",
                           "backlog: 0",
                           "backlog: 1024",
                           "client_connections: 0",
                           "client_connections: 5",
                           "redis: true",
                           "redis: false",
                           "redis: 'true'",
                           "tcpkeepalive: true",
                           "redis: true\n  redis_auth: foo",
                           "redis_auth: foo\n  redis: true",
                           "redis: true\n  redis_auth: null",
                           "redis_db: 0",
                           "redis_db: 99",
                           "preconnect: true",
                           "auto_eject_hosts: false",
                           "server_connections: 1",
                           "server_connections: 200",
                           "server_retry_timeout: 0",
                           "server_failure_limit: 0",
                           "server_failure_limit: 3",
                           "hash : md5",
                           "? hash\n  : md5",
                           "'hash': md5",
                           "\"hash\": md5",
                           "#c",
                           "hash: md5 # c",
                           "hash: \"md5\" ",
                           "hash:    md5  ",
                           "hash:\tmd5",
                           "hash:\n    md5",
                           "hash: >-\n    md5"}) {
    rows.push_back(Pool(std::string("  ") + good + "\n"));
  }
  for (const char* bad : {"hash: ",
                          "hash: ''",
                          "hash: FNV1A_64",
                          "hash: sha1",
                          "hash_tag: {}",
                          "hash_tag: abc",
                          "hash_tag: a",
                          "hash_tag: ''",
                          "distribution: Ketama",
                          "distribution: consistent",
                          "timeout: -1",
                          "timeout: 1.5",
                          "timeout: 0x10",
                          "timeout: 2147483648",
                          "timeout: 400ms",
                          "timeout: +5",
                          "timeout: 1_000",
                          "timeout: ~",
                          "timeout: null",
                          "redis: True",
                          "redis: yes",
                          "redis: on",
                          "redis: 1",
                          "redis: TRUE",
                          "redis_auth: foo",
                          "redis: true\n  redis_auth: ''",
                          "redis_db: -1",
                          "server_connections: 0",
                          "server_retry_timeout: 30s",
                          "server_failure_limit: x",
                          "foo: bar",
                          "hash: md5\n  hash: md5",
                          "hash: [md5]",
                          "hash: {}",
                          "hash: |\n    md5",
                          "hash:md5",
                          "HASH: md5",
                          "hash: md5#c",
                          "\thash: md5",
                          "foo:\n    bar: x",
                          "servers:\n   - 127.0.0.1:11212:1",
                          "timeout: \"4"}) {
    rows.push_back(Pool(std::string("  ") + bad + "\n"));
  }
  rows.push_back(Pool("  timeout: 4294967296\n", kWraps));
  rows.push_back(Pool("  timeout: 4294967297\n", kWraps));
  rows.push_back(Pool("  hash: &h md5\n", kAnchors));
  rows.push_back(Pool("  hash: !!str md5\n", kMarks));
  rows.push_back(Pool("  reuseport: true\n", kNewKey));
  return rows;
}

// nutcracker -t resolves these, so none of them is a name that would leave this machine.
std::vector<Row> ListenRows() {
  const std::string path_107 = "/" + std::string(106, 'x');
  return {
      Listen("127.0.0.1:22121"),
      Listen("localhost:22121"),
      Listen("0.0.0.0:022121"),
      Listen("::1:22121"),
      Listen("'*:22121'"),
      Listen("*:22121"),
      Listen("/tmp/a"),
      Listen("/tmp/a:22"),
      Listen("/tmp/a 0644"),
      Listen("/tmp/a 777"),
      Listen("/tmp/a 00"),
      Listen("/tmp/a 000000777"),
      Listen("/tmp/a  0777"),
      Listen(path_107),
      Listen("22121"),
      Listen("127.0.0.1"),
      Listen("':22121'"),
      Listen("'127.0.0.1:'"),
      Listen("127.0.0.1:0"),
      Listen("127.0.0.1:65536"),
      Listen("127.0.0.1:x"),
      Listen("127.0.0.1:-1"),
      Listen("127.0.0.1:2147483649"),
      Listen("127.0.0.1:22121 0644"),
      Listen("'127.0.0.1:22121 '"),
      Listen("/tmp/a 1777"),
      Listen(path_107 + "x"),
      Listen("'[::1]:22121'", kBrackets),
      Listen("127.0.0.1:4294967300", kWraps),
      Listen("/tmp/a 0888", kMode),
      Listen("/tmp/a rw", kMode),
      Listen("'/tmp/a '", kMode),
      Listen("/tmp/a 0777 x", kMode),
  };
}

std::vector<Row> ServerRows() {
  const std::string path_107 = "/" + std::string(106, 'x');
  return {
      Server("127.0.0.1:11211:1"),
      Server("127.0.0.1:11211:01"),
      Server("127.0.0.1:011211:1"),
      Server("127.0.0.1:11211:2147483647"),
      Server("127.0.0.1:11211:1 n"),
      Server("127.0.0.1:11211:1 a:b"),
      Server("127.0.0.1:11211:1 a/b"),
      Server("'127.0.0.1:11211:1 \"n\"'"),
      Server("127.0.0.1:11211:1 \xc3\xa9"),
      Server("127.0.0.1:11211:1 # c"),
      Server("127.0.0.1:11211:1 \t"),
      Server("nosuch.invalid:1:1"),
      Server("'*:11211:1'"),
      Server("::1:11211:1"),
      Server("'[::1]:11211:1'"),
      Server("/tmp/x:1"),
      Server("/tmp/x:1 n"),
      Server("/:1"),
      Server(path_107 + ":1"),
      Server("127.0.0.1:11211"),
      Server("127.0.0.1:11211:0"),
      Server("127.0.0.1:11211:-1"),
      Server("127.0.0.1:11211:x"),
      Server("'127.0.0.1:11211:'"),
      Server("127.0.0.1:0:1"),
      Server("127.0.0.1:65536:1"),
      Server("127.0.0.1:x:1"),
      Server("'127.0.0.1::1'"),
      Server("127.0.0.1:11211:1  n"),
      Server("127.0.0.1:11211:1 n m"),
      Server("127.0.0.1:11211:1\tn"),
      Server("'127.0.0.1:11211:1 n '"),
      Server("127.0.0.1:11211:2147483648"),
      Server("' 127.0.0.1:11211:1'"),
      Server("'a b:11211:1'"),
      Server("/tmp/a:b:1"),
      Server("/tmp/x"),
      Server("/tmp/x:0"),
      Server("'/tmp/x:'"),
      Server("/tmp/x 1:1"),
      Server("''"),
      Server(""),
      Server("~"),
      Server("- 127.0.0.1:1:1"),
      Server("127.0.0.1:11211:1 \xff"),
      Server("'127.0.0.1:11211:1 '", kSyntax),
      Server("':11211:1'", kSyntax),
      Server("999.0.0.1:11211:1", kSyntax),
      Server("'[localhost]:11211:1'", kSyntax),
      Server(path_107 + "x:1", kSyntax),
      Server("127.0.0.1:11211:4294967297", kWraps),
      Server("\"127.0.0.1:11211:1 a\\tb\"", kControl),
      Server("127.0.0.1:11211:1\n   - 127.0.0.1:11211:2"),
      Server("127.0.0.1:11211:1\n   - 127.0.0.1:11211:1 x"),
      Server("127.0.0.1:11211:1\n   - 127.0.0.1:11212:1"),
      Server("127.0.0.1:11211:1\n   - 127.0.0.1:11212:1 127.0.0.1"),
      Server("127.0.0.1:1:1 x\n   - 127.0.0.1:2:1 x"),
  };
}

std::vector<Row> FileRows() {
  const std::string a = "a:\n  listen: 127.0.0.1:22121\n  servers:\n   - 127.0.0.1:11211:1\n";
  const std::string keys = "  servers:\n   - 127.0.0.1:11211:1\n";
  return {
      {""},
      {"\n"},
      {"# c\n"},
      {"a"},
      {"- a\n"},
      {"a:\n"},
      {"a: b\n"},
      {"a: {}\n"},
      {"a:\n  listen: 127.0.0.1:22121\n"},
      {"a:\n  listen: 127.0.0.1:22121\n  servers:\n"},
      {"a:\n  listen: 127.0.0.1:22121\n  servers: x\n"},
      {"a:\n  listen: 127.0.0.1:22121\n  servers:\n    x: y\n"},
      {"a:\n  listen: 127.0.0.1:22121\n  servers: []\n"},
      {"a:\n" + keys},
      {a},
      {a + "\n\n"},
      {a + "b:\n"},
      {a + "  timeout: 5"},
      {"a:\n" + keys + "  listen: 127.0.0.1:22121\n"},
      {"a:\n  listen: 127.0.0.1:22121\n  servers:\n  - 127.0.0.1:11211:1\n"},
      {"a:\n  listen:\n    127.0.0.1:22121\n" + keys},
      {"  a:\n    listen: 127.0.0.1:22121\n    servers:\n    - 127.0.0.1:11211:1\n"},
      {"\xef\xbb\xbf" + a},
      {"a:\r\n  listen: 127.0.0.1:22121\r\n  servers:\r\n   - 127.0.0.1:11211:1\r\n"},
      {"a:\n  listen:127.0.0.1:22121\n" + keys},
      {"a:\nlisten: 127.0.0.1:22121\nservers:\n - 127.0.0.1:11211:1\n"},
      {"a:\n\tlisten: 127.0.0.1:22121\n" + keys},
      {"a:\n  listen: 127.0.0.1:22121\n  servers:\n   -127.0.0.1:11211:1\n"},
      {a + "b:\n  listen: 127.0.0.1:22121\n" + keys},
      {a + "a:\n  listen: 127.0.0.1:22122\n" + keys},
      {a + "b:\n  listen: 127.0.0.1:22122\n" + keys},
      {a + "b:\n  listen: localhost:22121\n" + keys},
      {a + "b:\n  listen: 127.0.0.1:022121\n" + keys, kClash},
      {"a:\n  listen: /tmp/s\n" + keys + "b:\n  listen: /tmp/s 0700\n" + keys, kClash},
      {a + a},
      {"'':\n  listen: 127.0.0.1:22121\n" + keys},
      {"a b:\n  listen: 127.0.0.1:22121\n" + keys},
      {"'a b':\n  listen: 127.0.0.1:22121\n" + keys},
      {"1:\n  listen: 127.0.0.1:22121\n" + keys},
      {"~:\n  listen: 127.0.0.1:22121\n" + keys},
      {"redis:\n  listen: 127.0.0.1:22121\n" + keys},
      {"redis:6379:\n  listen: 127.0.0.1:22121\n" + keys},
      {"global:\n  listen: 127.0.0.1:22121\n" + keys},
      {"\xc3\xa9:\n  listen: 127.0.0.1:22121\n" + keys},
      {"\"a\\tb\":\n  listen: 127.0.0.1:22121\n" + keys, kControl},
      {"? [a]\n: b\n"},
      {a + "---\nb:\n  listen: 127.0.0.1:22122\n" + keys},
      {a + "global:\n  workers: 1\n", kNewKey},
      {"---\n" + a, kMarks},
      {a + "...\n", kMarks},
      {"%YAML 1.1\n---\n" + a, kMarks},
      {"{a: {listen: '127.0.0.1:1', servers: ['127.0.0.1:1:1']}}\n", kFlow},
      {"a:\n  listen: 127.0.0.1:1\n  servers: [127.0.0.1:1:1]\n", kFlow},
      {"a:\n  listen: 127.0.0.1:1\n  servers: &s\n   - 127.0.0.1:1:1\nb:\n  listen: "
       "127.0.0.1:2\n  servers: *s\n",
       kAnchors},
  };
}

std::string FindNutcracker() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(std::string(path != nullptr ? path : "") + ":/usr/sbin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/nutcracker";
    if (!folder.empty() && access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

class ConfigDifferential : public testing::Test {
 protected:
  void SetUp() override {
    nutcracker_ = FindNutcracker();
    ASSERT_NE(nutcracker_, "") << "this test compares with the real nutcracker, which is neither "
                                  "in PATH nor in /usr/sbin: apt-get install nutcracker";
    char pattern[] = "/tmp/cashew-config-XXXXXX";
    dir_ = mkdtemp(pattern);
  }
  void TearDown() override {
    if (!dir_.empty()) std::filesystem::remove_all(dir_);
  }

  // Whether `nutcracker -t` accepts the file.
  bool NutcrackerAccepts(const std::string& file) {
    std::string args[] = {nutcracker_, "-t", "-o", "/dev/null", "-c", file};
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t pid = 0;
    const int failed = posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    int status = 0;
    EXPECT_EQ(failed, 0);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status));
    return WEXITSTATUS(status) == 0;
  }

  void Compare(const std::vector<Row>& rows) {
    const std::string file = dir_ + "/nutcracker.yml";
    for (const Row& row : rows) {
      std::ofstream(file, std::ios::binary) << row.yaml;
      const LoadResult ours = LoadFile(file);
      const bool same = NutcrackerAccepts(file) == ours.ok();
      EXPECT_EQ(same, row.differs.empty())
          << row.yaml << "cashew: " << (ours.ok() ? "accepts" : ours.errors[0].ToString())
          << "\nreason to differ: " << row.differs;
    }
  }

  std::string nutcracker_;
  std::string dir_;
};

TEST_F(ConfigDifferential, KeysAndTheirValues) { Compare(KeyRows()); }
TEST_F(ConfigDifferential, Listeners) { Compare(ListenRows()); }
TEST_F(ConfigDifferential, Servers) { Compare(ServerRows()); }
TEST_F(ConfigDifferential, WholeFiles) { Compare(FileRows()); }

}  // namespace
}  // namespace cashew::config

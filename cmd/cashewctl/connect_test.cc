#include "cmd/cashewctl/connect.h"

#include <cstring>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace cashew::ctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

GetEnv Env(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const char* name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(Connect, DefaultsAreWhereTheProxyListens) {
  EXPECT_THAT(DefaultSockets(Env({})), ElementsAre("/run/cashew/grpc.sock"));
  EXPECT_THAT(DefaultSockets(Env(
                  {{"RUNTIME_DIRECTORY", "/run/a:/run/b"}, {"XDG_RUNTIME_DIR", "/run/user/1"}})),
              ElementsAre("/run/a/grpc.sock", "/run/b/grpc.sock", "/run/user/1/cashew/grpc.sock",
                          "/run/cashew/grpc.sock"));
}

TEST(Connect, TheFirstSocketThatExistsIsTaken) {
  char folder[] = "/tmp/cashewctl-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string plain = std::string(folder) + "/plain";
  const std::string path = std::string(folder) + "/grpc.sock";
  std::ofstream(plain) << "no socket";
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(*FindSocket({std::string(folder) + "/none", plain, path}), "unix:" + path);
  const absl::Status none = FindSocket({plain, "/nowhere/grpc.sock"}).status();
  EXPECT_TRUE(absl::IsNotFound(none));
  EXPECT_THAT(Message(none), HasSubstr(plain + ", /nowhere/grpc.sock"));
  EXPECT_THAT(Message(none), HasSubstr("--address or CASHEW_GRPC"));
  close(fd);
  unlink(path.c_str());
  unlink(plain.c_str());
  rmdir(folder);
}

TEST(Connect, AddressesAreUnixOrHostAndPort) {
  EXPECT_EQ(*GrpcTarget("unix:/run/x.sock"), "unix:/run/x.sock");
  EXPECT_EQ(*GrpcTarget("localhost:9152"), "dns:///localhost:9152");
  EXPECT_EQ(*GrpcTarget("[::1]:9152"), "dns:///[::1]:9152");
  for (const std::string wrong : {"localhost", "localhost:0", "localhost:x", "unix:", ":9152"}) {
    const absl::Status status = GrpcTarget(wrong).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << wrong;
    EXPECT_THAT(Message(status), HasSubstr("--address")) << wrong;
  }
}

TEST(Connect, TlsFilesThatDoNotFitAreNamed) {
  ConnectOptions options;
  options.address = "localhost:9152";
  options.tls_cert = "/nowhere/cert.pem";
  EXPECT_THAT(Message(OpenChannel(options).status()), HasSubstr("go together"));
  options.tls_key = "/nowhere/key.pem";
  EXPECT_THAT(Message(OpenChannel(options).status()),
              HasSubstr("--tls-cert: cannot read /nowhere/cert.pem: No such file"));
}

}  // namespace
}  // namespace cashew::ctl

#include "pkg/k8s/api_access.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <unistd.h>

#include "fmt/format.h"

#include "pkg/base/clock.h"
#include "pkg/k8s/backoff.h"
#include "pkg/k8s/token_source.h"

namespace cashew::k8s {
namespace {

using ::testing::HasSubstr;

class AccessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / fmt::format("cashew-access-{}", getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }

  // A kubeconfig with these cluster and user fields in flow style.
  absl::StatusOr<ApiAccess> Kubeconfig(const std::string& cluster, const std::string& user,
                                       bool allow_skip = false) {
    const std::string path =
        Write("config", fmt::format("current-context: here\n"
                                    "contexts: [{{name: here, context: {{cluster: c, user: u, "
                                    "namespace: demo}}}}]\n"
                                    "clusters: [{{name: other, cluster: {{}}}}, "
                                    "{{name: c, cluster: {{{}}}}}]\n"
                                    "users: [{{name: u, user: {{{}}}}}]\n",
                                    cluster, user));
    return KubeconfigAccess(path, allow_skip);
  }

  static std::string Message(const absl::StatusOr<ApiAccess>& access) {
    return std::string(access.status().message());
  }

  std::filesystem::path folder_;
};

TEST_F(AccessTest, InAPodTheServiceAccountsFilesAreUsed) {
  std::map<std::string, std::string> env{{"KUBERNETES_SERVICE_HOST", "fd00::1"},
                                         {"KUBERNETES_SERVICE_PORT", "443"}};
  const GetEnv get = [&](const char* name) { return env[name]; };
  EXPECT_THAT(Message(InClusterAccess(folder_, get)), HasSubstr("automountServiceAccountToken"));
  Write("token", "secret");
  Write("ca.crt", "PEM");
  Write("namespace", "demo\n");
  const auto access = InClusterAccess(folder_, get);
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://[fd00::1]:443");
  EXPECT_EQ(access->default_namespace, "demo");
  EXPECT_EQ(access->token_file, folder_ / "token");
  env.clear();
  EXPECT_THAT(Message(InClusterAccess(folder_, get)), HasSubstr("--kubeconfig"));
}

TEST_F(AccessTest, KubeconfigsFilesCountFromItsFolderAndDataIsDecoded) {
  const auto access =
      Kubeconfig("server: 'https://k:6443/', certificate-authority: ca.pem",
                 "client-certificate-data: Q0VSVA==, client-key-data: S0VZ, tokenFile: /abs/token");
  ASSERT_TRUE(access.ok()) << access.status();
  EXPECT_EQ(access->server, "https://k:6443");
  EXPECT_EQ(access->ca_file, folder_ / "ca.pem");
  EXPECT_EQ(access->cert_data, "CERT");
  EXPECT_EQ(access->key_data.Reveal(), "KEY");
  EXPECT_EQ(access->token_file, "/abs/token");
  EXPECT_EQ(access->default_namespace, "demo");
}

TEST_F(AccessTest, WhatIsNotDoneIsRefusedByName) {
  const std::string good = "server: 'https://k'";
  EXPECT_THAT(Message(Kubeconfig(good, "exec: {command: aws}")),
              HasSubstr("the user has \"exec\": credential plugins are not run"));
  EXPECT_THAT(Message(Kubeconfig(good, "username: a, password: b")), HasSubstr("passwords"));
  EXPECT_THAT(Message(Kubeconfig(good + ", insecure-skip-tls-verify: true", "token: t")),
              HasSubstr("--allow-insecure-kubeconfig"));
  EXPECT_TRUE(Kubeconfig(good + ", insecure-skip-tls-verify: true", "token: t", true).ok());
  EXPECT_THAT(Message(Kubeconfig(good + ", tls-server-name: x", "")), HasSubstr("tls-server-name"));
  EXPECT_THAT(Message(Kubeconfig("server: 'http://k:80'", "token: t")), HasSubstr("unencrypted"));
  EXPECT_TRUE(Kubeconfig("server: 'http://127.0.0.1:80'", "token: t").ok());
  EXPECT_THAT(Message(Kubeconfig("server: [1]", "")), HasSubstr("server is no text"));
  EXPECT_THAT(Message(Kubeconfig("certificate-authority-data: '%%'", "")), HasSubstr("base64"));
}

TEST_F(AccessTest, FileThatIsNoKubeconfigIsAnErrorWithItsName) {
  EXPECT_THAT(Message(KubeconfigAccess(folder_ / "none", false)), HasSubstr("cannot read"));
  for (const char* text : {"", "[", "a", "- b", "current-context: x",
                           "current-context: x\ncontexts: [{name: x, context: 5}]",
                           "current-context: x\ncontexts: {a: b}"}) {
    const auto access = KubeconfigAccess(Write("bad", text), false);
    EXPECT_FALSE(access.ok()) << text;
    EXPECT_THAT(Message(access), HasSubstr("kubeconfig " + (folder_ / "bad").string())) << text;
  }
}

TEST_F(AccessTest, TokenIsReadAgainWhenItsFileChanges) {
  const base::ManualClock clock;
  TokenSource source(Write("token", " first\n"), base::Secret(), clock);
  EXPECT_EQ(source.Get().Reveal(), "first");
  Write("token.new", "second");
  std::filesystem::rename(folder_ / "token.new", folder_ / "token");
  EXPECT_EQ(source.Get().Reveal(), "second");
  std::filesystem::remove(folder_ / "token");
  EXPECT_EQ(source.Get().Reveal(), "second") << "better than none";
}

TEST_F(AccessTest, TokenIsReadAgainEveryMinuteAndWhenRefused) {
  base::ManualClock clock;
  const std::string file = Write("token", "first");
  const auto mtime = std::filesystem::last_write_time(file);
  const auto write_unseen = [&](const std::string& text) {
    Write("token", text);
    std::filesystem::last_write_time(file, mtime);
  };
  TokenSource source(file, base::Secret(), clock);
  EXPECT_EQ(source.Get().Reveal(), "first");
  write_unseen("second");
  clock.AdvanceMs(59'000);
  EXPECT_EQ(source.Get().Reveal(), "first");
  clock.AdvanceMs(1'000);
  EXPECT_EQ(source.Get().Reveal(), "second");
  write_unseen("third");
  EXPECT_TRUE(source.Refused());
  EXPECT_EQ(source.Get().Reveal(), "third");
  EXPECT_FALSE(source.Refused()) << "the same again helps nobody";
}

TEST(Backoff, DoublesWithJitterUpToItsCeilingAndStartsOver) {
  Backoff backoff({.first_ms = 800, .max_ms = 30'000}, 42);
  for (const int64_t base : {800, 1600, 3200, 6400, 12'800, 25'600}) {
    const int64_t wait = backoff.NextMs();
    EXPECT_GE(wait, base);
    EXPECT_LT(wait, std::min<int64_t>(2 * base, 30'001));
  }
  EXPECT_EQ(backoff.NextMs(), 30'000);
  backoff.Reset();
  EXPECT_LT(backoff.NextMs(), 1600);
}

}  // namespace
}  // namespace cashew::k8s

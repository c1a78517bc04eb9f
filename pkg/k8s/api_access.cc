#include "pkg/k8s/api_access.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "fmt/format.h"
#include "yaml-cpp/yaml.h"

#include "pkg/base/log.h"

namespace cashew::k8s {

namespace {

constexpr size_t kMaxFileBytes = 4 << 20;

// Thrown and caught in this file only.
struct Refused {
  std::string text;
};

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(fmt::format("cannot read {}: {}", path, std::strerror(errno)));
  }
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        fmt::format("{} is larger than {} bytes", path, kMaxFileBytes));
  }
  return text;
}

std::string Trimmed(std::string text) {
  const auto end = text.find_last_not_of(" \t\r\n");
  text.resize(end == std::string::npos ? 0 : end + 1);
  return text;
}

bool StartsWith(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// A token in the clear may be read by whoever is on the way.
bool IsLoopbackUrl(std::string_view url) {
  for (const std::string_view host : {"http://127.", "http://localhost:", "http://[::1]"}) {
    if (StartsWith(url, host)) return true;
  }
  return false;
}

void CheckServer(ApiAccess& access) {
  if (!StartsWith(access.server, "https://") && !StartsWith(access.server, "http://")) {
    throw Refused{
        fmt::format("server is \"{}\", not https://HOST:PORT", base::Escape(access.server, 100))};
  }
  const bool has_token = !access.token.empty() || !access.token_file.empty();
  if (StartsWith(access.server, "http://") && has_token && !IsLoopbackUrl(access.server)) {
    throw Refused{fmt::format("a token would be sent to {} unencrypted; use https",
                              base::Escape(access.server, 100))};
  }
  while (!access.server.empty() && access.server.back() == '/') access.server.pop_back();
}

std::string Text(const YAML::Node& map, const char* key) {
  const YAML::Node value = map[key];
  if (!value || value.IsNull()) return "";
  if (!value.IsScalar()) {
    throw Refused{fmt::format("line {}: {} is no text", value.Mark().line + 1, key)};
  }
  return value.Scalar();
}

bool Flag(const YAML::Node& map, const char* key) {
  const std::string text = Text(map, key);
  if (text.empty() || text == "false") return false;
  if (text == "true") return true;
  throw Refused{fmt::format("{} is \"{}\", not true or false", key, base::Escape(text, 40))};
}

std::string Decoded(const YAML::Node& map, const char* key) {
  std::string decoded;
  if (!absl::Base64Unescape(Trimmed(Text(map, key)), &decoded)) {
    throw Refused{fmt::format("{} is no base64", key)};
  }
  return decoded;
}

// The map `field` of the entry called `name` in the list `list`.
YAML::Node Named(const YAML::Node& root, const char* list, const char* field,
                 const std::string& name) {
  const YAML::Node entries = root[list];
  if (entries && entries.IsSequence()) {
    for (const YAML::Node& entry : entries) {
      if (!entry.IsMap() || Text(entry, "name") != name) continue;
      const YAML::Node found = entry[field];
      if (found && found.IsMap()) return found;
    }
  }
  throw Refused{fmt::format("{} has no \"{}\"", list, base::Escape(name, 100))};
}

// Relative names count from the kubeconfig's folder.
std::string FileOf(const YAML::Node& map, const char* key, const std::filesystem::path& folder) {
  const std::string name = Text(map, key);
  return name.empty() ? "" : (folder / name).string();
}

void RefuseWhatIsNotDone(const YAML::Node& cluster, const YAML::Node& user) {
  static constexpr std::pair<const char*, const char*> kRefused[] = {
      {"exec", "credential plugins are not run; give the user a token or tokenFile"},
      {"auth-provider", "credential plugins are not run; give the user a token or tokenFile"},
      {"username", "passwords are not used; give the user a token or a certificate"},
      {"password", "passwords are not used; give the user a token or a certificate"},
      {"as", "impersonation is not done; use a context of that user's"},
  };
  for (const auto& [key, why] : kRefused) {
    if (user[key]) throw Refused{fmt::format("the user has \"{}\": {}", key, why)};
  }
  if (cluster["tls-server-name"]) {
    throw Refused{
        "the cluster has \"tls-server-name\", which is not supported: name the server "
        "as its certificate does"};
  }
}

ApiAccess ReadKubeconfig(const std::string& text, const std::filesystem::path& folder,
                         bool allow_skip_tls_verify) {
  const YAML::Node root = YAML::Load(text);
  if (!root.IsMap()) throw Refused{"it is no kubeconfig: the top level is no map"};
  const std::string context_name = Text(root, "current-context");
  if (context_name.empty()) throw Refused{"current-context is not set"};
  const YAML::Node context = Named(root, "contexts", "context", context_name);
  const YAML::Node cluster = Named(root, "clusters", "cluster", Text(context, "cluster"));
  const std::string user_name = Text(context, "user");
  const YAML::Node user =
      user_name.empty() ? YAML::Node(YAML::NodeType::Map) : Named(root, "users", "user", user_name);
  RefuseWhatIsNotDone(cluster, user);

  ApiAccess access;
  access.server = Text(cluster, "server");
  access.ca_data = Decoded(cluster, "certificate-authority-data");
  if (access.ca_data.empty()) access.ca_file = FileOf(cluster, "certificate-authority", folder);
  access.proxy = Text(cluster, "proxy-url");
  access.skip_tls_verify = Flag(cluster, "insecure-skip-tls-verify");
  if (access.skip_tls_verify && !allow_skip_tls_verify) {
    throw Refused{
        "the cluster has insecure-skip-tls-verify, with which anyone could send a "
        "server list; give it a certificate-authority, or pass "
        "--allow-insecure-kubeconfig"};
  }
  access.cert_data = Decoded(user, "client-certificate-data");
  if (access.cert_data.empty()) access.cert_file = FileOf(user, "client-certificate", folder);
  access.key_data = base::Secret(Decoded(user, "client-key-data"));
  if (access.key_data.empty()) access.key_file = FileOf(user, "client-key", folder);
  access.token_file = FileOf(user, "tokenFile", folder);
  access.token = base::Secret(Text(user, "token"));
  access.default_namespace = Text(context, "namespace");
  if (access.default_namespace.empty()) access.default_namespace = "default";
  CheckServer(access);
  return access;
}

}  // namespace

std::string ProcessEnv(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<ApiAccess> InClusterAccess(const std::string& folder, const GetEnv& env) {
  const std::string host = env("KUBERNETES_SERVICE_HOST");
  const std::string port = env("KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty()) {
    return absl::FailedPreconditionError(
        "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod; give "
        "--kubeconfig");
  }
  ApiAccess access;
  const bool v6 = host.find(':') != std::string::npos;
  access.server =
      v6 ? fmt::format("https://[{}]:{}", host, port) : fmt::format("https://{}:{}", host, port);
  access.ca_file = folder + "/ca.crt";
  access.token_file = folder + "/token";
  for (const std::string& file : {access.ca_file, access.token_file}) {
    if (const auto text = ReadFile(file); !text.ok()) {
      return absl::FailedPreconditionError(
          fmt::format("{}; does the pod have a service account, and automountServiceAccountToken?",
                      std::string(text.status().message())));
    }
  }
  if (auto text = ReadFile(folder + "/namespace"); text.ok()) {
    access.default_namespace = Trimmed(*std::move(text));
  }
  return access;
}

absl::StatusOr<ApiAccess> KubeconfigAccess(const std::string& path, bool allow_skip_tls_verify) {
  const auto text = ReadFile(path);
  if (!text.ok()) return text.status();
  const auto refused = [&](const std::string& why) {
    return absl::InvalidArgumentError(fmt::format("kubeconfig {}: {}", path, why));
  };
  try {
    return ReadKubeconfig(*text, std::filesystem::path(path).parent_path(), allow_skip_tls_verify);
  } catch (const Refused& e) {
    return refused(e.text);
  } catch (const std::exception& e) {
    return refused(base::Escape(e.what(), 200));
  }
}

}  // namespace cashew::k8s

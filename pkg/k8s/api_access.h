// Where the API server is and how to be somebody there: from inside a pod, or from a
// kubeconfig.
//
// In a pod: KUBERNETES_SERVICE_HOST and _PORT, and under /var/run/secrets/kubernetes.io/
// serviceaccount the files token, ca.crt and namespace, which the kubelet replaces as they
// age: they are named here and read when they are used.
//
// Of a kubeconfig, the current context's cluster (server, certificate-authority[-data],
// proxy-url) and user (client-certificate[-data], client-key[-data], token, tokenFile) are
// used, file names relative to the kubeconfig. What would weaken or change the connection and is
// not done (exec and auth-provider plugins, passwords, impersonation, tls-server-name) is an
// error that says so; insecure-skip-tls-verify is one unless the caller allows it.
#pragma once

#include <absl/status/statusor.h>
#include <functional>
#include <string>

#include "pkg/base/secret.h"

namespace cashew::k8s {

struct ApiAccess {
  std::string server;     // https://host:port[/path], no slash at the end
  std::string ca_file;    // PEM; this and ca_data empty: the system's authorities
  std::string ca_data;    // PEM text
  std::string cert_file;  // client certificate, or none
  std::string cert_data;
  std::string key_file;
  base::Secret key_data;
  std::string token_file;  // wins over `token`
  base::Secret token;
  std::string proxy;              // URL; empty: none, whatever the environment says
  std::string default_namespace;  // empty: not known
  bool skip_tls_verify = false;
};

// The value of an environment variable, empty when unset. For tests.
using GetEnv = std::function<std::string(const char*)>;
std::string ProcessEnv(const char* name);

inline constexpr char kServiceAccountFolder[] = "/var/run/secrets/kubernetes.io/serviceaccount";

absl::StatusOr<ApiAccess> InClusterAccess(const std::string& folder = kServiceAccountFolder,
                                          const GetEnv& env = ProcessEnv);

absl::StatusOr<ApiAccess> KubeconfigAccess(const std::string& path, bool allow_skip_tls_verify);

}  // namespace cashew::k8s

# shellcheck shell=bash
# What the lab's scripts share; sourced, not run. Three variables say where things are:
#   LAB_CACHE  built programs and images, kept between runs
#   LAB_DIR    the state of one running lab: keys, logs, process ids, etcd's data
#   LAB_BIN    the programs of this version of Kubernetes, in LAB_CACHE
LAB_SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
K8S_VERSION=$(sed -n 's#^\tk8s.io/kubernetes \(v[0-9.]*\)$#\1#p' "$LAB_SRC/go.mod" | head -n 1)
COREDNS_VERSION=v1.12.4
PROMETHEUS_OPERATOR_VERSION=v0.85.0
PROMETHEUS_VERSION=v0.305.0 # 3.5.0, as its Go module counts
: "${LAB_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/cashew/e2e}"
LAB_BIN=$LAB_CACHE/bin-$K8S_VERSION
: "${LAB_DIR:=${TMPDIR:-/tmp}/cashew-e2e}"

# Addresses, which exist only inside the lab's own network namespace.
LAB_IP=10.77.0.1           # API server, etcd, nodes
LAB_POD_CIDR=10.77.1.0/24  # pods
LAB_MANY_CIDR=10.77.8.0/21 # addresses for endpoints that no pod stands behind
LAB_SVC_CIDR=10.96.0.0/16  # services
LAB_API=10.96.0.1          # the first service address, where pods look for the API server
LAB_DNS=10.96.0.10

die() {
  echo "e2e lab: $*" >&2
  exit 1
}

# Becomes a command inside the lab's network namespace. A user who is not root is root there by
# a user namespace.
exec_in_lab() {
  local pid user=()
  pid=$(cat "$LAB_DIR/ns.pid" 2>/dev/null) || die "no lab in $LAB_DIR"
  [ "$(id -u)" = 0 ] || user=(-U --preserve-credentials)
  exec nsenter -t "$pid" -n "${user[@]}" -- "$@"
}
lab_exec() { (exec_in_lab "$@"); }

# start NAME COMMAND...: a program of the control plane, whose command is kept for restart.sh.
start() {
  local name=$1
  shift
  printf '%q ' "$@" >"$LAB_DIR/$name.command"
  exec_in_lab setsid "$@" </dev/null >>"$LAB_DIR/log/$name.log" 2>&1 &
  echo $! >"$LAB_DIR/$name.pid"
}

# until_ok SECONDS WHAT COMMAND...
until_ok() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || die "$what did not come up; logs are in $LAB_DIR/log"
    sleep 0.2
  done
}

# Key and certificate by the lab's authority: certificate NAME SUBJECT [ALTERNATIVE NAMES].
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" \
    -keyout "pki/$1.key" -out "pki/$1.csr" 2>/dev/null
  openssl x509 -req -in "pki/$1.csr" -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 30 \
    -out "pki/$1.crt" -extfile <(
      printf 'extendedKeyUsage=serverAuth,clientAuth\n%s' "${3:+subjectAltName=$3}"
    ) 2>/dev/null
}

kubeconfig() ( # NAME: of a user with that certificate
  umask 077
  cat >"$1.kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://$LAB_IP:443", certificate-authority-data: $(base64 -w0 <pki/ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 <"pki/$1.crt"), client-key-data: $(base64 -w0 <"pki/$1.key")}}]
contexts: [{name: lab, context: {cluster: lab, user: $1}}]
current-context: lab
END
)

#!/usr/bin/env bash
# Builds the lab's programs from their Go modules into LAB_CACHE; what is there is kept.
#   build.sh            the control plane and the Prometheus operator's CRDs: both tiers
#   build.sh --node     what real nodes need besides: the real tier
#   build.sh --missing [--node]   only says what is missing, one a line
# Go 1.24 or later; 12 minutes on two cores for the first, about 15 more for the second, and 10 GB for
# Go's caches meanwhile.
set -euo pipefail
. "$(dirname "$0")/common.sh"

missing_only=""
programs=(etcd kube-apiserver kube-controller-manager kube-scheduler kubectl crds)
for word; do
  case $word in
    --node) programs+=(kubelet kube-proxy coredns prometheus) ;;
    --missing) missing_only=yes ;;
    *) die "usage: build.sh [--missing] [--node]" ;;
  esac
done

is_there() { [ -e "$LAB_BIN/$1" ]; }

require_go() {
  local go
  for go in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go-*/bin/go; do
    if [ -x "$go" ] && "$go" version | grep -Eq ' go1\.(2[4-9]|[3-9][0-9])'; then
      PATH=$(dirname "$go"):$PATH
      return
    fi
  done
  die "Kubernetes $K8S_VERSION is built by Go 1.24 or later, and there is none;" \
    "https://go.dev/dl has it, as has bookworm-backports"
}

minor=${K8S_VERSION#v1.}
minor=${minor%%.*}
version_package=k8s.io/component-base/version
version_flags="-X $version_package.gitVersion=$K8S_VERSION -X $version_package.gitMajor=1 -X $version_package.gitMinor=$minor"

build_pinned() { # PROGRAM PACKAGE: as go.mod and go.sum here say
  (cd "$LAB_SRC" && go build -mod=readonly -ldflags "-s -w $version_flags" -o "$LAB_BIN/$1.new" "$2")
}

build_coredns() {
  local folder
  folder=$(mktemp -d)
  GOBIN=$folder go install -ldflags '-s -w' "github.com/coredns/coredns@$COREDNS_VERSION"
  mv "$folder/coredns" "$LAB_BIN/coredns.new"
  rmdir "$folder"
}

# Not by `go install PACKAGE@VERSION`, which refuses a module with a replacement. Debian's Prometheus
# is built without the discovery of Kubernetes.
build_prometheus() {
  local folder package=github.com/prometheus/prometheus/cmd/prometheus
  folder=$(mktemp -d)
  (
    cd "$folder"
    go mod init lab
    go get "$package@$PROMETHEUS_VERSION"
    go build -ldflags '-s -w' -o "$LAB_BIN/prometheus.new" "$package"
  )
  rm -r "$folder"
}

# The kinds ServiceMonitor, PodMonitor and PrometheusRule, as the operator's module has them.
fetch_crds() {
  local module
  module=$(cd "$LAB_SRC" && go mod download -json \
    "github.com/prometheus-operator/prometheus-operator@$PROMETHEUS_OPERATOR_VERSION" |
    sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  for kind in servicemonitors podmonitors prometheusrules; do
    cat "$module/example/prometheus-operator-crd/monitoring.coreos.com_$kind.yaml"
  done >"$LAB_BIN/crds.new"
}

build() {
  case $1 in
    etcd) build_pinned etcd go.etcd.io/etcd/server/v3 ;;
    coredns) build_coredns ;;
    prometheus) build_prometheus ;;
    crds) fetch_crds ;;
    *) build_pinned "$1" "k8s.io/kubernetes/cmd/$1" ;;
  esac
}

export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false ${GOFLAGS:-}"
mkdir -p "$LAB_BIN"
for program in "${programs[@]}"; do
  is_there "$program" && continue
  if [ -n "$missing_only" ]; then
    echo "$program"
    continue
  fi
  require_go
  echo "building $program of Kubernetes $K8S_VERSION" >&2
  began=$SECONDS
  build "$program"
  mv "$LAB_BIN/$program.new" "$LAB_BIN/$program"
  echo "built $program in $((SECONDS - began)) s" >&2
done

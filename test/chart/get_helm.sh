#!/usr/bin/env bash
# Prints the path of a helm, building one from its Go module first if there is none: no Debian
# release has it, and this version is the newest that bookworm's Go 1.19 compiles.
#   get_helm.sh            build if need be (2 to 5 minutes, 1 GB of temporary files)
#   get_helm.sh --find     only look: exits 1, silently, when there is none
# CASHEW_HELM names a helm of your own; else ~/.cache/cashew/bin/helm, else one from PATH.
set -euo pipefail

version=v3.12.3
kubernetes_minor=27 # what helm's own build would say; charts are rendered for it by default
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cashew
built=$cache/bin/helm-$version

find_helm() {
  local candidate
  if [ -n "${CASHEW_HELM:-}" ]; then
    [ -x "$CASHEW_HELM" ] || { echo "get_helm.sh: CASHEW_HELM=$CASHEW_HELM cannot be run" >&2; exit 2; }
    echo "$CASHEW_HELM"
    return
  fi
  for candidate in "$built" "$(command -v helm || true)"; do
    if [ -x "$candidate" ] && "$candidate" version --short 2>/dev/null | grep -Eq '^v(3|4)\.'; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

find_go() {
  local candidate
  for candidate in "$(command -v go || true)" /usr/lib/go-*/bin/go; do
    if [ -x "$candidate" ] && "$candidate" version | grep -Eq ' go1\.(19|[2-9][0-9])'; then
      echo "$candidate"
      return
    fi
  done
  echo "get_helm.sh: no Go 1.19 or later; apt-get install golang-go" >&2
  return 1
}

build_helm() {
  local go work package=helm.sh/helm/v3
  go=$(find_go)
  mkdir -p "$cache/bin"
  work=$(mktemp -d "$cache/helm-build.XXXXXX")
  # shellcheck disable=SC2064  # now, while $work is known
  trap "rm -rf '$work'" EXIT
  echo "building helm $version with $("$go" version | cut -d' ' -f3): once, some minutes" >&2
  # Modules are writable so that the trap can delete them; CGO off makes a static binary.
  env GOPATH="$work/path" GOCACHE="$work/cache" GOBIN="$work/bin" GOTMPDIR="$work" CGO_ENABLED=0 \
    GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false -modcacherw ${GOFLAGS:-}" \
    nice -n 10 "$go" install -ldflags "-s -w
      -X $package/internal/version.version=$version
      -X $package/pkg/lint/rules.k8sVersionMajor=1
      -X $package/pkg/lint/rules.k8sVersionMinor=$kubernetes_minor
      -X $package/pkg/chartutil.k8sVersionMajor=1
      -X $package/pkg/chartutil.k8sVersionMinor=$kubernetes_minor" \
    "$package/cmd/helm@$version"
  mv "$work/bin/helm" "$built.$$"
  mv "$built.$$" "$built" # at once: others may be looking
}

case ${1:-} in
  --find) find_helm ;;
  '') find_helm || { build_helm && echo "$built"; } ;;
  *) echo "usage: get_helm.sh [--find]" >&2; exit 2 ;;
esac

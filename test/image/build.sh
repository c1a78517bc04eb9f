#!/usr/bin/env bash
# Builds cmd/cashew/Dockerfile without a container daemon and without an image registry: buildah,
# on a base made from Debian's packages. Prints the image's name; --load-file FILE also writes
# what `docker load` and `podman load` read. Needs root, buildah and mmdebstrap.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=store.sh
. test/image/store.sh

file=
if [ "${1:-}" = --load-file ]; then file=$2; fi
version=$(sed -n 's/^project(cashew VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
revision=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
base=localhost/cashew-base:bookworm-slim
image=localhost/cashew:$version

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
  tar=$(test/package/bare_debian.sh slim)
  container=$(buildah from scratch)
  buildah add -q "$container" "$tar" / >/dev/null
  buildah config --cmd bash "$container"
  buildah commit -q --rm "$container" "$base" >/dev/null
fi
nice -n 10 buildah bud --isolation=chroot --pull-never --layers -f cmd/cashew/Dockerfile \
  --build-arg BASE="$base" --build-arg VERSION="$version" --build-arg REVISION="$revision" \
  -t "$image" . >&2
if [ -n "$file" ]; then
  mkdir -p "$(dirname "$file")"
  rm -f "$file"
  buildah push -q "$image" "docker-archive:$(realpath -m "$file"):cashew:$version" >&2
fi
echo "$image"

#!/usr/bin/env bash
# The images that the real nodes run, as archives in LAB_CACHE: the proxy's from
# cmd/cashew/Dockerfile, a memcached, and the one of a pod's sandbox. Root; needs buildah,
# mmdebstrap and gcc. No image registry is asked. CASHEW_E2E_IMAGE names an archive of the proxy's
# image, tagged cashew:VERSION as `./dev image` writes it, to be used in the place of a new one.
set -euo pipefail
. "$(dirname "$0")/common.sh"
images=$LAB_SRC/../../image
mkdir -p "$LAB_CACHE"
if [ -n "${CASHEW_E2E_IMAGE:-}" ]; then
  cp "$CASHEW_E2E_IMAGE" "$LAB_CACHE/cashew.tar"
else
  "$images/build.sh" --load-file "$LAB_CACHE/cashew.tar"
fi

# shellcheck source=../../image/store.sh
. "$images/store.sh"
memcached=localhost/cashew-e2e-memcached:1
nice -n 10 buildah bud --isolation=chroot --pull-never --layers -t $memcached \
  --build-arg BASE=localhost/cashew-base:bookworm-slim -f "$LAB_SRC/memcached.Dockerfile" "$LAB_SRC"
rm -f "$LAB_CACHE/memcached.tar"
buildah push -q $memcached "docker-archive:$LAB_CACHE/memcached.tar:$memcached"

# One static program makes an image without any tool for images.
folder=$(mktemp -d)
mkdir "$folder/root"
gcc -Os -static -s -o "$folder/root/pause" "$LAB_SRC/pause.c"
tar -C "$folder/root" --owner=0 --group=0 -cf "$folder/layer.tar" pause
digest=$(sha256sum <"$folder/layer.tar" | cut -d' ' -f1)
cat >"$folder/config.json" <<END
{"architecture": "$(dpkg --print-architecture)", "os": "linux", "config": {"Entrypoint": ["/pause"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$digest"]}}
END
cat >"$folder/manifest.json" <<END
[{"Config": "config.json", "RepoTags": ["docker.io/lab/pause:1"], "Layers": ["layer.tar"]}]
END
tar -C "$folder" -cf "$LAB_CACHE/pause.tar" manifest.json config.json layer.tar
rm -rf "$folder"

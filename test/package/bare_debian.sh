#!/usr/bin/env bash
# Prints the path of a tar file with a bare Debian 12, made first if there is none: the packages
# that every Debian has, and certificates. Its sources are this machine's, and so is the way to
# them. Needs root and mmdebstrap.
#   bare_debian.sh         as a machine has it
#   bare_debian.sh slim    as images have it: without manuals, documents and translations
set -euo pipefail

kind=${1:-full}
case $kind in
  full) omit=() ;;
  slim) omit=(--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*'
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*'
    --dpkgopt='path-include=/usr/share/doc/*/copyright') ;;
  *) echo "usage: bare_debian.sh [slim]" >&2; exit 2 ;;
esac

cache=${XDG_CACHE_HOME:-$HOME/.cache}/cashew
tar=$cache/debian-12-$kind.tar
if [ ! -f "$tar" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/debian.XXXXXX")
  # shellcheck disable=SC2064  # now, while $work is known
  trap "rm -rf '$work'" EXIT
  sources=/etc/apt/sources.list.d/debian.sources
  [ -f $sources ] || sources=/etc/apt/sources.list
  apt-config dump --format '%f "%v";%n' Acquire::http Acquire::https Acquire::Check-Valid-Until \
    Acquire::Check-Date >"$work/90machine"
  chmod 644 "$work/90machine"
  echo "making a bare Debian 12: once, a minute or two" >&2
  nice -n 10 mmdebstrap --quiet --variant=minbase --include=ca-certificates "${omit[@]}" \
    --customize-hook="copy-in $work/90machine /etc/apt/apt.conf.d" bookworm "$work/root.tar" \
    "$sources" >&2
  mv "$work/root.tar" "$tar"
fi
echo "$tar"

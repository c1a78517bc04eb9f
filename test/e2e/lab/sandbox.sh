#!/usr/bin/env bash
# What stands for a pod on a pretended node: a network with one address, a root file system that
# shows the machine's programs and the pod's volumes, and a process that holds both.
#   unshare -n -m -u sandbox.sh ROOT NAME ADDRESS GATEWAY LINK OUTSIDE <<<'SOURCE TARGET'...
# ROOT is an empty folder, LINK the network interface's name in the namespace of process OUTSIDE;
# each line of input is a folder and where the pod sees it. Says "ready" when it is.
set -euo pipefail
root=$1 name=$2 address=$3 gateway=$4 link=$5 outside=$6

network() {
  local out=(nsenter -t "$outside" -n --)
  ip link set lo up
  ip link add eth0 type veth peer name "$link" netns "$outside"
  ip addr add "$address/32" dev eth0
  ip link set eth0 up
  "${out[@]}" ip link set "$link" up
  "${out[@]}" ip route replace "$address" dev "$link"
  ip route add "$gateway" dev eth0 scope link
  ip route add default via "$gateway"
}

programs() {
  local entry
  mount -t tmpfs tmpfs "$root"
  for entry in usr bin sbin lib lib32 lib64 libx32 proc dev; do
    if [ -L "/$entry" ]; then
      cp -P "/$entry" "$root/"
    elif [ -d "/$entry" ]; then
      mkdir "$root/$entry"
      mount --rbind "/$entry" "$root/$entry"
    fi
  done
  mkdir -p "$root"/{etc,tmp,run,var/lib,opt/cashew}
  ln -s ../run "$root/var/run"
  for entry in passwd group nsswitch.conf ld.so.cache hosts; do
    [ ! -e "/etc/$entry" ] || cp -L "/etc/$entry" "$root/etc/"
  done
}

hostname "$name"
network
programs
while read -r source target; do
  mkdir -p "$root$target"
  mount --bind "$source" "$root$target"
done
echo ready
exec chroot "$root" sleep infinity

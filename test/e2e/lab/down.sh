#!/usr/bin/env bash
# Ends what up.sh, restart.sh and nodes.sh started, by the ids that they kept, and removes the
# lab's state; with --keep-logs, all of it but the logs.
. "$(dirname "$0")/common.sh"
cd "$LAB_DIR" 2>/dev/null || exit 0
pids=()
# "node-N" is the first process of a real node's process namespace: with it go the kubelet,
# containerd, every container and every mount. "ns" holds the network namespace.
for name in node-0 node-1 coredns kube-scheduler kube-controller-manager kube-apiserver etcd ns; do
  [ -f $name.pid ] || continue
  pids+=("$(cat $name.pid)")
  rm -f $name.pid
done
# Nothing here is worth a graceful end: its state is thrown away.
[ ${#pids[@]} = 0 ] || kill -9 "${pids[@]}" 2>/dev/null
for pid in "${pids[@]}"; do
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
done
if [ -f cgroup ]; then
  for _ in $(seq 10); do
    find /sys/fs/cgroup/*"$(cat cgroup)" -depth -type d -exec rmdir {} + 2>/dev/null
    ls -d /sys/fs/cgroup/*"$(cat cgroup)" >/dev/null 2>&1 || break
    sleep 0.3
  done
fi
if [ "${1:-}" = --keep-logs ]; then
  find . -mindepth 1 -maxdepth 1 ! -name log -exec rm -rf {} +
else
  cd / && rm -rf "$LAB_DIR"
fi
exit 0

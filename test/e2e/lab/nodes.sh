#!/usr/bin/env bash
# A real node for a lab that is up: containerd, runc, CNI, kubelet and kube-proxy, in a mount and
# a process namespace of their own, so that ending the first process there ends every container
# and mount; cluster DNS beside it. Root, with build.sh --node and images.sh done.
# Needs containerd, runc, containernetworking-plugins, iptables, conntrack.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ "$(id -u)" = 0 ] || die "a real node needs root"
missing=$("$LAB_SRC/build.sh" --missing --node | xargs)
[ -z "$missing" ] || die "not built: $missing; run lab/build.sh --node"
for image in cashew memcached pause; do
  [ -f "$LAB_CACHE/$image.tar" ] || die "no image $image; run lab/images.sh"
done
cd "$LAB_DIR" 2>/dev/null || die "no lab in $LAB_DIR; run up.sh first"
node=$LAB_DIR/node
mkdir -p "$node"/{cni,kubelet,sys}
export KUBECONFIG=$LAB_DIR/admin.kubeconfig
kubectl() { lab_exec "$LAB_BIN/kubectl" "$@"; }

# --- namespaces, with a /run and the like of their own so that nothing is left behind

enter='mount --make-rshared /
for folder in /run /var/lib/cni /var/lib/kubelet /var/log/containers; do
  mkdir -p $folder && mount -t tmpfs tmpfs $folder || exit
done
mkdir /run/netns && exec sleep infinity'
nsenter -t "$(cat ns.pid)" -n -- setsid unshare -m -p --fork --kill-child --mount-proc \
  --propagation private sh -c "$enter" </dev/null >log/node.log 2>&1 &
echo $! >node.pid
first_process() {
  local pid
  pid=$(pgrep -P "$(cat node.pid)" | head -n 1) && grep -q '^sleep' "/proc/$pid/cmdline" &&
    echo "$pid" >node-first.pid
}
until_ok 10 "the node's namespaces" first_process
exec_in_node() { exec nsenter -t "$(cat node-first.pid)" -n -m -p -- "$@"; }
in_node() { (exec_in_node "$@"); }
run_in_node() { # NAME COMMAND...
  local name=$1
  shift
  exec_in_node setsid "$@" </dev/null >"log/$name.log" 2>&1 &
}

# The kubelet insists on some kernel settings: it reads and writes stand-ins for the machine's.
stand_in() {
  echo "$2" >"$node/sys/${1##*/}"
  in_node mount --bind "$node/sys/${1##*/}" "/proc/sys/$1"
}
stand_in vm/overcommit_memory 1
stand_in vm/panic_on_oom 0
stand_in kernel/panic 10
stand_in kernel/panic_on_oops 1
stand_in kernel/keys/root_maxkeys 1000000
stand_in kernel/keys/root_maxbytes 25000000
# Programs beside the pods, the tests, reach service addresses, too.
lab_exec ip route replace "$LAB_SVC_CIDR" dev lo src "$LAB_IP"

# Control groups of these pods alone, where there are version 1 hierarchies.
cgroup=/
if [ ! -f /sys/fs/cgroup/cgroup.controllers ]; then
  cgroup=/cashew-e2e-$(cat ns.pid)
  for hierarchy in /sys/fs/cgroup/*/; do
    [ -e "$hierarchy/tasks" ] || continue
    mkdir -p "$hierarchy$cgroup"
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$hierarchy$file" ] || cat "$hierarchy$file" >"$hierarchy$cgroup/$file"
    done
  done
  echo "$cgroup" >cgroup
fi

# --- containerd. restrict_oom_score_adj: root may lack CAP_SYS_RESOURCE. CNI's ptp: every packet
# passes the node, so that service addresses work from pod to pod without a bridge's filters.

cat >"$node/cni/10-lab.conflist" <<END
{"cniVersion": "0.4.0", "name": "lab", "plugins": [
 {"type": "ptp", "ipam": {"type": "host-local", "dataDir": "$node/cni-ipam",
   "ranges": [[{"subnet": "$LAB_POD_CIDR"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
cat >"$node/containerd.toml" <<END
version = 2
root = "$node/containerd"
state = "$node/containerd-run"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$node/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "lab/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$node/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
END
run_in_node containerd containerd -c "$node/containerd.toml"
images() { in_node ctr -a "$node/containerd.sock" -n k8s.io images "$@"; }
until_ok 20 containerd images list
for image in pause memcached cashew; do images import "$LAB_CACHE/$image.tar" >/dev/null; done

# --- kubelet, kube-proxy, DNS

certificate node-0 /O=system:nodes/CN=system:node:node-0 "IP:$LAB_IP,DNS:node-0"
kubeconfig node-0
cat >"$node/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $LAB_IP
authentication: {x509: {clientCAFile: $LAB_DIR/pki/ca.crt}, anonymous: {enabled: false}, webhook: {enabled: true}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $LAB_DIR/pki/node-0.crt
tlsPrivateKeyFile: $LAB_DIR/pki/node-0.key
containerRuntimeEndpoint: unix://$node/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $cgroup
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDomain: cluster.local
clusterDNS: [$LAB_DNS]
enforceNodeAllocatable: [pods]
evictionHard: {memory.available: "0%", nodefs.available: "0%", imagefs.available: "0%", nodefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 4s
syncFrequency: 5s
podLogsDir: $LAB_DIR/log/pods
volumePluginDir: $node/volume-plugins
maxPods: 60
END
run_in_node kubelet "$LAB_BIN/kubelet" --config="$node/kubelet.yaml" \
  --kubeconfig="$LAB_DIR/node-0.kubeconfig" --root-dir="$node/kubelet" \
  --hostname-override=node-0 --node-ip=$LAB_IP
run_in_node kube-proxy "$LAB_BIN/kube-proxy" --kubeconfig="$KUBECONFIG" \
  --hostname-override=node-0 --proxy-mode=iptables --cluster-cidr=$LAB_POD_CIDR \
  --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 \
  --conntrack-tcp-timeout-close-wait=0
cat >Corefile <<END
.:53 {
  bind $LAB_DNS
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $KUBECONFIG lab
    ttl 1
  }
}
END
start coredns "$LAB_BIN/coredns" -conf "$LAB_DIR/Corefile"
until_ok 60 "the kubelet" kubectl get node node-0
kubectl wait --for=condition=Ready node/node-0 --timeout=60s

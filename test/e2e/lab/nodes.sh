#!/usr/bin/env bash
# Two real nodes for a lab that is up: containerd, runc, CNI and kubelet each, in a mount and a
# process namespace of their own, so that ending the first process there ends every container
# and mount; kube-proxy and cluster DNS beside them. node-0 is labelled for the proxies; caches
# may be on either. Root, with build.sh --node and images.sh done.
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
export KUBECONFIG=$LAB_DIR/admin.kubeconfig
kubectl() { lab_exec "$LAB_BIN/kubectl" "$@"; }
# Programs beside the pods, the tests, reach service addresses, too.
lab_exec ip route replace "$LAB_SVC_CIDR" dev lo src "$LAB_IP"

# The functions below speak of one node: its NAME, ADDRESS, pods' CIDR and FOLDER.

# --- namespaces, with a /run and the like of their own so that nothing is left behind

own_folders='mount --make-rshared /
for folder in /run /var/lib/cni /var/lib/kubelet /var/log/containers; do
  mkdir -p $folder && mount -t tmpfs tmpfs $folder || exit
done
mkdir /run/netns && exec sleep infinity'

make_namespaces() {
  lab_exec ip addr replace "$address/32" dev lo
  nsenter -t "$(cat ns.pid)" -n -- setsid unshare -m -p --fork --kill-child --mount-proc \
    --propagation private sh -c "$own_folders" </dev/null >"log/$name.log" 2>&1 &
  echo $! >"$name.pid"
  until_ok 10 "namespaces of $name" find_first_process
  enter=(nsenter -t "$(cat "$folder/first.pid")" -m -p --)
}

find_first_process() {
  local pid
  pid=$(pgrep -P "$(cat "$name.pid")" | head -n 1) && grep -q '^sleep' "/proc/$pid/cmdline" &&
    echo "$pid" >"$folder/first.pid"
}

in_node() { lab_exec "${enter[@]}" "$@"; }

# The kubelet insists on some kernel settings: it reads and writes stand-ins for the machine's.
stand_in() {
  echo "$2" >"$folder/sys/${1##*/}"
  in_node mount --bind "$folder/sys/${1##*/}" "/proc/sys/$1"
}

make_stand_ins() {
  mkdir -p "$folder/sys"
  stand_in vm/overcommit_memory 1
  stand_in vm/panic_on_oom 0
  stand_in kernel/panic 10
  stand_in kernel/panic_on_oops 1
  stand_in kernel/keys/root_maxkeys 1000000
  stand_in kernel/keys/root_maxbytes 25000000
}

# --- control groups of a node's pods alone: a kubelet ends the pods under its root that it does
# not know. $cgroup, which down.sh removes, is above them.

cgroup=/cashew-e2e-$(cat ns.pid)
echo "$cgroup" >cgroup

make_cgroup() { # PATH below each hierarchy
  local hierarchy
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup$1"
    sed -E 's/[a-z_]+/+&/g' /sys/fs/cgroup/cgroup.controllers >"/sys/fs/cgroup${1%/*}/cgroup.subtree_control"
    return
  fi
  for hierarchy in /sys/fs/cgroup/*; do
    [ -e "$hierarchy/tasks" ] && [ ! -L "$hierarchy" ] || continue
    mkdir -p "$hierarchy$1"
    for file in cpuset.cpus cpuset.mems; do
      [ ! -e "$hierarchy$1/$file" ] || cat "$hierarchy/$file" >"$hierarchy$1/$file"
    done
  done
}
make_cgroup "$cgroup"

# --- containerd. restrict_oom_score_adj: root may lack CAP_SYS_RESOURCE. CNI's ptp: every packet
# passes the node, so that service addresses work from pod to pod without a bridge's filters.

start_containerd() {
  mkdir -p "$folder/cni"
  cat >"$folder/cni/10-lab.conflist" <<END
{"cniVersion": "0.4.0", "name": "lab", "plugins": [
 {"type": "ptp", "ipam": {"type": "host-local", "dataDir": "$folder/cni-ipam",
   "ranges": [[{"subnet": "$cidr"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
  cat >"$folder/containerd.toml" <<END
version = 2
root = "$folder/containerd"
state = "$folder/containerd-run"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "$folder/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "lab/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$folder/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
END
  start "containerd-$name" "${enter[@]}" containerd -c "$folder/containerd.toml"
  until_ok 20 "containerd of $name" images list
  for image in pause memcached cashew; do images import "$LAB_CACHE/$image.tar" >/dev/null; done
}

images() { in_node ctr -a "$folder/containerd.sock" -n k8s.io images "$@"; }

# --- the kubelet, which restart.sh can start again

start_kubelet() {
  mkdir -p "$folder/kubelet"
  certificate "$name" "/O=system:nodes/CN=system:node:$name" "IP:$address,DNS:$name"
  kubeconfig "$name"
  cat >"$folder/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
healthzBindAddress: $address
authentication: {x509: {clientCAFile: $LAB_DIR/pki/ca.crt}, anonymous: {enabled: false}, webhook: {enabled: true}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $LAB_DIR/pki/$name.crt
tlsPrivateKeyFile: $LAB_DIR/pki/$name.key
containerRuntimeEndpoint: unix://$folder/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: $cgroup/$name
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
volumePluginDir: $folder/volume-plugins
maxPods: 60
END
  start "kubelet-$name" "${enter[@]}" "$LAB_BIN/kubelet" --config="$folder/kubelet.yaml" \
    --kubeconfig="$LAB_DIR/$name.kubeconfig" --root-dir="$folder/kubelet" \
    --hostname-override="$name" --node-ip="$address" --node-labels="$labels"
}

start_node() { # NUMBER LABELS
  local name=node-$1 labels=$2 address=10.77.0.$((1 + $1)) cidr=10.77.1.$((128 * $1))/25
  local folder=$LAB_DIR/node-$1 enter
  mkdir -p "$folder"
  make_namespaces
  make_stand_ins
  make_cgroup "$cgroup/$name"
  start_containerd
  start_kubelet
}

start_node 0 e2e=proxies
start_node 1 e2e=caches

# --- what the nodes share

start kube-proxy nsenter -t "$(cat node-0/first.pid)" -m -p -- "$LAB_BIN/kube-proxy" \
  --kubeconfig="$KUBECONFIG" --hostname-override=node-0 --proxy-mode=iptables \
  --cluster-cidr=$LAB_POD_CIDR --conntrack-max-per-core=0 \
  --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
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
for name in node-0 node-1; do
  until_ok 60 "the kubelet of $name" kubectl get node $name
  kubectl wait --for=condition=Ready node/$name --timeout=60s
done

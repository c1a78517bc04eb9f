#!/usr/bin/env bash
# Brings up a real control plane (etcd, API server, controller manager, scheduler) in a network
# namespace of its own; there are no nodes yet. in.sh runs commands there, down.sh ends it.
# Needs openssl, curl, iproute2, util-linux and what build.sh builds; root or user namespaces.
set -euo pipefail
. "$(dirname "$0")/common.sh"
[ ! -e "$LAB_DIR/ns.pid" ] || die "$LAB_DIR is in use; lab/down.sh ends it"
missing=$("$LAB_SRC/build.sh" --missing | xargs)
[ -z "$missing" ] || die "not built: $missing; run lab/build.sh"
mkdir -p "$LAB_DIR"/{pki,log}
cd "$LAB_DIR"
trap '[ $? = 0 ] || "$LAB_SRC/down.sh" --keep-logs' EXIT

# A sleeping process holds the namespace open.
user=()
[ "$(id -u)" = 0 ] || user=(-U -r)
setsid unshare "${user[@]}" -n sleep infinity </dev/null >/dev/null 2>&1 &
holder=$!
echo $holder >ns.pid
in_its_own() { [ "$(readlink /proc/$holder/ns/net)" != "$(readlink /proc/self/ns/net)" ]; }
until_ok 10 "the network namespace" in_its_own
lab_exec ip link set lo up
for address in $LAB_IP $LAB_API $LAB_DNS; do lab_exec ip addr add "$address/32" dev lo; done
# Any process may listen on any of these, as on 127/8, which EndpointSlices refuse.
lab_exec ip route add local "$LAB_MANY_CIDR" dev lo
lab_exec sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=lab \
  -keyout pki/ca.key -out pki/ca.crt 2>/dev/null
api_names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
certificate apiserver /CN=kube-apiserver "IP:$LAB_IP,IP:$LAB_API,IP:127.0.0.1,$api_names"
certificate front-proxy /CN=front-proxy
certificate admin /O=system:masters/CN=admin
certificate controller-manager /CN=system:kube-controller-manager
certificate scheduler /CN=system:kube-scheduler
openssl genrsa -out pki/sa.key 2048 2>/dev/null
openssl rsa -in pki/sa.key -pubout -out pki/sa.pub 2>/dev/null
for user in admin controller-manager scheduler; do kubeconfig $user; done

etcd=http://127.0.0.1:2379
start etcd "$LAB_BIN/etcd" --unsafe-no-fsync --name lab --data-dir "$LAB_DIR/etcd" \
  --listen-client-urls $etcd --advertise-client-urls $etcd \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster lab=http://127.0.0.1:2380
until_ok 30 etcd lab_exec curl -fs $etcd/health
pki=$LAB_DIR/pki
start kube-apiserver "$LAB_BIN/kube-apiserver" --etcd-servers=$etcd --bind-address=0.0.0.0 \
  --secure-port=443 --advertise-address=$LAB_IP --service-cluster-ip-range=$LAB_SVC_CIDR \
  --kubelet-preferred-address-types=InternalIP --allow-privileged=true \
  --authorization-mode=Node,RBAC --client-ca-file="$pki/ca.crt" \
  --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
  --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" \
  --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names=front-proxy \
  --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
  --requestheader-extra-headers-prefix=X-Remote-Extra- --enable-aggregator-routing=true \
  --proxy-client-cert-file="$pki/front-proxy.crt" --proxy-client-key-file="$pki/front-proxy.key" \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key"
export KUBECONFIG=$LAB_DIR/admin.kubeconfig
kubectl() { lab_exec "$LAB_BIN/kubectl" "$@"; }
until_ok 120 kube-apiserver kubectl get --raw /readyz
start kube-controller-manager "$LAB_BIN/kube-controller-manager" \
  --kubeconfig="$LAB_DIR/controller-manager.kubeconfig" --leader-elect=false \
  --use-service-account-credentials=true --service-account-private-key-file="$pki/sa.key" \
  --root-ca-file="$pki/ca.crt" --cluster-signing-cert-file="$pki/ca.crt" \
  --cluster-signing-key-file="$pki/ca.key" --bind-address=127.0.0.1 \
  --endpointslice-updates-batch-period=0s
start kube-scheduler "$LAB_BIN/kube-scheduler" --kubeconfig="$LAB_DIR/scheduler.kubeconfig" \
  --leader-elect=false --bind-address=127.0.0.1
until_ok 60 "the default service account" kubectl -n default get serviceaccount default

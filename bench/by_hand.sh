#!/bin/bash
# by_hand.sh KEY FLANNEL : what a person would type to make the reference platform out of seven hosts of the lab that hold packages and images already.
# KEY is the lab's private key, FLANNEL the manifest of the pod network; NETNS names the lab's network namespace.
# The floor that a fresh `up` is measured against (bench/fresh.py): one thing after the other, over multiplexed connections. Its token and key are
# for the lab only; the product mints and hides its own.
set -euo pipefail
key=$1 sockets=$(mktemp -d); trap 'for s in "$sockets"/*; do [ -S "$s" ] && ssh -q -o ControlPath="$s" -O exit x 2>/dev/null; done; rm -rf "$sockets"' EXIT
s() { local n=$1; shift; ip netns exec "${NETNS:-lab-net}" ssh -q -i "$key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlMaster=auto -o ControlPath="$sockets/%h" -o ControlPersist=600 "root@10.110.190.$n" "$@"; }
token=abcdef.0123456789abcdef certificate_key=$(printf '0123456789abcdef%.0s' 1 2 3 4) endpoint=api.mlops.internal
for n in 21 22 23 24 25 26 27; do s $n "grep -q $endpoint /etc/hosts || echo 10.110.190.21 $endpoint >> /etc/hosts"; done
s 21 'cat > /etc/haproxy/haproxy.cfg; haproxy -c -q -f /etc/haproxy/haproxy.cfg && systemctl restart haproxy' <<'H'
global
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
  timeout tunnel 4h
frontend api
  bind *:6443
  default_backend api
backend api
  balance roundrobin
  option httpchk
  http-check connect ssl alpn http/1.1
  http-check send meth GET uri /readyz
  http-check expect status 200
  default-server inter 2s fall 3 rise 2 check check-ssl verify none on-marked-down shutdown-sessions
  server master-1 10.110.190.22:6443
  server master-2 10.110.190.23:6443
  server master-3 10.110.190.24:6443
H
s 22 'cat > /root/init.yaml; kubeadm init --config /root/init.yaml --upload-certs --ignore-preflight-errors=all' > "$sockets/init.log" <<K
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: "$token"}]
localAPIEndpoint: {advertiseAddress: 10.110.190.22}
certificateKey: "$certificate_key"
nodeRegistration: {criSocket: "unix:///run/containerd/containerd.sock"}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.31.4
controlPlaneEndpoint: $endpoint:6443
networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}
featureGates: {ControlPlaneKubeletLocalMode: true}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
failSwapOn: false
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack: {maxPerCore: 0}
K
hash=$(grep -o 'sha256:[0-9a-f]*' "$sockets/init.log" | head -1)
join="kubeadm join $endpoint:6443 --token $token --discovery-token-ca-cert-hash $hash --ignore-preflight-errors=all"
for m in 23 24; do s $m "$join --control-plane --certificate-key $certificate_key --apiserver-advertise-address 10.110.190.$m" > /dev/null; done
for w in 25 26 27; do s $w "$join" > /dev/null & done; wait
s 22 'KUBECONFIG=/etc/kubernetes/admin.conf kubectl apply -f -' < "$2"
s 22 'KUBECONFIG=/etc/kubernetes/admin.conf kubectl wait --for=condition=Ready node --all --timeout=180s'

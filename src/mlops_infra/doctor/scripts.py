"""The sh of the doctor's own questions: read-only, bounded, `key<TAB>value` lines; what cannot be told is not said."""

from __future__ import annotations

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.kubeadm_config import endpoint_port
from mlops_infra.phases.lb import MASTER_PORT

__all__ = ["CONTAINERS", "balancer", "certificates", "control_plane", "kubelet", "machine"]

_TAB = r"""t=$(printf '\t')
tell() { while IFS= read -r l; do printf '%s\t%s\n' "$1" "$l"; done; }
"""

_ASK = r"""
# GET /readyz over TLS, verified where the cluster's CA is there: status line, what is not ready, errors.
ask() {
  ca=/etc/kubernetes/pki/ca.crt
  if [ -r "$ca" ]; then set -- "$1" "$2" -CAfile "$ca" -verify_return_error; fi
  n=$1 a=$2; shift 2
  printf 'GET /readyz HTTP/1.0\r\n\r\n' | timeout -k 1 8 openssl s_client -connect "$a" -quiet "$@" 2>&1 |
    tr -d '\r' | grep -E '^HTTP/|^\[-\]|^ok$|rrno|verify error|refused|timed out|failed$' | head -n 6 | tell "$n"
}
"""

_CRICTL = 'crictl() { timeout -k 1 6 crictl --timeout 4s "$@"; }\n'

CONTAINERS = (
    _CRICTL
    + r"""crictl ps -a -o json 2>&1 | sed -n -E -e '/^ {6}"id":|"(attempt|name|state)":|rror|FATA/p' \
  -e '/"io\.kubernetes\.pod\.(name|namespace)":/p' | head -c 200000"""
)
"""Containers of a node, a few lines of crictl's JSON each; `parse_containers` reads them."""


def machine() -> str:
    """Disks, units that failed, the clock: asked of every host."""
    return (
        _TAB
        + r"""
df -P -k / /var /var/lib /var/lib/etcd /var/lib/containerd /var/lib/kubelet /var/log 2>/dev/null |
  sed 1d | sort -u | tell disk
df -P -i / /var /var/lib /var/lib/etcd /var/lib/containerd /var/lib/kubelet /var/log 2>/dev/null |
  sed 1d | sort -u | tell inodes
systemctl list-units --state=failed --plain --no-legend --no-pager 2>/dev/null | cut -d' ' -f1 | tell failed
timedatectl show -p NTPSynchronized --value 2>/dev/null | tell synchronised
"""
    )


def kubelet(cluster: Cluster) -> str:
    """kubelet, kube-proxy, the runtime's own word, and the API as this node reaches it: through the endpoint's name."""
    endpoint = f"{_bracketed(cluster.endpoint_name)}:{endpoint_port(cluster)}"
    return (
        _TAB
        + _ASK
        + _CRICTL
        + rf"""
systemctl show kubelet.service -p NRestarts --value 2>/dev/null | tell restarts
perl -MIO::Socket::INET -e '
  for (@ARGV) {{
    my ($n, $p) = split /:/; $said = "refused"; alarm 4; local $SIG{{ALRM}} = sub {{ print "$n\tno answer\n"; exit }};
    if (my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$p", Timeout => 2)) {{
      print $s "GET /healthz HTTP/1.0\r\n\r\n"; $said = <$s> // ""; $said =~ s/\s+$//; }}
    print "$n\t$said\n"; }}' healthz:10248 proxyz:10256 2>/dev/null
systemctl is-active -q kubelet.service && systemctl show kubelet.service -p SubState --value | grep -q running ||
  journalctl -q --no-pager -o cat -n 60 -u kubelet.service 2>/dev/null |
    grep -E '"command failed"|run.go|^E[0-9]{{4}}|ailed to|rror:' | tail -n 3 | cut -c1-600 | tell kubelet-log
if [ -e /run/containerd/containerd.sock ]; then
  {{ crictl info 2>&1 | tr -d '\n' | head -c 100000; echo; }} | tell cri
else printf 'cri\tno socket\n'; fi
ask endpoint {endpoint}
"""
    )


def certificates() -> str:
    """When each certificate of a node ends, those inside kubeconfigs too; and what the kubelet waits for."""
    return (
        _TAB
        + r"""
command -v openssl >/dev/null || exit 3
for f in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt \
  /var/lib/kubelet/pki/kubelet-client-current.pem /var/lib/kubelet/pki/kubelet-server-current.pem; do
  [ -e "$f" ] && printf 'certificate\t%s\t%s\n' "$f" "$(openssl x509 -noout -enddate -in "$f" 2>/dev/null || echo bad)"
done
for f in admin super-admin controller-manager scheduler; do
  f=/etc/kubernetes/$f.conf
  [ -e "$f" ] && printf 'certificate\t%s\t%s\n' "$f" "$(sed -n 's/^ *client-certificate-data: *//p' "$f" |
    base64 -d 2>/dev/null | openssl x509 -noout -enddate 2>/dev/null || echo bad)"
done
:"""
    )


def control_plane(host: Host) -> str:
    """A master's own API server and etcd member, around the load balancer; why they do not run, where they do not.

    etcd is asked in its own container, through containerd: that needs no API and no etcdctl on the host.
    """
    address = _bracketed(host.node_address)
    return (
        _TAB
        + _ASK
        + _CRICTL
        + rf"""
ask own {address}:{MASTER_PORT}
running=$(crictl ps -o json 2>/dev/null | awk '
  /^ *"id":/ {{ id = $2; gsub(/[",]/, "", id) }} /^ *"name":/ {{ gsub(/[",]/, "", $2); print $2, id }}')
container() {{ printf '%s\n' "$running" | sed -n "s/^$1 //p" | head -n 1; }}
last_words() {{
  f=$(ls -t /var/log/pods/kube-system_"$1"-*/"$1"/*.log 2>/dev/null | head -n 1)
  [ -z "$f" ] || tail -n 3 "$f" | cut -c1-500 | tell "$1-log"
}}
n=0
etcd() {{
  n=$((n + 1))
  timeout -k 1 8 ctr -n k8s.io tasks exec --exec-id "doctor-$$-$n" "$id" etcdctl \
    --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
    --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key \
    --dial-timeout=2s --command-timeout=4s -w json "$@" </dev/null 2>&1 | tr -d '\n'
  echo
}}
id=$(container etcd)
if [ -n "$id" ]; then
  etcd member list | tell members
  etcd endpoint status | tell status
else
  printf 'etcd\tnot running\n'
  last_words etcd
fi
[ -n "$(container kube-apiserver)" ] || last_words kube-apiserver
for m in etcd kube-apiserver kube-controller-manager kube-scheduler; do
  [ -e "/etc/kubernetes/manifests/$m.yaml" ] || {{
    printf 'missing\t%s\n' "$m"
    for d in /etc/kubernetes /root /home /tmp /var/tmp; do
      find "$d" -maxdepth 2 -type f -name "$m.yaml*" ! -path '*/manifests/*' ! -path '*/kubernetes/tmp/*' 2>/dev/null
    done | head -n 1 | while IFS= read -r p; do printf 'elsewhere\t%s\t%s\n' "$m" "$p"; done
  }}
done
:"""
    )


def balancer() -> str:
    """Whether HAProxy would take its file as it lies there. The password of its statistics is not told."""
    return (
        _TAB
        + r"""
command -v haproxy >/dev/null || exit 3
[ -e /etc/haproxy/haproxy.cfg ] || exit 4
haproxy -c -f /etc/haproxy/haproxy.cfg 2>&1 | grep -E 'ALERT|rror' | sed 's/stats auth .*/stats auth …/' |
  head -n 4 | tell config
haproxy -c -q -f /etc/haproxy/haproxy.cfg >/dev/null 2>&1; printf 'checked\t%s\n' "$?"
"""
    )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address

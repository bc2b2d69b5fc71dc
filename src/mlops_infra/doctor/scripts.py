"""The sh of the doctor's own questions: read-only, bounded, `key<TAB>value` lines; what cannot be told is not said."""

from __future__ import annotations

from mlops_infra.core import bracketed
from mlops_infra.doctor.going import PROGRAM, from_masters, from_nodes
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import MASTER_PORT, Host
from mlops_infra.phases.host_exporters import TEXTFILES

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
    """Disks, failed units, the clock, what runs short: asked of every host. Below the clock little is started."""
    return (
        _TAB
        + r"""
df -P -k / /var /var/lib /var/lib/etcd /var/lib/containerd /var/lib/kubelet /var/log 2>/dev/null |
  sed 1d | sort -u | tell disk
df -P -i / /var /var/lib /var/lib/etcd /var/lib/containerd /var/lib/kubelet /var/log 2>/dev/null |
  sed 1d | sort -u | tell inodes
systemctl list-units --state=failed --plain --no-legend --no-pager 2>/dev/null | cut -d' ' -f1 | tell failed
# A container has its machine's clock; timesyncd leaves a mark; timedatectl starts a service for its answer.
if [ ! -e /run/systemd/container ]; then
  if [ -e /run/systemd/timesync/synchronized ]; then echo yes; else timedatectl show -p NTPSynchronized --value; fi \
    2>/dev/null | tell synchronised
fi
n=/proc/sys/net/netfilter/nf_conntrack
read -r used <${n}_count && read -r most <${n}_max && printf 'conntrack\t%s %s\n' "$used" "$most"
while read -r key value unit; do
  case $key in
  MemTotal:) total=$value ;;
  MemAvailable:) printf 'memory\t%s %s\n' "$total" "$value"; break ;;
  esac
done </proc/meminfo
while read -r device place kind options rest; do
  case $place in
  / | /var | /var/lib | /var/lib/etcd | /var/lib/containerd | /var/lib/kubelet)
    case ,$options, in *,ro,*) how=ro ;; *) how=rw ;; esac
    printf 'mount\t%s %s\n' "$place" "$how" ;;
  esac
done </proc/mounts
for f in /var/lib/dpkg/updates/[0-9]*; do [ ! -e "$f" ] || { printf 'dpkg\t%s\n' "$f"; break; }; done
sed -n -E -e '/^Package: /h' -e '/^Status: .* (unpacked|half-installed|half-configured)$/{g;s/^Package: //;p;}' \
  /var/lib/dpkg/status 2>/dev/null | tell half
[ ! -e /run/reboot-required ] || printf 'reboot\tyes\n'
[ -e /run/systemd/container ] || for f in /boot/vmlinuz-[0-9]*; do
  [ ! -e "$f" ] || printf 'kernel\t%s\n' "${f#/boot/vmlinuz-}"
done
# The card behind the way out. The firmware's number is the machine's: containers share theirs.
while read -r card target rest; do
  case $target in
  00000000) read -r mac <"/sys/class/net/$card/address" && printf 'mac\t%s\n' "$mac"; break ;;
  esac
done </proc/net/route
[ -e /run/systemd/container ] || { read -r uuid </sys/class/dmi/id/product_uuid; } 2>/dev/null &&
  [ -n "${uuid:-}" ] && printf 'uuid\t%s\n' "$uuid"
grep -rHsE '^[^#]*/core:/stable:/v[0-9]+\.' /etc/apt/sources.list /etc/apt/sources.list.d | tell repository
[ -e /run/systemd/resolve/resolv.conf ] || while read -r key value rest; do
  case $key:$value in nameserver:127.* | nameserver:::1) printf 'stub\t%s\n' "$value" ;; esac
done </etc/resolv.conf
:
"""
    )


def kubelet(cluster: Cluster) -> str:
    """kubelet, kube-proxy, the runtime's own word, and the API as this node reaches it: through the endpoint's name;
    and the ways from this node to others.

    Ways may be silent for seconds, so one program goes all of them at once while the rest is asked; the rest goes to
    the pipe behind it and what it found comes last.
    """
    endpoint = f"{bracketed(cluster.endpoint_name)}:{cluster.endpoint_port}"
    return (
        _TAB
        + _ASK
        + _CRICTL
        + rf"""
set -- get:healthz:127.0.0.1:10248:/healthz get:proxyz:127.0.0.1:10256:/healthz {from_nodes(cluster)}
if [ -e /etc/kubernetes/manifests/etcd.yaml ]; then
  set -- "$@" get:etcd:127.0.0.1:2381:/metrics {from_masters(cluster)}
fi
perl -e '{PROGRAM}' "$@" 2>/dev/null | {{
exec 3<&0 </dev/null
systemctl show kubelet.service -p SubState --value 2>/dev/null | grep -qx running ||
  journalctl -q --no-pager -o cat -n 60 -u kubelet.service 2>/dev/null |
    grep -E '"command failed"|run.go|^E[0-9]{{4}}|ailed to|rror:' | tail -n 3 | cut -c1-600 | tell kubelet-log
if [ -e /run/containerd/containerd.sock ]; then
  {{ crictl info 2>&1 | tr -d '\n' | head -c 100000; echo; }} | tell cri
else printf 'cri\tno socket\n'; fi
# A tunnel and the card below it.
for f in /sys/class/net/flannel.1/lower_*; do
  [ ! -e "$f" ] || {{ read -r inner </sys/class/net/flannel.1/mtu && read -r outer <"$f/mtu" &&
    printf 'mtu\t%s %s %s\n' "$inner" "${{f##*/lower_}}" "$outer"; }}
done
ask endpoint {endpoint}
cat <&3
}}
"""
    )


def certificates() -> str:
    """The certificates of a node as they are, those inside kubeconfigs too: `certificate`, path, base64 of DER or PEM.

    One program for all files, and never a line of a private key: when they end is read at home (`doctor.x509`).
    """
    return (
        _TAB
        + r"""
set -- /dev/null
for f in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt \
  /var/lib/kubelet/pki/kubelet-client-current.pem /var/lib/kubelet/pki/kubelet-server-current.pem \
  /etc/kubernetes/admin.conf /etc/kubernetes/super-admin.conf /etc/kubernetes/controller-manager.conf \
  /etc/kubernetes/scheduler.conf; do
  if [ -s "$f" ]; then set -- "$@" "$f"; elif [ -e "$f" ]; then printf 'certificate\t%s\t\n' "$f"; fi
done
awk '
  function told() { if (file != "") print "certificate\t" file "\t" text }
  FNR == 1 { told(); file = FILENAME; text = ""; inside = 0; over = 0 }
  /-----BEGIN CERTIFICATE-----/ && !over { inside = 1; next }
  /-----END CERTIFICATE-----/ { if (inside) over = 1; inside = 0 }
  inside { gsub(/[^A-Za-z0-9+\/=]/, ""); text = text $0 }
  /^ *client-certificate-data: / && !over { text = $2; over = 1 }
  END { told() }' "$@"
"""
    )


def control_plane(host: Host) -> str:
    """A master's own API server and etcd member, around the load balancer; why they do not run, where they do not.

    etcd is asked over its JSON gateway, with the certificate that kubeadm makes for its health checks: that needs
    neither the API, nor the container runtime, nor etcdctl. Only a member that has a leader is asked for the list of
    members, which the majority must agree on: without one the answer is waited for in vain.
    """
    address = bracketed(host.node_address)
    return (
        _TAB
        + _ASK
        + rf"""
ask own {address}:{MASTER_PORT}
runs() {{ grep -qsx "$1" /proc/[0-9]*/comm; }}
last_words() {{
  f=$(ls -t /var/log/pods/kube-system_"$1"-*/"$1"/*.log 2>/dev/null | head -n 1)
  [ -z "$f" ] || tail -n 3 "$f" | cut -c1-500 | tell "$1-log"
}}
etcd() {{
  p=/etc/kubernetes/pki/etcd
  printf 'POST /v3/%s HTTP/1.0\r\nContent-Length: %s\r\n\r\n%s' "$1" "${{#2}}" "$2" |
    timeout -k 1 5 openssl s_client -connect 127.0.0.1:2379 -quiet -CAfile $p/ca.crt -verify_return_error \
      -cert $p/healthcheck-client.crt -key $p/healthcheck-client.key 2>&1 |
    tr -d '\r' | grep -E '^HTTP/|^\{{|rrno|rror:|verify error|refused|No such file'
}}
if runs etcd; then
  s=$(etcd maintenance/status '{{}}')
  [ -z "$s" ] || printf '%s\n' "$s" | tell status
  case $s in *'"leader":"'[1-9]*) etcd cluster/member/list '{{"linearizable":true}}' | tell members ;; esac
else
  printf 'etcd\tnot running\n'
  last_words etcd
fi
runs kube-apiserver || last_words kube-apiserver
while read -r key value; do
  case $key in server:) printf 'server\t%s\n' "$value"; break ;; esac
done </etc/kubernetes/kubelet.conf
# What the last scheduled backup left for node-exporter; its words only where it failed, or lacks a copy.
b=$(sed -n 's/^mlops_infra_backup_\([a-z_]*\) \([0-9]*\)$/\1 \2/p' {TEXTFILES}/backup-*.prom 2>/dev/null)
if [ -n "$b" ]; then
  printf '%s\n' "$b" | tell backup
  case $b in *last_failure* | *missing_copies\ [1-9]*)
    journalctl -q --no-pager -o cat -n 40 -u mlops-infra-backup.service 2>/dev/null | grep '^backup: ' | tail -n 3 |
      cut -c1-300 | tell backup-log ;;
  esac
fi
cd /etc/kubernetes/manifests &&
  grep -Hsoe '- --.*' kube-apiserver.yaml kube-controller-manager.yaml kube-scheduler.yaml | tell flag
find /etc/kubernetes -maxdepth 4 -path /etc/kubernetes/tmp -prune -o -type f \( -name '*.key' -o -name '*.conf' \) \
  -perm /077 -print 2>/dev/null | head -n 20 | tell open
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
set -- $(grep -lsx haproxy /proc/[0-9]*/comm)
printf 'processes\t%s\n' "$#"
"""
    )

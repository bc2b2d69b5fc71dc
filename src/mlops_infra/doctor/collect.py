"""What a support bundle asks of hosts and cluster: read-only sh in sections, each bounded in time, lines and width.

No file that holds a secret as a whole is read (keys, kubeconfigs, Secrets, ConfigMaps); what stands between other
things is taken out at home (`doctor.scrub`). Command lines of processes are not told: people put passwords there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from shlex import quote

from mlops_infra.core import https_url
from mlops_infra.doctor import scripts
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import MASTER_PORT, Host

__all__ = ["api_script", "host_script", "sections"]

_LINES, _WIDTH = 600, 2000
_SPACES = "kube-system kube-flannel metallb-system ingress-nginx monitoring local-path-storage"
"""Namespaces of ours, whose pods' logs are taken. What users run is theirs."""

_PRELUDE = r"""
export LC_ALL=C SYSTEMD_COLORS=0
# sec NAME SECONDS: what stdin says as sh, under a header that nothing in a log can imitate.
sec() {
  printf '\n%%s %%s\n' "$mark" "$1"
  timeout -k 1 "$2" sh 2>&1 | cut -b1-%(width)d | tail -n %(lines)d
}
"""

_EVERYWHERE = (
    ("system", 5, "date -u; uname -a; cat /etc/os-release; uptime; systemd-detect-virt; cat /proc/loadavg"),
    ("disks", 5, "df -P -k; df -P -i; cat /proc/mounts"),
    ("memory", 5, "free -m; cat /proc/swaps; grep . /proc/pressure/* 2>/dev/null"),
    ("network", 5, "ip -br addr; ip -d link; ip route; ip -6 route; cat /etc/resolv.conf; cat /etc/hosts"),
    ("ports", 5, "ss -ltnu"),
    ("processes", 5, "ps -eo pid,user,stat,rss,etimes,comm --sort=-rss"),
    (
        "units",
        6,
        "systemctl list-units --state=failed --no-pager --plain; systemctl list-timers --all --no-pager; "
        "systemctl list-units --type=service --no-pager --plain",
    ),
    (
        "packages",
        6,
        "dpkg-query -W -f '${Package} ${Version} ${Status}\\n' 'kube*' 'cri-tools' 'containerd*' haproxy keepalived "
        "age chrony; cat /run/reboot-required",
    ),
    ("sysctl", 5, "grep . /etc/sysctl.d/*mlops-infra* /etc/modules-load.d/*mlops-infra*; cat /proc/modules"),
    # Without kube-proxy's rules for each Service: a host's bound would be full of them.
    ("firewall", 6, "nft list ruleset; iptables-save | grep -v -e KUBE-SEP- -e KUBE-SVC-"),
    ("manifest", 5, "cat /var/lib/mlops-infra/manifest.json"),
)
_NODE = (
    ("containers", 8, "timeout 6 crictl --timeout 4s ps -a; timeout 6 crictl --timeout 4s pods"),
    ("images", 8, "timeout 6 crictl --timeout 4s images"),
    ("containerd-config", 5, "grep -r . /etc/containerd"),
    ("kubelet-config", 5, "cat /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env"),
)
_MASTER = (
    ("manifests", 5, 'for f in /etc/kubernetes/manifests/*; do echo "# $f"; cat "$f"; done'),
    ("pki", 5, "ls -lR /etc/kubernetes; ls -l /var/lib/etcd/member/*; df -h /var/lib/etcd"),
)
_BALANCER = (
    ("haproxy-config", 5, "cat /etc/haproxy/haproxy.cfg"),
    ("keepalived-config", 5, "cat /etc/keepalived/keepalived.conf"),
    ("haproxy", 6, "haproxy -v; haproxy -c -f /etc/haproxy/haproxy.cfg"),
)
_UNITS = {
    "lb": ("haproxy", "keepalived"),
    "master": ("kubelet", "containerd", "mlops-infra-approver", "mlops-infra-backup"),
    "worker": ("kubelet", "containerd"),
}

_STATE = "LoadState,ActiveState,SubState,UnitFileState,NRestarts,ExecMainStartTimestamp,ExecMainStatus,MemoryCurrent"
"""And not `systemctl status`, which shows command lines."""

_PODS = rf"""
for space in {_SPACES}; do
  for d in /var/log/pods/"$space"_*/*/; do
    [ -d "$d" ] || continue
    for f in $(ls -t "$d" 2>/dev/null | grep '\.log$' | head -n 2); do
      printf '\n%%s pods/%%s\n' "$mark" "$(printf '%%s' "${{d#/var/log/pods/}}$f" | tr -c 'A-Za-z0-9._\n-' '-')"
      tail -n %(lines)d "$d$f" | cut -b1-%(width)d
    done
  done
done
"""


def host_script(cluster: Cluster, host: Host, mark: str, *, minutes: int, limit: int) -> str:
    """For one host: at most `limit` bytes in all, what matters most first; `minutes` of the journal.

    `mark` begins a section's header: a word that no log can know.
    """
    role = cluster.role(host.name)
    parts = [*_EVERYWHERE]
    if role == "lb":
        parts += [*_BALANCER, ("doctor", 20, scripts.balancer())]
    else:
        parts += [*_NODE, ("doctor", 25, scripts.machine() + scripts.kubelet(cluster))]
    if role == "master":
        parts += [*_MASTER, ("doctor-control-plane", 30, scripts.control_plane(host))]
    parts += list(_journal(role, minutes))
    bounds = {"lines": _LINES, "width": _WIDTH}
    text = _PRELUDE % bounds + "".join(_section(*part) for part in parts)
    if role != "lb":
        text += _PODS % {"lines": _LINES // 2, "width": _WIDTH}
    return f"mark={quote(mark)}\n{_bounded(text, limit)}"


def _journal(role: str, minutes: int) -> Iterator[tuple[str, int, str]]:
    common = f"journalctl -q --no-pager -o short-iso --since=-{minutes}min -n {_LINES}"
    for unit in _UNITS[role]:
        yield f"journal-{unit}", 10, f"systemctl show {unit} -p {_STATE}; {common} -u {unit}"
    yield "journal-kernel", 10, f"{common} -k -p warning"
    yield "journal-errors", 10, f"{common} -p err"


def _section(name: str, seconds: int, script: str) -> str:
    # Quoted end word: nothing in the script is expanded before its own shell reads it.
    return f"sec {name} {seconds} <<'@@end-of-section@@'\n{script}\n@@end-of-section@@\n"


_API = (
    ("nodes", "get nodes -o wide --show-labels"),
    ("pods", "get pods -A -o wide"),
    ("workloads", "get deployments,daemonsets,statefulsets,jobs,cronjobs,replicasets -A -o wide"),
    ("services", "get services,endpointslices,ingresses,networkpolicies -A -o wide"),
    ("storage", "get storageclasses,pv,pvc -A -o wide"),
    ("events", "get events -A --sort-by=.lastTimestamp"),
    ("describe-nodes", "describe nodes"),
    ("requests", "get csr,leases,pdb,priorityclasses,validatingwebhookconfigurations,apiservices -A"),
    ("metallb", "get ipaddresspools,l2advertisements -A -o yaml"),
    ("names", "get configmaps,secrets,serviceaccounts,crd -A -o name"),
    ("health", "get --raw /readyz?verbose"),
)


def api_script(host: Host, mark: str, *, limit: int) -> str:
    """For one master, through its own API server. Names of Secrets and ConfigMaps, never what is in them."""
    kubectl = (
        "timeout -k 1 8 kubectl --kubeconfig /etc/kubernetes/admin.conf "
        f"--server={https_url(host.node_address, MASTER_PORT)} --request-timeout=6s"
    )
    text = _PRELUDE % {"lines": _LINES * 4, "width": _WIDTH}
    text += "".join(_section(name, 9, f"{kubectl} {words}") for name, words in _API)
    alive = f"{kubectl} get --raw /readyz </dev/null >/dev/null 2>&1 || exit 7"
    return f"mark={quote(mark)}\n{alive}\n{_bounded(text, limit)}"


_QUOTED_LOG = re.compile(r"(?m)^[\w-]+-log\t.*\n?")


def _bounded(text: str, limit: int) -> str:
    return f"{{\n{text}\nprintf '\\n%s end\\n' \"$mark\"\n}} 2>/dev/null | head -c {limit}\n"


def sections(text: str, mark: str) -> tuple[dict[str, str], bool]:
    """Name → text of what a script said, empty ones left out; and whether it came to its end.

    What the doctor's own questions quote of logs is not kept: logs are parts of their own, and behind a key of ours the
    scrubber cannot see what a line belongs to.
    """
    found: dict[str, str] = {}
    whole = False
    for part in f"\n{text}".split(f"\n{mark} ")[1:]:
        name, _, body = part.partition("\n")
        if name == "end":
            whole = True
            continue
        if name.startswith("doctor"):
            body = _QUOTED_LOG.sub("", body)
        if body.strip():
            found[name] = found.get(name, "") + body.strip("\n") + "\n"
    return found, whole

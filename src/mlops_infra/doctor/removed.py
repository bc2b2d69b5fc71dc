"""A master that etcd does not count any more: what its own etcd cannot mend, however often it is started."""

from __future__ import annotations

from mlops_infra.core import https_url
from mlops_infra.doctor.check import OK, Check, Finding, Severity, Skipped, Verdict, on_host
from mlops_infra.doctor.etcd import in_pod_of, is_of, members_of, status_of
from mlops_infra.doctor.probes import Said, control_plane, control_plane_of_masters, said
from mlops_infra.doctor.view import View

__all__ = ["REMOVED"]

_PEER_PORT = 2380


def _removed(view: View, host: str) -> Verdict:
    agreed = members_of(view)
    if agreed is None:
        return Skipped("no member list could be had")
    other, members = agreed
    own = view.cluster.host_named(host)
    if any(is_of(member, own.node_address) for member in members):
        return OK
    if not _has_joined(said(view.facts(host), control_plane(own)) or {}):
        return Skipped("it has yet to join, or cp.manifest tells what it lacks")
    runs = status_of(view, host) is not None
    return Finding(
        f"it was removed from etcd as a member{', and runs an etcd of its own' if runs else ''}",
        f"members that {other} tells: " + ", ".join(str(m.get("name") or m.get("peerURLs")) for m in members),
        "somebody ran `member remove`, or its data were lost and it began anew: a member that was removed never comes "
        "back with its old data, and has to join as a new one",
        _joined_again(host, https_url(own.node_address, _PEER_PORT), other),
    )


def _has_joined(lines: Said) -> bool:
    """Whether it has, or had, etcd's manifest, which a join writes once the member is added."""
    return "etcd" not in lines.get("missing", ()) or any(
        line.startswith("etcd\t") for line in lines.get("elsewhere", ())
    )


def _joined_again(host: str, url: str, other: str) -> str:
    """Its data set aside, and added as a learner, which counts only once it has caught up. The manifest waits outside
    of the kubelet's directory: with its old words and no data etcd would begin a cluster of its own. The kubelet is
    started anew, so that the API server need not wait for the end of its back-off."""
    return on_host(
        host,
        "set -e; m=/etc/kubernetes/manifests; "
        f'e="kubectl --kubeconfig /etc/kubernetes/admin.conf {in_pod_of(other)}"; '
        "[ ! -e $m/etcd.yaml ] || mv $m/etcd.yaml /root/; while pgrep -x etcd >/dev/null; do sleep 1; done; "
        "[ ! -e /var/lib/etcd/member ] || mv /var/lib/etcd/member /var/lib/etcd/removed-$(date +%s); "
        f'all=$($e member add {host} --learner --peer-urls={url} | grep ^ETCD_INITIAL_CLUSTER= | cut -d\\" -f2); '
        '[ -n "$all" ]; sed -e /--initial-cluster/d -e "s#- --data-dir=.*#&\\n    - --initial-cluster=$all\\n    '
        '- --initial-cluster-state=existing#" /root/etcd.yaml >$m/.etcd.yaml; mv $m/.etcd.yaml $m/etcd.yaml; '
        "rm /root/etcd.yaml; systemctl restart kubelet; "
        f"id=$($e member list | grep {url} | cut -d, -f1); n=0; "
        "until $e member promote $id 2>/dev/null; do n=$((n+1)); [ $n -lt 60 ]; sleep 2; done",
    )


REMOVED = Check(
    "etcd.removed",
    "Is each master still a member of etcd?",
    Severity.ERROR,
    _removed,
    "The list of members that the majority agreed on, against cluster.yaml. The etcd of a master that was removed ends "
    "as soon as it is started. The remedy sets its data aside in /var/lib/etcd and adds it as a learner.",
    roles=frozenset({"master"}),
    needs=control_plane_of_masters,
)

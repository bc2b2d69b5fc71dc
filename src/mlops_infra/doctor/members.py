"""What etcd's members say of one another; and the keys and addresses that the control plane stands on."""

from __future__ import annotations

from typing import Any

from mlops_infra.core import Probe
from mlops_infra.doctor.check import OK, Check, Finding, Severity, Skipped, Verdict, on_host
from mlops_infra.doctor.etcd import etcdctl, status_of
from mlops_infra.doctor.probes import SYSTEM, control_plane, control_plane_of_masters, said
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

__all__ = ["KEYS", "MEMBERS", "VIP"]

MASTER = frozenset({"master"})
_WASTE_FROM = 512 * 1024**2
_LAG = 10_000
"""Entries. Members are asked within seconds of one another; a busy cluster writes hundreds a second."""


def _statuses(view: View) -> dict[str, dict[str, Any]]:
    names = [m.name for m in view.cluster.hosts.masters]
    return {name: status for name in names if (status := status_of(view, name)) is not None}


_NOBODY = Skipped("fewer than two members answered")


def _versions(view: View, _: str) -> Verdict:
    versions = {name: str(status["version"]) for name, status in _statuses(view).items()}
    if len(set(versions.values())) < 2:
        return OK if versions else _NOBODY
    newest = max(versions.values(), key=lambda text: [int(p) for p in text.split(".") if p.isdigit()])
    old = tuple(name for name, version in versions.items() if version != newest)
    return Finding(
        "etcd's members are of different versions",
        "\n".join(f"{name}: {version}" for name, version in versions.items()),
        "an upgrade ended in the middle",
        f"mlops-infra up --limit {old[0]}",
        hosts=old,
    )


def _leader(view: View, _: str) -> Verdict:
    leaders = {
        name: str(status.get("leader", "0"))
        for name, status in _statuses(view).items()
        if status.get("leader", "0") != "0"
    }
    if len(set(leaders.values())) < 2:
        return OK if leaders else _NOBODY
    return Finding(
        "etcd's members do not agree on who leads",
        "\n".join(f"{name}: {leader}" for name, leader in leaders.items()),
        "one is cut off from the others, or belongs to another cluster; for a moment also during an election",
        etcdctl(next(iter(leaders)), "endpoint status --cluster -w table"),
    )


def _lag(view: View, host: str) -> Verdict:
    indexes = {name: int(s.get("raftAppliedIndex", 0)) for name, s in _statuses(view).items()}
    if host not in indexes or len(indexes) < 2:
        return _NOBODY if len(view.cluster.hosts.masters) > 1 else OK
    behind = max(indexes.values()) - indexes[host]
    if behind <= _LAG:
        return OK
    return Finding(
        f"its etcd member is {behind} entries behind",
        "\n".join(f"{name}: {index} applied" for name, index in indexes.items()),
        "its disk or its network is slow, or it catches up after it was away",
        on_host(host, "journalctl -q -k -p warning -n 20"),
    )


def _waste(view: View, host: str) -> Verdict:
    status = status_of(view, host)
    if status is None:
        return Skipped("the member did not answer")
    size, used = int(status.get("dbSize", 0)), int(status.get("dbSizeInUse", status.get("dbSize", 0)))
    if size < _WASTE_FROM or used * 2 >= size:
        return OK
    return Finding(
        f"{1 - used / size:.0%} of its etcd database is empty space",
        f"{size / 1024**2:.0f} MiB, of which {used / 1024**2:.0f} are in use",
        "much was deleted; the room is given back by a defragmentation alone, one member at a time",
        etcdctl(host, "defrag"),
    )


def _open_keys(view: View, host: str) -> Verdict:
    lines = said(view.facts(host), control_plane(view.cluster.host_named(host)))
    if lines is None:
        return Skipped("the master's script did not answer")
    paths = lines.get("open", ())
    if not paths:
        return OK
    return Finding(
        f"others than root can read {paths[0]}" + (f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""),
        "\n".join(paths[:8]),
        "it was copied, restored or edited with an open umask",
        on_host(host, f"chmod 600 {' '.join(paths)}"),
    )


def _vip(view: View, _: str) -> Verdict:
    if view.cluster.lb.vip is None:
        return OK
    vip = view.cluster.lb.vip.address
    balancers = [h.name for h in view.cluster.hosts.lb]
    systems = {name: view.facts(name).value(SYSTEM) for name in balancers}
    holders = tuple(name for name, s in systems.items() if s is not None and vip in s.addresses)
    if len(holders) == 1:
        return OK
    if len(holders) > 1:
        return Finding(
            f"{' and '.join(holders)} both hold the address {vip}",
            "",
            "they do not hear one another (VRRP, IP protocol 112, is dropped between them), so each takes it",
            on_host(holders[1], "journalctl -q -u keepalived -n 20"),
            hosts=holders,
        )
    if any(s is None for s in systems.values()):
        return Skipped("not every load balancer could be asked")
    return Finding(
        f"no load balancer holds the address {vip}",
        "",
        "keepalived does not run, or holds HAProxy for dead on each of them",
        on_host(balancers[0], "systemctl restart keepalived"),
        severity=Severity.CRITICAL,
    )


def _system(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    del cluster, host
    return frozenset({SYSTEM})


MEMBERS: tuple[Check, ...] = (
    Check(
        "etcd.version",
        "Are etcd's members of one version?",
        Severity.WARNING,
        _versions,
        "Members of different versions work together during an upgrade, and for no longer.",
        scope="cluster",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=("etcd.member",),
    ),
    Check(
        "etcd.leader",
        "Do etcd's members agree on who leads?",
        Severity.ERROR,
        _leader,
        "Each member is asked whom it follows. Two answers that last are two clusters.",
        scope="cluster",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=("etcd.member", "etcd.quorum", "etcd.members", "net.ways"),
    ),
    Check(
        "etcd.lag",
        "Does each etcd member keep up?",
        Severity.WARNING,
        _lag,
        "Compares what the members have applied. One that is 10,000 entries behind answers with old data, and is of no "
        "help when another fails.",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=("etcd.member", "etcd.members", "host.disk", "net.ways"),
    ),
    Check(
        "etcd.space",
        "Is etcd's file as large as what is in it?",
        Severity.WARNING,
        _waste,
        "Told from 512 MiB on, where more than half of the file is empty: it counts against the quota.",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=("etcd.member",),
    ),
)

KEYS = Check(
    "pki.keys",
    "Are keys and kubeconfigs of the control plane root's alone?",
    Severity.WARNING,
    _open_keys,
    "Private keys and kubeconfigs below /etc/kubernetes have mode 0600: whoever reads them is the cluster's master.",
    roles=MASTER,
    needs=control_plane_of_masters,
)

VIP = Check(
    "lb.vip",
    "Does exactly one load balancer hold the shared address?",
    Severity.ERROR,
    _vip,
    "The address of `lb.vip` moves by VRRP. Held by none nobody reaches the API, held by two answers get lost.",
    scope="cluster",
    roles=frozenset({"lb"}),
    needs=_system,
    depends_on=("lb.haproxy", "lb.config"),
)

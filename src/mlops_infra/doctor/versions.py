"""Versions that have to fit one another, and what a node tells of itself beside being Ready."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlops_infra.core import Absent
from mlops_infra.doctor.check import NODES, OK, Check, Finding, Severity, Skipped, Verdict, asks_api, on_host
from mlops_infra.doctor.probes import NODES as LISTED
from mlops_infra.doctor.view import View

__all__ = ["NODE_FACTS"]

_OLDEST_ON_NOBLE = (1, 7, 16)
_CONTAINERD_2_FROM = 36
_SKEW = 3
"""Minors that a kubelet may be older than the API server: the version skew policy of Kubernetes."""


def _node(view: View, host: str) -> Mapping[str, Any] | None:
    nodes = view.api(LISTED)
    if nodes is None or isinstance(nodes, Absent):
        return None
    return next((n for n in nodes if n.get("metadata", {}).get("name") == host), None)


def _info(view: View, host: str) -> Mapping[str, Any] | None:
    node = _node(view, host)
    return None if node is None else node.get("status", {}).get("nodeInfo") or {}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("-")[0])[:3])


_UNKNOWN = Skipped("no API to ask, or no such node")


def _skew(view: View, host: str) -> Verdict:
    info = _info(view, host)
    if info is None:
        return _UNKNOWN
    version = str(info.get("kubeletVersion", ""))
    mine, wanted = _numbers(version)[:2], _numbers(view.cluster.versions.kubernetes)[:2]
    if len(mine) < 2 or (mine <= wanted and wanted[1] - mine[1] <= _SKEW):
        return OK
    newer = mine > wanted
    how = "newer than" if newer else f"more than {_SKEW} minors older than"
    return Finding(
        f"its kubelet {version} is {how} the control plane",
        f"cluster.yaml: {view.cluster.versions.kubernetes}",
        "it was upgraded by hand before the masters" if newer else "it was left out of the last upgrades",
        f"mlops-infra up --limit {host}",
    )


def _runtime(view: View, host: str) -> Verdict:
    info = _info(view, host)
    if info is None:
        return _UNKNOWN
    told = str(info.get("containerRuntimeVersion", ""))
    version = _numbers(told.removeprefix("containerd://"))
    if not told.startswith("containerd://") or len(version) < 3:
        return OK
    system = str(info.get("osImage", ""))
    minor = _numbers(str(info.get("kubeletVersion", "")))[1:2] or (0,)
    old_here = "24.04" in system and version < _OLDEST_ON_NOBLE
    old_there = version[0] < 2 and minor[0] >= _CONTAINERD_2_FROM
    if not old_here and not old_there:
        return OK
    what = f"Kubernetes 1.{minor[0]}" if old_there else system
    return Finding(
        f"containerd {'.'.join(map(str, version))} is too old for {what}",
        told,
        "containerd was held back, or came from another repository",
        f"mlops-infra up --limit {host}",
    )


def _addresses(node: Mapping[str, Any]) -> Iterator[str]:
    for one in node.get("status", {}).get("addresses") or ():
        if one.get("type") == "InternalIP":
            yield str(one.get("address"))


def _address(view: View, host: str) -> Verdict:
    node = _node(view, host)
    if node is None:
        return _UNKNOWN
    told, wanted = list(_addresses(node)), view.cluster.host_named(host).node_address
    if not told or wanted in told:
        return OK
    return Finding(
        f"the cluster knows it by {', '.join(told)}, cluster.yaml by {wanted}",
        "Node: status.addresses",
        "the kubelet chose another interface's address, or the host has a new one",
        f"mlops-infra up --limit {host}",
    )


def _network(view: View, host: str) -> Verdict:
    node = _node(view, host)
    if node is None:
        return _UNKNOWN
    for condition in node.get("status", {}).get("conditions") or ():
        if condition.get("type") == "NetworkUnavailable" and condition.get("status") == "True":
            return Finding(
                "the node has no pod network",
                f"{condition.get('reason', '')}: {condition.get('message', '')}",
                "Flannel has not set it up, or was stopped in the middle",
                on_host(host, "systemctl restart kubelet"),
            )
    return OK


NODE_FACTS: tuple[Check, ...] = (
    Check(
        "node.network",
        "Has the node a pod network?",
        Severity.ERROR,
        _network,
        "The condition NetworkUnavailable, which the pod network takes away when it has made its routes.",
        roles=NODES,
        api=asks_api(LISTED),
        depends_on=("node.ready",),
        needs_answer=False,
    ),
    Check(
        "node.address",
        "Does the cluster know the node by its address?",
        Severity.WARNING,
        _address,
        "API servers reach the kubelet, and Flannel its peers, at the node's internal address.",
        roles=NODES,
        api=asks_api(LISTED),
        depends_on=("node.ready",),
        needs_answer=False,
    ),
    Check(
        "kubelet.skew",
        "Does the kubelet's version fit the control plane's?",
        Severity.WARNING,
        _skew,
        "A kubelet may be up to three minors older than the API servers, and never newer.",
        roles=NODES,
        api=asks_api(LISTED),
        depends_on=("host.packages",),
        needs_answer=False,
    ),
    Check(
        "cri.version",
        "Is containerd new enough?",
        Severity.WARNING,
        _runtime,
        "Ubuntu 24.04 needs 1.7.16 (AppArmor stopped containers from being ended before), Kubernetes 1.36 needs 2.",
        roles=NODES,
        api=asks_api(LISTED),
        depends_on=("host.packages",),
        needs_answer=False,
    ),
)

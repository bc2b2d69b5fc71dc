"""The nodes as the cluster sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_infra.core import Absent, Probe
from mlops_infra.doctor.check import NO_API, NODES, OK, Check, Finding, Severity, Skipped, Verdict, kubectl, on_host
from mlops_infra.doctor.probes import FLANNEL
from mlops_infra.doctor.probes import NODES as LISTED
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster

__all__ = ["NODE"]

_NO_NETWORK = ("cni plugin not initialized", "NetworkPluginNotReady", "NetworkReady=false")


def _listed(view: View) -> Mapping[str, Mapping[str, Any]] | None:
    nodes = view.api(LISTED)
    if nodes is None or isinstance(nodes, Absent):
        return None
    return {n["metadata"]["name"]: n for n in nodes}


def _conditions(node: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {c.get("type", ""): c for c in node.get("status", {}).get("conditions", ())}


def _ready(view: View, host: str) -> Verdict:
    nodes = _listed(view)
    if nodes is None:
        return NO_API
    if host not in nodes:
        return Finding(
            "the cluster does not know this node",
            "",
            "the Node was deleted, or the host never joined",
            on_host(host, "systemctl restart kubelet") if view.answered(host) else f"mlops-infra up --limit {host}",
        )
    ready = _conditions(nodes[host]).get("Ready", {})
    if ready.get("status") == "True":
        return OK
    message = str(ready.get("message", ""))
    if any(word in message for word in _NO_NETWORK) and isinstance(view.api(FLANNEL), Absent):
        return Skipped("NotReady for want of a pod network, which is told by cni.flannel")
    return Finding(
        "the node is NotReady",
        f"{ready.get('reason', '')}: {message} (since {ready.get('lastTransitionTime', '?')})",
        "its kubelet does not report, or reports that the runtime or the network is not ready",
        on_host(host, "systemctl restart containerd kubelet"),
    )


def _pressure(view: View, host: str) -> Verdict:
    nodes = _listed(view)
    if nodes is None or host not in nodes:
        return Skipped("no API to ask, or no such node")
    pressed = {
        kind: c
        for kind, c in _conditions(nodes[host]).items()
        if kind in ("MemoryPressure", "DiskPressure", "PIDPressure") and c.get("status") == "True"
    }
    if not pressed:
        return OK
    return Finding(
        f"the node reports {', '.join(pressed)}",
        "\n".join(str(c.get("message", "")) for c in pressed.values()),
        "the kubelet evicts pods until there is room again",
        on_host(host, "sh -c 'free -m; df -h / /var/lib; ps aux --sort=-rss | head -5'"),
    )


def _cordoned(view: View, host: str) -> Verdict:
    nodes = _listed(view)
    if nodes is None or host not in nodes:
        return Skipped("no API to ask, or no such node")
    if not nodes[host].get("spec", {}).get("unschedulable"):
        return OK
    return Finding(
        "the node is cordoned: nothing new is started on it",
        "",
        "somebody cordoned or drained it for work on it, and did not undo that",
        kubectl(view.a_master, f"uncordon {host}"),
    )


def _orphans(view: View, _: str) -> Verdict:
    nodes = _listed(view)
    if nodes is None:
        return NO_API
    orphans = sorted(set(nodes) - {h.name for h in view.cluster.nodes})
    if not orphans:
        return OK
    return Finding(
        f"in the cluster but not in cluster.yaml: {', '.join(orphans)}",
        "",
        "its host was taken out of the file and not out of the cluster, or was renamed",
        kubectl(view.a_master, f"delete node {' '.join(orphans)}"),
        stands_alone=True,
    )


def _api(cluster: Cluster) -> frozenset[Probe[Any]]:
    return frozenset({LISTED, FLANNEL} if cluster.network.cni == "flannel" else {LISTED})


NODE: tuple[Check, ...] = (
    Check(
        "node.ready",
        "Is the node Ready?",
        Severity.ERROR,
        _ready,
        "What the cluster thinks of the node. It takes 40 seconds to notice that a kubelet is silent: a node may still "
        "count as Ready while other checks know better.",
        roles=NODES,
        api=_api,
        depends_on=(
            "host.disk",
            "cri.up",
            "cri.config",
            "kubelet.config",
            "kubelet.up",
            "kubelet.cert",
            # A master's kubelet speaks to the API server beside it.
            "api.server",
            "api.lb",
        ),
        claims=("^nodes:ready$",),
        needs_answer=False,
    ),
    Check(
        "node.pressure",
        "Has the node memory, disk and process numbers left?",
        Severity.ERROR,
        _pressure,
        "The kubelet reports pressure when it begins to evict pods.",
        roles=NODES,
        api=_api,
        depends_on=("host.disk", "host.inodes", "node.ready"),
        needs_answer=False,
    ),
    Check(
        "node.cordoned",
        "May pods be started on the node?",
        Severity.WARNING,
        _cordoned,
        "A cordoned node keeps what runs on it and takes nothing new; with all workers cordoned MetalLB 0.14.9 "
        "and later announce nothing.",
        roles=NODES,
        api=_api,
        needs_answer=False,
    ),
    Check(
        "node.orphan",
        "Are all nodes of the cluster in cluster.yaml?",
        Severity.WARNING,
        _orphans,
        "A node that the file does not name is left alone by every command, and gets no updates.",
        scope="cluster",
        api=_api,
    ),
)

"""The `ready` phase: a run ends when the nodes that have joined are Ready, not when kubeadm has let go of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_infra.core import API, ApiList, Change, Facts, FailurePolicy, Kind, Phase, Probe, Shell, Step, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext

__all__ = ["NODES", "NodesReady", "ready_phase"]

NAME = "ready"
NODES = ApiList("nodes", api_version="v1")
SECONDS = 180
"""Flannel's image and CoreDNS on a slow disk; by hand it took 30 s for six nodes (lab.md)."""

_WAIT = """\
export KUBECONFIG=/etc/kubernetes/admin.conf
ready='{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
i=0
while waiting=$(kubectl get nodes -o jsonpath="$ready" | sed -n 's/=False$//p' | tr '\\n' ' '); [ -n "$waiting" ]; do
    i=$((i + 1))
    if [ "$i" -ge %(seconds)d ]; then
        echo "not ready: $waiting"
        for node in $waiting; do
            message='{.status.conditions[?(@.type=="Ready")].message}{"\\n"}'
            kubectl get node "$node" -o jsonpath="$node: $message"
        done
        exit 1
    fi
    sleep 1
done
"""


@dataclass(frozen=True, slots=True)
class NodesReady:
    """No kubelet that is heard says that its node is not Ready.

    One that is not heard of (status Unknown: its host is off) is no reason to wait: the host's own steps tell of it.
    """

    @property
    def id(self) -> str:
        return "nodes:ready"

    @property
    def title(self) -> str:
        return "nodes are Ready"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({NODES})

    def diff(self, facts: Facts) -> Change | None:
        nodes = facts.value(NODES)
        if nodes is None:
            return self._wait("known when they have joined")
        waiting = sorted(n["metadata"]["name"] for n in nodes if _ready(n) == "False")
        return self._wait(f"{', '.join(waiting)}: not yet") if waiting else None

    def _wait(self, reason: str) -> Change:
        shell = Shell("wait until nodes are Ready", _WAIT % {"seconds": SECONDS}, deadline=SECONDS * 2)
        return Change(self.id, self.title, Kind.RUN, reason, (shell,))


def ready_phase(cluster: Cluster, _: PhaseContext) -> Phase:
    """Last of what is waited for; a node without a network is never Ready, so only where we bring one."""
    if cluster.network.cni == "none":
        return Phase(NAME, "Nodes ready", ())
    joins = {StepId("control-plane" if cluster.role(h.name) == "master" else "workers", h.name) for h in cluster.nodes}
    first = StepId("control-plane", cluster.hosts.masters[0].name)
    step = Step(NAME, API, (NodesReady(),), needs=frozenset({first}), after=frozenset(joins | {StepId("network", API)}))
    return Phase(NAME, "Nodes ready", (step,), FailurePolicy(1.0))


def _ready(node: Mapping[str, Any]) -> str:
    conditions = node.get("status", {}).get("conditions") or ()
    return next((c["status"] for c in conditions if c["type"] == "Ready"), "False")

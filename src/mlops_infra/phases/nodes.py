"""The `nodes` phase: labels and taints of cluster.yaml on the nodes. What the file does not name is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any

from mlops_infra.core import API, Absent, ApiObject, Change, Facts, Kind, Phase, Probe, Shell, Step, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.context import PhaseContext

__all__ = ["NodeMarks", "nodes_phase"]

NAME = "nodes"


@dataclass(frozen=True, slots=True)
class NodeMarks:
    """Labels and taints that a node must have; others stay. Taints as kubectl writes them (`key=value:Effect`)."""

    node: str
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"node:{self.node}"

    @property
    def title(self) -> str:
        return f"labels and taints of {self.node}"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({self._probe})

    @property
    def _probe(self) -> ApiObject:
        return ApiObject("v1", "Node", self.node)

    def diff(self, facts: Facts) -> Change | None:
        answer = facts.answer(self._probe)
        if not isinstance(answer, Mapping):
            reason = "the node has not joined yet" if isinstance(answer, Absent) else "known when the node has joined"
            lines = [f"label {k}: → {v}" for k, v in self.labels] + [f"taint: → {t}" for t in self.taints]
            return self._change(Kind.CREATE, reason, dict(self.labels), self.taints, lines)
        has = answer.get("metadata", {}).get("labels") or {}
        taints = tuple(_written(t) for t in answer.get("spec", {}).get("taints") or ())
        labels = {k: v for k, v in self.labels if has.get(k) != v}
        missing = tuple(t for t in self.taints if t not in taints)
        if not labels and not missing:
            return None
        said = [*(["labels differ"] if labels else []), *(["taints missing"] if missing else [])]
        lines = [f"label {k}: {has.get(k, '(none)')} → {v}" for k, v in labels.items()]
        lines += [f"taint: (none) → {t}" for t in missing]
        return self._change(Kind.UPDATE, " and ".join(said), labels, missing, lines)

    def _change(
        self, kind: Kind, reason: str, labels: Mapping[str, str], taints: tuple[str, ...], lines: list[str]
    ) -> Change:
        script = "export KUBECONFIG=/etc/kubernetes/admin.conf\n"
        node = quote(self.node)
        if labels:
            script += (
                f"kubectl label node {node} --overwrite {' '.join(quote(f'{k}={v}') for k, v in labels.items())}\n"
            )
        if taints:
            script += f"kubectl taint node {node} --overwrite {' '.join(map(quote, taints))}\n"
        return Change(self.id, self.title, kind, reason, (Shell(self.title, script),), "\n".join(lines))


def nodes_phase(cluster: Cluster, _: PhaseContext) -> Phase:
    """Only for nodes of which the file says something; each after its own node has joined."""
    marked = [(host, marks) for host in cluster.nodes if (marks := _marks(host)) is not None]
    if not marked:
        return Phase(NAME, "Labels and taints", ())
    needs = frozenset(StepId(_phase_of(cluster, host), host.name) for host, _ in marked)
    return Phase(NAME, "Labels and taints", (Step(NAME, API, tuple(m for _, m in marked), needs=needs),))


def _marks(host: Host) -> NodeMarks | None:
    taints = tuple(f"{t.key}={t.value}:{t.effect}" if t.value else f"{t.key}:{t.effect}" for t in host.taints or ())
    return NodeMarks(host.name, tuple(host.labels.items()), taints) if host.labels or taints else None


def _phase_of(cluster: Cluster, host: Host) -> str:
    return "control-plane" if cluster.role(host.name) == "master" else "workers"


def _written(taint: Mapping[str, Any]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"

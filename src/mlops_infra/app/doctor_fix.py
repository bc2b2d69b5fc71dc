"""`doctor --fix`: the part of `up` that mends what was found and cannot do harm, as phases of its own.

Safe is what starts something of ours that should run, or sets what the kernel should have: it can be done twice, it
ends nothing that works, and it undoes nobody's work. Files that somebody edited, nodes that somebody cordoned, members,
pods and certificates are left to a person, with the command beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_infra.app.judgement import refuse
from mlops_infra.app.platform import Platform
from mlops_infra.core import API, Change, Facts, Kind, Phase, Plan, Probe, Shell, Step
from mlops_infra.doctor.diagnosis import Diagnosed, Diagnosis
from mlops_infra.doctor.probes import CSRS
from mlops_infra.engine.interrupt import interruptible
from mlops_infra.engine.observation import Observation
from mlops_infra.engine.result import RunResult
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.preflight import judge
from mlops_infra.resources import UnitState

__all__ = ["SAFE", "ApproverRun", "Repairs", "mend", "planned", "repairs_of"]

SAFE: Mapping[str, tuple[str, ...]] = {
    "host.time": (r"^unit:(systemd-timesyncd|chrony)\.service$",),
    "host.swap": ("^swap$",),
    "host.modules": ("^kernel-modules:",),
    "host.sysctl": ("^sysctls:",),
    "cri.up": (r"^unit:containerd\.service$",),
    "kubelet.up": (r"^unit:kubelet\.service$",),
    "lb.haproxy": (r"^unit:haproxy\.service$",),
    "kubelet.csr": (r"^unit:mlops-infra-approver\.timer$",),
    "plan.drift": ("^unit:",),
}
"""Check → the resources whose change mends it. Of units only the starting of them."""
_UNLESS: Mapping[str, tuple[str, ...]] = {
    "cri.up": ("^file:/etc/containerd/",),
    "lb.haproxy": ("^file:/etc/haproxy/", "^file:/etc/keepalived/"),
}
"""Check → files that are not ours any more: started with those, a service fails, or serves what nobody declared."""
_SERVING = "kubernetes.io/kubelet-serving"


@dataclass(frozen=True, slots=True)
class ApproverRun:
    """No kubelet waits for its serving certificate: the approver looks at all requests now, by its own rules.

    What it refuses stays, and this fails with it: that one is a person's to judge.
    """

    @property
    def id(self) -> str:
        return "approver:run"

    @property
    def title(self) -> str:
        return "serving certificates of kubelets, by the approver's rules"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({CSRS})

    def diff(self, facts: Facts) -> Change | None:
        waiting = [
            request.get("metadata", {}).get("name", "")
            for request in facts.value(CSRS) or ()
            if request.get("spec", {}).get("signerName") == _SERVING and not request.get("status", {}).get("conditions")
        ]
        if not waiting:
            return None
        run = Shell("run the approver", "systemctl start mlops-infra-approver.service\n", deadline=120)
        return Change(self.id, self.title, Kind.RUN, f"waiting: {', '.join(waiting)}", (run,))


@dataclass(frozen=True, slots=True)
class Repairs:
    """`phases`: what would mend, for an engine of its own; none where nothing can be mended safely.

    `mends`: findings that this should end. `left`: those for a person.
    """

    phases: tuple[Phase, ...]
    mends: tuple[Diagnosed, ...]
    left: tuple[Diagnosed, ...]


def repairs_of(cluster: Cluster, phases: Iterable[Phase], seen: Observation, found: Diagnosis) -> Repairs:
    """What can be mended of a diagnosis. What follows from a cause that cannot be mended is not tried."""
    by_host: dict[str, list[Any]] = {}
    for phase in phases:
        for step in phase.steps:
            by_host.setdefault(step.host, []).extend(step.resources)
    chosen: dict[str, dict[str, Any]] = {}
    mends, left = [], []
    for root in found.findings:
        wanted = _for(cluster, root, by_host, seen)
        if not wanted:
            left.append(root)
            continue
        mends.append(root)
        for one in (root, *root.follows):
            for host, resources in _for(cluster, one, by_host, seen).items():
                chosen.setdefault(host, {}).update({r.id: r for r in resources})
    steps = tuple(
        Step("repair", host, tuple(r for r in _in_order(by_host.get(host, ()), resources)))
        for host, resources in chosen.items()
    )
    made = (Phase("repair", "Repair", steps),) if steps else ()
    return Repairs(made, tuple(mends), tuple(left))


def _for(
    cluster: Cluster, one: Diagnosed, by_host: Mapping[str, list[Any]], seen: Observation
) -> dict[str, tuple[Any, ...]]:
    """Host → resources whose change mends this finding."""
    patterns = SAFE.get(one.check)
    if patterns is None:
        return {}
    hosts = (one.host,) if one.host else one.finding.hosts
    if one.check == "kubelet.csr":
        if not cluster.security.approve_kubelet_certificates:
            return {}
        hosts = tuple(m.name for m in cluster.hosts.masters)
    found = {}
    for host in hosts:
        mine = by_host.get(host, [])
        if host == API or host not in seen.facts or _changed(mine, _UNLESS.get(one.check, ()), seen.of(host)):
            continue
        if wanted := tuple(r for r in _changed(mine, patterns, seen.of(host)) if _is_safe(r)):
            found[host] = wanted
    if one.check == "kubelet.csr":
        found[API] = (ApproverRun(),)
    return found


def _changed(resources: Iterable[Any], patterns: Iterable[str], facts: Facts) -> list[Any]:
    tried = [re.compile(pattern) for pattern in patterns]
    return [r for r in resources if any(p.search(r.id) for p in tried) and r.diff(facts) is not None]


def _is_safe(resource: Any) -> bool:
    return not isinstance(resource, UnitState) or (bool(resource.active) and not resource.masked)


def _in_order(all_of_host: Iterable[Any], chosen: Mapping[str, Any]) -> list[Any]:
    """As `up` would do it: containerd before the kubelet. What `up` does not know comes last."""
    known = [r for r in all_of_host if r.id in chosen]
    ids = {r.id for r in known}
    return [*known, *(r for i, r in chosen.items() if i not in ids)]


def planned(platform: Platform, found: Diagnosis) -> tuple[Repairs, Plan | None]:
    """What would be done, as a plan of the engine that would do it; None where there is nothing.

    Call it after `examine`. Raises InfraError where preflight forbids to write (a cluster that is not ours).
    """
    seen = platform.seen
    repairs = repairs_of(platform.cluster, platform.phases, seen, found)
    if not repairs.phases:
        return repairs, None
    refuse(judge(platform.cluster, {**seen.facts, API: seen.api}))
    platform.narrow(repairs.phases)
    made = platform.engine.plan()
    return repairs, None if made.is_empty else made


def mend(platform: Platform, agreed: Plan | None) -> RunResult:
    """Does it: locked, recorded, proved like a run of `up`. `agreed` as in `app.up.apply`."""
    engine = platform.engine
    with interruptible(engine.interrupt):
        return engine.apply(expected=agreed.digest() if agreed else None)

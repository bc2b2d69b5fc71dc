"""What the phases of cluster components share: where they stand in the program, and what runs on whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops_infra.core import API, FailurePolicy, Phase, Resource, Shell, Step, StepId
from mlops_infra.errors import InfraError
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.control_plane import seed_of
from mlops_infra.resources import ApiObjects, ApiReady

__all__ = ["addon_phase", "installed", "moves_soon", "named", "unlike"]

_SECONDS = 30


def addon_phase(
    cluster: Cluster,
    context: PhaseContext,
    *,
    name: str,
    title: str,
    resources: tuple[Resource, ...],
    needs: frozenset[StepId] = frozenset(),
    after: frozenset[StepId] = frozenset(),
) -> Phase:
    """One step at the API, once the pod network is declared and workers have joined, well or not; `needs` and `after`
    are what it waits for besides."""
    needs |= {StepId("control-plane", seed_of(cluster, context))}
    if cluster.network.cni != "none":
        needs |= {StepId("network", API)}
    after |= {StepId("workers", host.name) for host in cluster.hosts.workers}
    steps = (Step(name, API, resources, needs=needs, after=after),) if resources else ()
    return Phase(name, title, steps, FailurePolicy(1.0))


def installed(
    title: str, objects: Sequence[dict[str, Any]], *, inventory: str, before: tuple[Shell, ...] = ()
) -> tuple[Resource, ...]:
    """A component's objects, and then until its workloads run. No objects: what was installed earlier goes."""
    declared = ApiObjects(title, tuple(objects), inventory=inventory, before=before)
    workloads = tuple(one for one in objects if one["kind"] in {"Deployment", "DaemonSet"})
    return (declared, ApiReady(title, workloads)) if objects else (declared,)


def named(documents: list[dict[str, Any]], kind: str, name: str, *, what: str) -> dict[str, Any]:
    """The object of a manifest. Raises InfraError when the manifest is not what it was."""
    for document in documents:
        if document.get("kind") == kind and document["metadata"]["name"] == name:
            return document
    raise unlike(what, f"no {kind} {name} in it")


def moves_soon(pod: dict[str, Any]) -> None:
    """Pods leave a dead node after half a minute, not after Kubernetes' five: what all others stand on is worth it."""
    pod["tolerations"] = [
        *pod.get("tolerations", ()),
        *(
            {
                "key": f"node.kubernetes.io/{state}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": _SECONDS,
            }
            for state in ("not-ready", "unreachable")
        ),
    ]


def unlike(what: str, why: str) -> InfraError:
    return InfraError(
        f"{what}'s manifest is not what this version of mlops-infra knows",
        details=why,
        cause="`versions` of cluster.yaml names a release whose manifest looks different",
        remedy="use the version that `mlops-infra init` writes",
    )

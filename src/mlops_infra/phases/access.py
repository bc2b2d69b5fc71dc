"""The `access` phase: what viewers and operators may do. Who they are is not declared: `mlops-infra access` grants it.

A viewer reads what Kubernetes' own `view` reads (no Secrets), and the platform's parts that lie outside namespaces. An
operator has `edit` besides, in the namespaces of cluster.yaml alone: in all of them it would be the administrator's
role by another name, since who can start pods in kube-system can take any right there is (docs/how-to/access.md).
"""

from __future__ import annotations

from typing import Any

from mlops_infra.core import API, Phase, Step, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.control_plane import seed_of
from mlops_infra.resources import ApiObjects, Namespaces

__all__ = ["OPERATOR", "VIEWER", "access_phase"]

NAME = "access"
VIEWER = "mlops-infra:viewer"
OPERATOR = "edit"
"""Kubernetes' own role, bound in a namespace."""
_RBAC = "rbac.authorization.k8s.io"
_PART = "mlops-infra-aggregate-to-viewer"
_READ = ("get", "list", "watch")
_OUTSIDE_NAMESPACES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", ("nodes", "persistentvolumes", "namespaces")),
    ("storage.k8s.io", ("storageclasses", "volumeattachments", "csinodes")),
    ("networking.k8s.io", ("ingressclasses",)),
    ("scheduling.k8s.io", ("priorityclasses",)),
    ("apiextensions.k8s.io", ("customresourcedefinitions",)),
    ("metrics.k8s.io", ("nodes", "pods")),
    ("metallb.io", ("*",)),
)


def access_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """One step at the API, as soon as there is one: nothing waits for it, and it waits for no worker."""
    resources = (
        ApiObjects("roles for people", _roles(), inventory="access"),
        # No inventory: a namespace that leaves the list keeps what lives in it.
        Namespaces("operators' namespaces", cluster.access.operator_namespaces, cluster.access.pod_security),
    )
    step = Step(NAME, API, resources, needs=frozenset({StepId("control-plane", seed_of(cluster, context))}))
    return Phase(NAME, "Roles for people", (step,))


def _roles() -> tuple[dict[str, Any], ...]:
    """The viewer's role gathers Kubernetes' parts of `view` (add-ons add to them) and ours."""
    labels = {"app.kubernetes.io/managed-by": "mlops-infra"}
    gathered = [{"matchLabels": {f"{_RBAC}/aggregate-to-view": "true"}}, {"matchLabels": {_PART: "true"}}]
    return (
        _cluster_role("mlops-infra:viewer:platform", {**labels, _PART: "true"}, rules=_rules()),
        _cluster_role(VIEWER, labels, aggregationRule={"clusterRoleSelectors": gathered}),
    )


def _cluster_role(name: str, labels: dict[str, str], **content: Any) -> dict[str, Any]:
    meta = {"name": name, "labels": labels}
    return {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": meta, **content}


def _rules() -> list[dict[str, list[str]]]:
    return [{"apiGroups": [g], "resources": list(kinds), "verbs": list(_READ)} for g, kinds in _OUTSIDE_NAMESPACES]

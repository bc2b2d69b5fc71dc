from collections.abc import Callable
from typing import Any

from mlops_infra.core import API, Facts, StepId
from mlops_infra.model.checks import check_access
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.access import access_phase
from mlops_infra.phases.context import PhaseContext
from mlops_infra.resources import ApiObjects
from mlops_infra.resources.api_objects import probe_of


def objects(cluster: Cluster, context: PhaseContext) -> list[dict[str, Any]]:
    (step,) = access_phase(cluster, context).steps
    return [dict(m) for r in step.resources if isinstance(r, ApiObjects) for m in r.manifests]


def test_a_viewer_only_reads_and_no_secrets(cluster: Cluster, context: PhaseContext) -> None:
    rules = [rule for o in objects(cluster, context) for rule in o.get("rules", ())]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
    assert not {"secrets", "*"} & {kind for rule in rules if rule["apiGroups"] == [""] for kind in rule["resources"]}


def test_the_viewers_role_gathers_kubernetes_own_view_and_never_edit(cluster: Cluster, context: PhaseContext) -> None:
    (viewer,) = [o for o in objects(cluster, context) if o["metadata"]["name"] == "mlops-infra:viewer"]
    gathered = [s["matchLabels"] for s in viewer["aggregationRule"]["clusterRoleSelectors"]]
    assert {"rbac.authorization.k8s.io/aggregate-to-view": "true"} in gathered
    assert not any("edit" in key or "admin" in key for labels in gathered for key in labels)
    assert "rules" not in viewer, "the controller manager fills them in, and they are not ours to judge"


def test_namespaces_of_operators_are_made_and_never_owned(make: Callable[..., Cluster], context: PhaseContext) -> None:
    cluster = make(access={"operator_namespaces": ["shop"], "pod_security": "restricted"})
    (step,) = access_phase(cluster, context).steps
    (own,) = [r for r in step.resources if isinstance(r, ApiObjects) and r.manifests[0]["kind"] == "Namespace"]
    assert own.inventory == "", "taken off the list, a namespace keeps what lives in it"
    assert own.manifests[0]["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    there = {**own.manifests[0], "status": {"phase": "Active"}}
    assert own.diff(Facts({probe_of(own.manifests[0]): there})) is None


def test_access_waits_for_the_first_master_alone(cluster: Cluster, context: PhaseContext) -> None:
    (step,) = access_phase(cluster, context).steps
    assert (step.host, step.needs, step.after) == (API, {StepId("control-plane", "master-1")}, frozenset())


def test_namespaces_of_the_platform_are_refused(make: Callable[..., Cluster]) -> None:
    cluster = make(access={"operator_namespaces": ["shop", "kube-system", "ingress-nginx"]})
    assert [f.keys[-1] for f in check_access(cluster)] == [1, 2]

from collections.abc import Callable
from typing import Any

import pytest

from mlops_infra.core import ABSENT, API, ApiObject, Facts, Probe, StepId
from mlops_infra.model.checks import check_access
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.access import access_phase
from mlops_infra.phases.context import PhaseContext
from mlops_infra.resources import ApiObjects, Namespaces


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


def namespaces(cluster: Cluster, context: PhaseContext) -> Namespaces:
    (step,) = access_phase(cluster, context).steps
    (found,) = [r for r in step.resources if isinstance(r, Namespaces)]
    return found


def test_namespaces_that_we_made_enforce_the_level_and_a_change_of_it_is_drift(
    make: Callable[..., Cluster], context: PhaseContext
) -> None:
    wanted = namespaces(make(access={"operator_namespaces": ["shop"], "pod_security": "restricted"}), context)
    made = {
        "app.kubernetes.io/managed-by": "mlops-infra",
        f"{LEVEL}/enforce": "restricted",
        f"{LEVEL}/warn": "restricted",
    }
    missing = wanted.diff(Facts({SHOP: ABSENT}))
    assert missing is not None and "+ Namespace shop" in missing.diff and f"{LEVEL}/enforce" in missing.diff
    assert wanted.diff(Facts({SHOP: _there(made)})) is None
    loosened = wanted.diff(Facts({SHOP: _there({**made, f"{LEVEL}/enforce": "privileged"})}))
    assert loosened is not None and "enforce: privileged → restricted" in loosened.diff


@pytest.mark.parametrize("name", ["default", "shop"])
def test_a_namespace_that_was_there_before_is_warned_of_and_what_it_enforces_is_its_owners(
    make: Callable[..., Cluster], context: PhaseContext, name: str
) -> None:
    wanted, probe = namespaces(make(access={"operator_namespaces": [name]}), context), _probe(name)
    change = wanted.diff(Facts({probe: _there({}, name)}))
    assert change is not None and f"{LEVEL}/warn: (none) → baseline" in change.diff
    assert "enforce" not in change.diff
    for level in ("privileged", "restricted"):
        labels = {f"{LEVEL}/warn": "baseline", f"{LEVEL}/enforce": level}
        assert wanted.diff(Facts({probe: _there(labels, name)})) is None


def test_default_is_never_ours_whatever_it_says(make: Callable[..., Cluster], context: PhaseContext) -> None:
    wanted = namespaces(make(access={"operator_namespaces": ["default"]}), context)
    label = {"app.kubernetes.io/managed-by": "mlops-infra", f"{LEVEL}/warn": "baseline"}
    assert wanted.diff(Facts({_probe("default"): _there(label, "default")})) is None


def _there(labels: dict[str, str], name: str = "shop") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}, "status": {}}


def _probe(name: str) -> Probe[Any]:
    return ApiObject("v1", "Namespace", name)


SHOP = _probe("shop")
LEVEL = "pod-security.kubernetes.io"


def test_access_waits_for_the_first_master_alone(cluster: Cluster, context: PhaseContext) -> None:
    (step,) = access_phase(cluster, context).steps
    assert (step.host, step.needs, step.after) == (API, {StepId("control-plane", "master-1")}, frozenset())


def test_namespaces_of_the_platform_are_refused(make: Callable[..., Cluster]) -> None:
    cluster = make(access={"operator_namespaces": ["shop", "kube-system", "ingress-nginx"]})
    assert [f.keys[-1] for f in check_access(cluster)] == [1, 2]

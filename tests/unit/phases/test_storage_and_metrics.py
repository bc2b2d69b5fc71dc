"""local-path and metrics-server, as this program describes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mlops_infra.core import API, Facts, Kind, StepId
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.metrics import metrics_objects, metrics_phase
from mlops_infra.phases.monitoring import monitoring_phase
from mlops_infra.phases.storage import storage_objects, storage_phase

Make = Callable[..., Cluster]


def one(objects: tuple[dict[str, Any], ...], kind: str) -> dict[str, Any]:
    (found,) = (o for o in objects if o["kind"] == kind)
    return found


def test_local_path_is_the_default_class_and_waits_for_the_scheduler(make: Make) -> None:
    made = one(storage_objects(make(storage={"class": "local-path"})), "StorageClass")
    assert made["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
    assert made["volumeBindingMode"] == "WaitForFirstConsumer"


def test_volumes_lie_where_cluster_yaml_says(make: Make) -> None:
    made = one(storage_objects(make(storage={"class": "local-path", "path": "/data/volumes"})), "ConfigMap")["data"]
    assert json.loads(made["config.json"])["nodePathMap"][0]["paths"] == ["/data/volumes"]
    helper = json.loads(made["helperPod.yaml"])["spec"]
    assert helper["tolerations"] == [{"operator": "Exists"}]
    assert helper["containers"][0]["image"].startswith("docker.io/")


def test_another_path_makes_the_provisioner_anew(make: Make) -> None:
    pods = [
        one(storage_objects(make(storage={"class": "local-path", "path": path})), "Deployment")["spec"]["template"]
        for path in ("/a", "/b")
    ]
    assert pods[0]["metadata"]["annotations"] != pods[1]["metadata"]["annotations"]


def test_a_class_of_the_users_own_and_none_take_ours_away(make: Make, context: PhaseContext) -> None:
    for name in ("none", "nfs"):
        (step,) = storage_phase(make(storage={"class": name}), context).steps
        (only,) = step.resources
        assert step.host == API
        assert only.diff(Facts()) is None
    (step,) = storage_phase(make(storage={"class": "local-path"}), context).steps
    change = step.resources[0].diff(Facts())
    assert change is not None
    assert change.kind is Kind.CREATE


def test_without_workers_nothing_is_installed(make: Make, context: PhaseContext) -> None:
    hosts = {"masters": [{"name": "m", "address": "10.0.0.9"}]}
    cluster = make(hosts=hosts, storage={"class": "local-path"}, metrics={"enabled": True})
    for phase in (storage_phase(cluster, context), metrics_phase(cluster, context)):
        assert [r.diff(Facts()) for step in phase.steps for r in step.resources] == [None]


def test_metrics_server_trusts_the_clusters_ca_and_nothing_else(cluster: Cluster) -> None:
    pod = one(metrics_objects(cluster), "Deployment")["spec"]["template"]["spec"]
    args = pod["containers"][0]["args"]
    assert not [a for a in args if "insecure" in a]
    (authority,) = (a.partition("=")[2] for a in args if a.startswith("--kubelet-certificate-authority="))
    mounts = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
    volume = mounts[authority.removesuffix("/ca.crt")]
    assert {"name": volume, "configMap": {"name": "kube-root-ca.crt"}} in pod["volumes"]


def test_the_metrics_api_leads_to_the_service_that_is_made(cluster: Cluster) -> None:
    objects = metrics_objects(cluster)
    api, service = one(objects, "APIService"), one(objects, "Service")
    assert api["spec"]["service"] == {k: service["metadata"][k] for k in ("name", "namespace")}
    selected = service["spec"]["selector"]
    assert one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"] == selected


def test_what_removes_volumes_goes_after_what_claims_them(make: Make, context: PhaseContext) -> None:
    (gone,) = storage_phase(make(storage={"class": "none"}), context).steps
    (there,) = storage_phase(make(storage={"class": "local-path"}), context).steps
    assert StepId("monitoring", API) in gone.after
    assert StepId("monitoring", API) not in there.after


def test_who_claims_a_volume_comes_after_what_makes_it(make: Make, context: PhaseContext) -> None:
    """Installed the other way round, Prometheus waited four minutes for its volume and failed."""
    storage = StepId("storage", API)
    (ours,) = monitoring_phase(make(storage={"class": "local-path"}), context).steps
    (other,) = monitoring_phase(make(storage={"class": "ceph"}), context).steps
    (gone,) = monitoring_phase(make(storage={"class": "local-path"}, monitoring={"enabled": False}), context).steps
    assert storage in ours.needs
    assert storage not in other.needs | gone.needs

"""What cluster.yaml switches on beside the platform: storage, metrics, monitoring. Where it is off nothing is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlops_infra.core import ApiObject, Probe
from mlops_infra.doctor.check import Check, Severity, Skipped, Verdict
from mlops_infra.doctor.network import deployment_runs
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.host_exporters import is_wanted

__all__ = ["ADDONS"]


def _deployment(name: str, namespace: str) -> ApiObject:
    return ApiObject("apps/v1", "Deployment", name, namespace)


def _monitoring(cluster: Cluster) -> bool:
    return is_wanted(cluster)


def _metrics(cluster: Cluster) -> bool:
    return cluster.metrics.enabled and bool(cluster.hosts.workers)


def _storage(cluster: Cluster) -> bool:
    return cluster.storage.is_ours and bool(cluster.hosts.workers)


def _runs(
    probe: ApiObject, what: str, group: str, is_on: Callable[[Cluster], bool]
) -> tuple[Callable[[View, str], Verdict], Callable[[Cluster], frozenset[Probe[Any]]]]:
    """The verdict over one Deployment, and its question: both only where it is switched on, and has a worker."""

    def judge(view: View, _: str) -> Verdict:
        if not is_on(view.cluster):
            return Skipped(f"cluster.yaml has no {group}, or no worker for it")
        return deployment_runs(view, probe, what, f"mlops-infra {group} apply")

    return judge, lambda cluster: frozenset({probe} if is_on(cluster) else ())


def _check(id_: str, title: str, explanation: str, probe: ApiObject, is_on: Callable[[Cluster], bool]) -> Check:
    what = title.removeprefix("Does ").removesuffix(" run?")
    judge, asks = _runs(probe, what, id_.partition(".")[0], is_on)
    return Check(
        id_,
        title,
        Severity.WARNING,
        judge,
        explanation,
        scope="cluster",
        api=asks,
        depends_on=("node.ready", "cri.up", "kubelet.up", "cni.flannel", "dns.cluster", "api.lb"),
    )


ADDONS: tuple[Check, ...] = (
    _check(
        "storage.provisioner",
        "Does the provisioner of volumes run?",
        "Without it new claims wait; volumes that are there go on.",
        _deployment("local-path-provisioner", "local-path-storage"),
        _storage,
    ),
    _check(
        "metrics.server",
        "Does metrics-server run?",
        "`kubectl top` and autoscaling ask it.",
        _deployment("metrics-server", "kube-system"),
        _metrics,
    ),
    _check(
        "monitoring.prometheus",
        "Does Prometheus run?",
        "It collects the metrics and judges the alerts: while it is away nobody is told of anything.",
        _deployment("prometheus", "monitoring"),
        _monitoring,
    ),
    _check(
        "monitoring.alertmanager",
        "Does Alertmanager run?",
        "It tells people of alerts.",
        _deployment("alertmanager", "monitoring"),
        _monitoring,
    ),
    _check(
        "monitoring.grafana",
        "Does Grafana run?",
        "It shows the dashboards; nothing else needs it.",
        _deployment("grafana", "monitoring"),
        _monitoring,
    ),
)

"""Alertmanager: who is told of what, and where."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from mlops_infra.core import Secret
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.receivers import Receiver
from mlops_infra.phases.addons import moves_soon
from mlops_infra.phases.objects import NOBODY, container, deployment, labels, metadata, pod_security, port, service
from mlops_infra.phases.prometheus import NAMESPACE, apart_from_others, balanced
from mlops_infra.render import render

__all__ = [
    "ALERTMANAGER",
    "TEST_PREFIX",
    "alertmanager_config",
    "alertmanager_image",
    "alertmanager_objects",
    "opaque",
    "secret_name",
]

ALERTMANAGER = "alertmanager"
TEST_PREFIX = "test of "
"""Before a receiver's name: the one that only test alerts go to."""
_PEERS = "alertmanager-peers"


def alertmanager_image(cluster: Cluster) -> str:
    return f"quay.io/prometheus/alertmanager:v{cluster.versions.alertmanager}"


def secret_name(receiver: Receiver, way: str) -> str:
    """The name under which a receiver's secret is known; `way` is email, slack, webhook or pagerduty."""
    return f"receiver-{receiver.name}-{way}"


def alertmanager_objects(cluster: Cluster, secrets: Mapping[str, Secret], *, mark: str) -> tuple[dict[str, Any], ...]:
    """`mark` is another one when the configuration changes, and tells nothing of its secrets."""
    # Two know of each other's silences and of what was sent: one dies, and an alert arrives all the same.
    replicas = min(2, len(cluster.hosts.workers))
    return (
        opaque("alertmanager", {"alertmanager.yml": alertmanager_config(cluster, secrets)}),
        _deployment(cluster, replicas, mark),
        service(ALERTMANAGER, NAMESPACE, ALERTMANAGER, (port("web", 9093),), type="ClusterIP"),
        service(
            _PEERS, NAMESPACE, ALERTMANAGER, (port("mesh", 9094),),
            type="ClusterIP", clusterIP="None", publishNotReadyAddresses=True,
        ),
        balanced(cluster, "alertmanager-lb", ALERTMANAGER, 9093),
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(ALERTMANAGER, NAMESPACE),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels(ALERTMANAGER)}},
        },
    )  # fmt: skip


def opaque(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    """A Secret of the namespace."""
    data = {key: base64.b64encode(text.encode()).decode() for key, text in files.items()}
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata(name, NAMESPACE), "type": "Opaque", "data": data
    }  # fmt: skip


def alertmanager_config(cluster: Cluster, secrets: Mapping[str, Secret]) -> str:
    """alertmanager.yml; it holds the receivers' secrets."""
    found = {
        (receiver.name, way): secrets[secret_name(receiver, way)].reveal()
        for receiver in cluster.monitoring.receivers
        for way in ("email", "slack", "webhook", "pagerduty")
        if secret_name(receiver, way) in secrets
    }
    delay, receivers = cluster.monitoring.alert_delay, cluster.monitoring.receivers
    return render(
        "monitoring/alertmanager.yml.j2",
        receivers=receivers,
        named=[(r, r.name) for r in receivers] + [(r, TEST_PREFIX + r.name) for r in receivers if not r.watchdog],
        test_prefix=TEST_PREFIX,
        secrets=found,
        group_wait=f"{max(round(30 * delay), 1)}s",
        group_interval=f"{max(round(300 * delay), 1)}s",
    )


def _deployment(cluster: Cluster, replicas: int, mark: str) -> dict[str, Any]:
    mesh = (
        "--cluster.listen-address=0.0.0.0:9094",
        "--cluster.advertise-address=$(POD_IP):9094",
        f"--cluster.peer={_PEERS}.{NAMESPACE}.svc.{cluster.network.dns_domain}:9094",
        "--cluster.reconnect-timeout=5m",
    )
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "securityContext": pod_security(NOBODY, owns_volumes=True),
        "affinity": apart_from_others(ALERTMANAGER, ("prometheus",)),
        "containers": [
            container(
                ALERTMANAGER,
                alertmanager_image(cluster),
                (
                    "--config.file=/etc/alertmanager/alertmanager.yml",
                    "--storage.path=/alertmanager",
                    # Who was told, and not only by what means: `monitoring alerts test` looks at it.
                    "--enable-feature=receiver-name-in-metrics",
                    *(mesh if replicas > 1 else ("--cluster.listen-address=",)),
                ),
                ports={"web": 9093, "mesh": 9094},
                cpu="10m",
                memory="32Mi",
                mounts={"/alertmanager": "data", "/etc/alertmanager": "config"},
                ready=("/-/ready", "web"),
                alive=("/-/healthy", "web"),
                env=[{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            )
        ],
        "volumes": [
            {"name": "data", "emptyDir": {}},
            {"name": "config", "secret": {"secretName": "alertmanager"}},
        ],
    }  # fmt: skip
    moves_soon(pod)
    return deployment(ALERTMANAGER, NAMESPACE, pod, replicas=replicas, notes={"mlops-infra/config": mark})

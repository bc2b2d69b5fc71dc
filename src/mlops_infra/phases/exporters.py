"""Who measures in the cluster: node-exporter on every node, and kube-state-metrics."""

from __future__ import annotations

from typing import Any

from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.addons import moves_soon
from mlops_infra.phases.host_exporters import TEXTFILES
from mlops_infra.phases.objects import (
    NOBODY,
    account,
    cluster_role,
    cluster_role_binding,
    config_map,
    container,
    daemon_set,
    deployment,
    digest,
    pod_security,
    rule,
)
from mlops_infra.phases.prometheus import NAMESPACE
from mlops_infra.render import plain_templates

__all__ = ["exporter_images", "kube_state_metrics_objects", "node_exporter_objects"]

_STATE = "kube-state-metrics"
_NODE = "node-exporter"


def exporter_images(cluster: Cluster) -> tuple[str, str]:
    versions = cluster.versions
    return (
        f"quay.io/prometheus/node-exporter:v{versions.node_exporter}",
        f"registry.k8s.io/kube-state-metrics/kube-state-metrics:v{versions.kube_state_metrics}",
    )


def node_exporter_objects(cluster: Cluster) -> tuple[dict[str, Any], ...]:
    # Not what lives for a container's life, and not what is mounted once more for each.
    mounts = "^/(dev|proc|sys|run|var/lib/(docker|containerd|kubelet)/.+)($|/)"
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "hostNetwork": True,
        "hostPID": True,
        "priorityClassName": "system-node-critical",
        "securityContext": {"runAsNonRoot": True, "runAsUser": NOBODY},
        "tolerations": [{"operator": "Exists"}],
        "containers": [
            container(
                _NODE,
                exporter_images(cluster)[0],
                (
                    "--path.rootfs=/host",
                    f"--collector.textfile.directory=/host{TEXTFILES}",
                    f"--collector.filesystem.mount-points-exclude={mounts}",
                    "--collector.netclass.ignored-devices=^(veth.*)$",
                    "--collector.netdev.device-exclude=^(veth.*)$",
                    "--no-collector.wifi",
                ),
                ports={"metrics": 9100},
                cpu="10m",
                memory="24Mi",
                ready=("/", "metrics"),
                volumeMounts=[
                    {"name": "root", "mountPath": "/host", "readOnly": True, "mountPropagation": "HostToContainer"}
                ],
            )
        ],
        "volumes": [{"name": "root", "hostPath": {"path": "/"}}],
    }
    return (daemon_set(_NODE, NAMESPACE, pod),)


def kube_state_metrics_objects(cluster: Cluster) -> tuple[dict[str, Any], ...]:
    """It tells of the API's objects, and of the cluster's events (templates/monitoring/events.yaml)."""
    events, image = plain_templates("monitoring", ".yaml")["events"], exporter_images(cluster)[1]
    pod: dict[str, Any] = {
        "serviceAccountName": _STATE,
        "securityContext": pod_security(NOBODY),
        "containers": [
            container(
                _STATE,
                image,
                ("--port=8080", "--telemetry-port=8081", f"--resources={','.join(_RESOURCES)}"),
                ports={"metrics": 8080, "telemetry": 8081},
                cpu="20m",
                memory="48Mi",
                ready=("/metrics", "telemetry"),
                alive=("/livez", "metrics"),
            ),
            # Apart: told of custom resources it says nothing at all before the cluster has its first own type.
            container(
                "events",
                image,
                (
                    "--port=8082",
                    "--telemetry-port=8083",
                    "--custom-resource-state-only",
                    "--custom-resource-state-config-file=/etc/kube-state-metrics/events.yaml",
                ),
                ports={"events": 8082, "telemetry-ev": 8083},
                cpu="10m",
                memory="32Mi",
                mounts={"/etc/kube-state-metrics": "config"},
                ready=("/metrics", "telemetry-ev"),
                alive=("/livez", "events"),
            ),
        ],
        "volumes": [{"name": "config", "configMap": {"name": _STATE}}],
    }  # fmt: skip
    moves_soon(pod)
    look = "list watch"
    return (
        account(_STATE, NAMESPACE),
        cluster_role(
            "mlops-infra-kube-state-metrics",
            (
                rule(
                    "core",
                    "configmaps endpoints limitranges namespaces nodes persistentvolumeclaims persistentvolumes pods "
                    "replicationcontrollers resourcequotas services",
                    look,
                ),
                rule("apps", "daemonsets deployments replicasets statefulsets", look),
                rule("batch", "cronjobs jobs", look),
                rule("autoscaling", "horizontalpodautoscalers", look),
                rule("policy", "poddisruptionbudgets", look),
                rule("certificates.k8s.io", "certificatesigningrequests", look),
                rule("storage.k8s.io", "storageclasses volumeattachments", look),
                rule("networking.k8s.io", "ingresses", look),
                rule("events.k8s.io", "events", look),
                rule("apiextensions.k8s.io", "customresourcedefinitions", look),
            ),
        ),
        cluster_role_binding(
            "mlops-infra-kube-state-metrics", "mlops-infra-kube-state-metrics", NAMESPACE, _STATE
        ),
        config_map(_STATE, NAMESPACE, {"events.yaml": events}),
        deployment(_STATE, NAMESPACE, pod, notes={"mlops-infra/config": digest(events)}),
    )  # fmt: skip


_RESOURCES = (
    "certificatesigningrequests", "configmaps", "cronjobs", "daemonsets", "deployments", "endpoints",
    "horizontalpodautoscalers", "ingresses", "jobs", "limitranges", "namespaces", "nodes", "persistentvolumeclaims",
    "persistentvolumes", "poddisruptionbudgets", "pods", "replicasets", "replicationcontrollers", "resourcequotas",
    "services", "statefulsets", "storageclasses", "volumeattachments",
)  # fmt: skip
"""All that is told of; not Secrets, which it would have to be allowed to read."""

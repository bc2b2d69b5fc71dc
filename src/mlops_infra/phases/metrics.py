"""The `metrics` phase: metrics-server, for `kubectl top` and horizontal autoscaling.

It asks the kubelets, and trusts their serving certificates by the cluster's CA, which signs them once the approver has
looked at each: `--kubelet-insecure-tls` is not needed, and not used.
"""

from __future__ import annotations

from typing import Any

from mlops_infra.core import Phase
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.addons import addon_phase, installed, moves_soon
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.objects import (
    account,
    cluster_role,
    cluster_role_binding,
    container,
    deployment,
    metadata,
    pod_security,
    port,
    role_binding,
    rule,
    service,
)

__all__ = ["metrics_images", "metrics_objects", "metrics_phase"]

NAME = "metrics"
_SERVER = "metrics-server"
_NAMESPACE = "kube-system"
_ROOT_CA = "kube-root-ca.crt"
"""Kubernetes puts the cluster's CA into a ConfigMap of this name in every namespace."""


def metrics_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """Its pod needs a worker: without any, as where it is switched off, only what was installed earlier goes."""
    objects = metrics_objects(cluster) if cluster.metrics.enabled and cluster.hosts.workers else ()
    resources = installed(_SERVER, objects, inventory=NAME)
    return addon_phase(cluster, context, name=NAME, title="Metrics API", resources=resources)


def metrics_images(cluster: Cluster) -> tuple[str, ...]:
    return (f"registry.k8s.io/metrics-server/metrics-server:v{cluster.versions.metrics_server}",)


def metrics_objects(cluster: Cluster) -> tuple[dict[str, Any], ...]:
    reader = "system:aggregated-metrics-reader"
    kinds = ("view", "edit", "admin")
    return (
        account(_SERVER, _NAMESPACE),
        cluster_role(
            reader,
            (rule("metrics.k8s.io", "pods nodes"),),
            labels={f"rbac.authorization.k8s.io/aggregate-to-{kind}": "true" for kind in kinds},
        ),
        cluster_role("system:metrics-server", (rule("core", "nodes/metrics", "get"), rule("core", "pods nodes"))),
        cluster_role_binding("system:metrics-server", "system:metrics-server", _NAMESPACE, _SERVER),
        cluster_role_binding("metrics-server:system:auth-delegator", "system:auth-delegator", _NAMESPACE, _SERVER),
        role_binding(
            "metrics-server-auth-reader", "Role", "extension-apiserver-authentication-reader", _NAMESPACE, _SERVER
        ),
        service(_SERVER, _NAMESPACE, _SERVER, (port("https", 443),)),
        _deployment(cluster),
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": metadata("v1beta1.metrics.k8s.io"),
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "service": {"name": _SERVER, "namespace": _NAMESPACE},
                # It signs its own certificate at every start, as upstream has it; the API server proves itself to it.
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    )


def _deployment(cluster: Cluster) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "serviceAccountName": _SERVER,
        "priorityClassName": "system-cluster-critical",
        "securityContext": pod_security(1000),
        "containers": [
            container(
                _SERVER,
                metrics_images(cluster)[0],
                (
                    "--cert-dir=/tmp",
                    "--secure-port=10250",
                    "--kubelet-preferred-address-types=InternalIP",
                    "--kubelet-use-node-status-port",
                    "--kubelet-certificate-authority=/etc/kubernetes-ca/ca.crt",
                    "--metric-resolution=15s",
                ),
                ports={"https": 10250},
                cpu="50m",
                memory="64Mi",
                mounts={"/tmp": "tmp", "/etc/kubernetes-ca": "ca"},  # noqa: S108 - in the container
                ready=("/readyz", "https"),
                alive=("/livez", "https"),
            )
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "ca", "configMap": {"name": _ROOT_CA}}],
    }
    moves_soon(pod)
    return deployment(_SERVER, _NAMESPACE, pod)

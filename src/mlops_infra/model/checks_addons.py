"""Checks of storage, metrics and monitoring: what would be installed and could not do its work."""

from __future__ import annotations

from collections.abc import Iterator

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.finding import Finding
from mlops_infra.model.tree import Keys

__all__ = ["check_addons"]


def check_addons(cluster: Cluster) -> Iterator[Finding]:
    """Everything about the add-ons that one key alone cannot tell; what is switched off is not complained about."""
    if cluster.metrics.enabled:
        yield from _check_metrics(cluster)
    if cluster.monitoring.enabled:
        yield from _check_monitoring(cluster)
        yield from _check_ports(cluster)
        yield from _check_receivers(cluster)


def _check_metrics(cluster: Cluster) -> Iterator[Finding]:
    if not cluster.security.approve_kubelet_certificates:
        message = "nobody approves the kubelets' serving certificates, and metrics-server trusts no others"
        hint = "approve them yourself (`kubectl certificate approve`), or set it to true"
        yield Finding(("security", "approve_kubelet_certificates"), message, hint, warning=True)


def _check_monitoring(cluster: Cluster) -> Iterator[Finding]:
    if not cluster.storage.claimed:
        message = "without a storage class Prometheus forgets everything when its pod moves"
        yield Finding(("storage", "class"), message, "set it to `local-path`, or to a class of yours", warning=True)
    if not cluster.security.expose_metrics:
        message = (
            "etcd, the scheduler, the controller manager and kube-proxy give no metrics: their alerts are left out"
        )
        yield Finding(("security", "expose_metrics"), message, "", warning=True)
    if not cluster.hosts.workers:
        yield Finding(("monitoring", "enabled"), "there are no workers to run monitoring on", "", warning=True)


def _check_ports(cluster: Cluster) -> Iterator[Finding]:
    ingress, monitoring = cluster.lb.ingress, cluster.monitoring
    ports: tuple[tuple[Keys, int], ...] = (
        (("lb", "ingress", "http_node_port"), ingress.http_node_port),
        (("lb", "ingress", "https_node_port"), ingress.https_node_port),
        (("monitoring", "prometheus", "node_port"), monitoring.prometheus.node_port),
        (("monitoring", "grafana", "node_port"), monitoring.grafana.node_port),
    )
    for index, (keys, port) in enumerate(ports[2:], start=2):
        for other, taken in ports[:index]:
            if port == taken:
                yield Finding(keys, f"port {port} is taken by `{'.'.join(map(str, other))}`")


def _check_receivers(cluster: Cluster) -> Iterator[Finding]:
    receivers = cluster.monitoring.receivers
    if not any(not r.watchdog for r in receivers):
        message = "alerts fire and nobody is told: there is no receiver"
        yield Finding(("monitoring", "receivers"), message, "name an e-mail address, Slack, PagerDuty or a webhook",
                      warning=True, at_key=True)  # fmt: skip
    seen: set[str] = set()
    for index, receiver in enumerate(receivers):
        if receiver.name in seen:
            yield Finding(("monitoring", "receivers", index, "name"), f"two receivers are called `{receiver.name}`")
        seen.add(receiver.name)
        if receiver.email and bool(receiver.email.user) != bool(receiver.email.password):
            message = "a mail server's `user` and `password` go together"
            yield Finding(("monitoring", "receivers", index, "email"), message, at_key=True)

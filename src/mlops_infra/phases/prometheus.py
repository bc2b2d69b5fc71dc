"""Prometheus: its configuration, its volume, and the ways to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.monitoring import seconds_of, size_of
from mlops_infra.phases.addons import moves_soon
from mlops_infra.phases.alert_rules import alert_rules
from mlops_infra.phases.objects import (
    NAME_LABEL,
    NOBODY,
    account,
    cluster_role,
    cluster_role_binding,
    config_map,
    container,
    deployment,
    digest,
    metadata,
    pod_security,
    port,
    rule,
    service,
)
from mlops_infra.render import render

__all__ = [
    "NAMESPACE",
    "PROMETHEUS",
    "apart_from_others",
    "balanced",
    "prometheus_config",
    "prometheus_image",
    "prometheus_objects",
]

NAMESPACE = "monitoring"
PROMETHEUS = "prometheus"
_CLAIM = "prometheus"
_USED_SHARE = 0.8
"""Of the volume: the write-ahead log and a compaction under way need the rest."""
_SCRAPE_TIMEOUT = 10


def prometheus_image(cluster: Cluster) -> str:
    return f"quay.io/prometheus/prometheus:v{cluster.versions.prometheus}"


def prometheus_objects(cluster: Cluster, own_rules: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
    settings = cluster.monitoring.prometheus
    config, rules = prometheus_config(cluster), alert_rules(cluster, own_rules)
    return (
        account(PROMETHEUS, NAMESPACE),
        cluster_role(
            "mlops-infra-prometheus",
            (
                rule("core", "nodes nodes/metrics services endpoints pods"),
                {"nonResourceURLs": ["/metrics", "/metrics/cadvisor"], "verbs": ["get"]},
            ),
        ),
        cluster_role_binding("mlops-infra-prometheus", "mlops-infra-prometheus", NAMESPACE, PROMETHEUS),
        config_map("prometheus", NAMESPACE, {"prometheus.yml": config}),
        config_map("prometheus-rules", NAMESPACE, rules),
        *_claim(cluster),
        _deployment(cluster, digest(config, *rules.keys(), *rules.values())),
        service(
            "prometheus-server", NAMESPACE, PROMETHEUS, (port("web", 9090, nodePort=settings.node_port),),
            type="NodePort",
        ),
        balanced(cluster, "prometheus-server-lb", PROMETHEUS, 9090),
    )  # fmt: skip


def prometheus_config(cluster: Cluster) -> str:
    """prometheus.yml."""
    interval = cluster.monitoring.prometheus.scrape_interval
    return render(
        "monitoring/prometheus.yml.j2",
        cluster=cluster.name,
        namespace=NAMESPACE,
        interval=interval,
        timeout=f"{min(seconds_of(interval), _SCRAPE_TIMEOUT)}s",
        masters=[(h.node_address, h.name) for h in cluster.hosts.masters],
        balancers=[(h.node_address, h.name) for h in cluster.hosts.lb],
        stats_port=cluster.lb.stats.port,
        exposed=cluster.security.expose_metrics,
        ingress=cluster.ingress.controller != "none",
        metallb=cluster.metallb.enabled,
    )


def balanced(cluster: Cluster, name: str, selects: str, number: int) -> dict[str, Any]:
    """At an address of MetalLB's, for those who are let in: none of these programs asks who somebody is, but Grafana.

    `Local`: the client's address stays, which is what it is let in by.
    """
    return service(
        name, NAMESPACE, selects, (port("web", number),),
        type="LoadBalancer", externalTrafficPolicy="Local", loadBalancerSourceRanges=list(_let_in(cluster)),
    )  # fmt: skip


def apart_from_others(name: str, others: Iterable[str]) -> dict[str, Any]:
    """An affinity: not on the node of another pod of the kind, and rather not beside the others."""
    return {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [_keep_off((name,), 100), _keep_off(others, 50)]
        }
    }


def _keep_off(names: Iterable[str], weight: int) -> dict[str, Any]:
    chosen = {"matchExpressions": [{"key": NAME_LABEL, "operator": "In", "values": list(names)}]}
    return {
        "weight": weight,
        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": chosen},
    }


def _let_in(cluster: Cluster) -> Iterable[str]:
    if cluster.monitoring.allow_from:
        return cluster.monitoring.allow_from
    if cluster.network.node_cidr:
        return (cluster.network.node_cidr,)
    return (f"{host.node_address}/{128 if ':' in host.node_address else 32}" for host in cluster.all_hosts)


def _claim(cluster: Cluster) -> Iterable[dict[str, Any]]:
    if not cluster.storage.claimed:
        return
    yield {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(_CLAIM, NAMESPACE),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": cluster.storage.claimed,
            "resources": {"requests": {"storage": cluster.monitoring.prometheus.volume}},
        },
    }


def _deployment(cluster: Cluster, config: str) -> dict[str, Any]:
    settings = cluster.monitoring.prometheus
    kept = int(size_of(settings.volume) * _USED_SHARE) // 2**20
    data: dict[str, Any] = (
        {"persistentVolumeClaim": {"claimName": _CLAIM}}
        if cluster.storage.claimed
        else {"emptyDir": {"sizeLimit": settings.volume}}
    )
    pod: dict[str, Any] = {
        "serviceAccountName": PROMETHEUS,
        "securityContext": pod_security(NOBODY, owns_volumes=True),
        "affinity": apart_from_others(PROMETHEUS, ("alertmanager", "grafana")),
        # The write-ahead log is closed properly, or read again for minutes at the next start.
        "terminationGracePeriodSeconds": 300,
        "containers": [
            container(
                PROMETHEUS,
                prometheus_image(cluster),
                (
                    "--config.file=/etc/prometheus/config/prometheus.yml",
                    "--storage.tsdb.path=/prometheus",
                    f"--storage.tsdb.retention.time={settings.retention}",
                    f"--storage.tsdb.retention.size={kept}MB",
                    f"--web.external-url=http://{cluster.hosts.workers[0].node_address}:{settings.node_port}/",
                ),
                ports={"web": 9090},
                cpu="100m",
                memory="400Mi",
                mounts={
                    "/prometheus": "data",
                    "/etc/prometheus/config": "config",
                    "/etc/prometheus/rules": "rules",
                },
                ready=("/-/ready", "web"),
                alive=("/-/healthy", "web"),
                startupProbe={
                    "httpGet": {"path": "/-/ready", "port": "web", "scheme": "HTTP"},
                    "periodSeconds": 2,
                    # Reading a large write-ahead log takes its time.
                    "failureThreshold": 450,
                    "timeoutSeconds": 3,
                },
            )
        ],
        "volumes": [
            {"name": "data", **data},
            {"name": "config", "configMap": {"name": "prometheus"}},
            {"name": "rules", "configMap": {"name": "prometheus-rules"}},
        ],
    }  # fmt: skip
    moves_soon(pod)
    # Two at once would fight over the volume.
    notes = {"mlops-infra/config": config}
    return deployment(PROMETHEUS, NAMESPACE, pod, notes=notes, strategy={"type": "Recreate"})

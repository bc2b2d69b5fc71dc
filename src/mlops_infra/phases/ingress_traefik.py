"""Traefik where ingress-nginx was: its own provider reads the Ingresses of that class, and most of their annotations.

Upstream offers a Helm chart and no manifest, so the objects are described here. Flags, rights and defaults are those of
the release 3.7 (https://doc.traefik.io/traefik/v3.7/reference/install-configuration/configuration-options/).
"""

from __future__ import annotations

from typing import Any

from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.addons import moves_soon
from mlops_infra.phases.ingress_entrance import BALANCED, NAMESPACE, SELECTED, leaving_early, spread
from mlops_infra.phases.objects import (
    account,
    cluster_role,
    cluster_role_binding,
    config_map,
    container,
    deployment,
    digest,
    rule,
)
from mlops_infra.render import render

__all__ = ["TRAEFIK", "objects", "traefik_images"]

TRAEFIK = "traefik"
_IMAGE = "docker.io/library/traefik"
_ROLE = "mlops-infra-traefik"
_LABELS = {**SELECTED, "app.kubernetes.io/instance": TRAEFIK}
"""Another instance than ingress-nginx's: neither Deployment takes the other's pods for its own."""
_PORTS = {"http": 8080, "https": 8443, "metrics": 10254}
_USER = 65532
_HEALTH = "/etc/traefik/health.yaml"
_GRACE = 10
"""Seconds for which one that was told to end still takes requests while its health says no: as ingress-nginx does."""
_LAST_REQUESTS = 240
"""Seconds that running requests then have, as with ingress-nginx."""
_READ = 600
"""Seconds for the whole of a request. Traefik's own 60 would cut uploads that ingress-nginx, which counts the pause
between two reads, lets through."""


def objects(cluster: Cluster) -> tuple[dict[str, Any], ...]:
    """What is Traefik's alone; the rest is `ingress_entrance.entrance`."""
    health = render("ingress/traefik-health.yaml.j2", host=cluster.endpoint_name, path=cluster.ingress.health_path)
    watched = "services secrets configmaps"
    return (
        account(TRAEFIK, NAMESPACE),
        cluster_role(
            _ROLE,
            (
                rule("core", watched, "list watch"),
                rule("discovery.k8s.io", "endpointslices", "list watch"),
                rule("networking.k8s.io", "ingresses ingressclasses", "list watch"),
                rule("networking.k8s.io", "ingresses/status", "update"),
            ),
        ),
        cluster_role_binding(_ROLE, _ROLE, NAMESPACE, TRAEFIK),
        config_map(TRAEFIK, NAMESPACE, {"health.yaml": health}),
        _deployment(cluster, digest(health)),
    )


def traefik_images(cluster: Cluster) -> tuple[str, ...]:
    return (cluster.ingress.traefik_image or f"{_IMAGE}:v{cluster.versions.traefik}",)


def _deployment(cluster: Cluster, notes: str) -> dict[str, Any]:
    (image,) = traefik_images(cluster)
    program = container(
        TRAEFIK, image, _arguments(), ports=_PORTS, cpu="100m", memory="90Mi",
        mounts={"/etc/traefik": "health", "/tmp": "scratch"},  # noqa: S108 - bodies of requests that are buffered
        ready=(cluster.ingress.health_path, "metrics"), alive=(cluster.ingress.health_path, "metrics"),
    )  # fmt: skip
    # It answers for itself before it has read the Ingresses.
    program["readinessProbe"]["initialDelaySeconds"] = 3
    leaving_early(program)
    pod: dict[str, Any] = {
        "serviceAccountName": TRAEFIK,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": _GRACE + _LAST_REQUESTS + 50,
        "containers": [program],
        "volumes": [{"name": "health", "configMap": {"name": TRAEFIK}}, {"name": "scratch", "emptyDir": {}}],
    }
    moves_soon(pod)
    spread(pod)
    made = deployment(TRAEFIK, NAMESPACE, pod, replicas=cluster.ingress.replicas, notes={"mlops-infra.io/files": notes})
    made["metadata"]["labels"] = dict(_LABELS)
    made["spec"]["selector"] = {"matchLabels": dict(_LABELS)}
    made["spec"]["template"]["metadata"]["labels"] = dict(_LABELS)
    return made


def _arguments() -> list[str]:
    provider = "--providers.kubernetesingressnginx"
    words = [
        provider,
        # Without these two Ingresses would be served at the port of metrics as well.
        f"{provider}.httpentrypoint=http",
        f"{provider}.httpsentrypoint=https",
        f"{provider}.publishservice={NAMESPACE}/{BALANCED}",
        f"--providers.file.filename={_HEALTH}",
        "--providers.file.watch=false",
        "--ping.manualrouting=true",
        "--metrics.prometheus.entrypoint=metrics",
        "--accesslog=true",
        "--log.level=INFO",
        # It would ask and tell people outside.
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]
    for name, number in _PORTS.items():
        ends = f"--entrypoints.{name}.transport"
        words += [
            f"--entrypoints.{name}.address=:{number}",
            f"{ends}.lifecycle.requestacceptgracetimeout={_GRACE}s",
            f"{ends}.lifecycle.gracetimeout={_LAST_REQUESTS}s",
        ]
        if name != "metrics":
            words.append(f"{ends}.respondingtimeouts.readtimeout={_READ}s")
    return words

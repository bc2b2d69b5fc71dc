"""ingress-nginx's own manifest, patched where this platform differs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.addons import moves_soon, named, unlike
from mlops_infra.phases.host_exporters import is_wanted
from mlops_infra.phases.ingress_entrance import NODE_PORTS, balanced, budget, leaving_early, selecting, spread
from mlops_infra.render import parse_documents

__all__ = ["CONTROLLER", "SECRET", "WEBHOOK", "WEBHOOK_SERVICE", "objects"]

CONTROLLER = "ingress-nginx-controller"
SECRET = WEBHOOK = "ingress-nginx-admission"  # noqa: S105 - names of objects
WEBHOOK_SERVICE = "ingress-nginx-controller-admission"
_WHAT = "ingress-nginx"
_IMAGE = "registry.k8s.io/ingress-nginx/controller"
_DIGESTS = {
    "1.11.1": "sha256:e6439a12b52076965928e83b7b56aae6731231677b01e81818bce7fa5c60161a",
    "1.11.5": "sha256:a1cbad75b0a7098bf9325132794dddf9eef917e8a7fe246749a4cea7ff6f01eb",
}
"""Of the images, as the releases' own manifests name them."""
_METRICS_PORT = 10254
_GRACE = 10
"""Seconds for which a controller that was told to end still serves: as long as load balancers and kube-proxy need to
see that it is going (HAProxy's two checks at 2 s, with room)."""


def objects(manifest: bytes, cluster: Cluster) -> tuple[dict[str, Any], ...]:
    """The manifest's objects, without the jobs that make the webhook's certificate, and ours beside them.

    Raises InfraError when the manifest is not what it was.
    """
    documents = [d for d in copy.deepcopy(parse_documents(manifest.decode())) if not _of_certgen(d)]
    try:
        _patch_service(named(documents, "Service", NODE_PORTS, what=_WHAT), cluster)
        _patch_deployment(named(documents, "Deployment", CONTROLLER, what=_WHAT), cluster)
        made = named(documents, "IngressClass", "nginx", what=_WHAT)["metadata"]
        made["annotations"] = {"ingressclass.kubernetes.io/is-default-class": "true"}
        named(documents, "ValidatingWebhookConfiguration", WEBHOOK, what=_WHAT)
    except (KeyError, IndexError, StopIteration) as error:
        raise unlike(_WHAT, f"no {error} where it was") from error
    return (*documents, balanced(), budget())


def _of_certgen(document: Mapping[str, Any]) -> bool:
    """The jobs, and the account that they alone use: it may change webhooks, so it had better not be there."""
    if document["kind"] == "ValidatingWebhookConfiguration":
        return False
    return bool(document["kind"] == "Job" or document["metadata"]["name"] == SECRET)


def _patch_service(service: dict[str, Any], cluster: Cluster) -> None:
    pinned = {"http": cluster.lb.ingress.http_node_port, "https": cluster.lb.ingress.https_node_port}
    for port in service["spec"]["ports"]:
        port["nodePort"] = pinned[port["name"]]
    selecting(service)


def _patch_deployment(deployment: dict[str, Any], cluster: Cluster) -> None:
    spec, version = deployment["spec"], cluster.versions.ingress_nginx
    pod = spec["template"]["spec"]
    container = next(c for c in pod["containers"] if c["name"] == "controller")
    digest = _DIGESTS.get(version)
    if digest is None and not cluster.ingress.image:
        raise unlike(_WHAT, f"no image is pinned for {version}; pinned: {', '.join(_DIGESTS)}")
    container["image"] = cluster.ingress.image or f"{_IMAGE}:v{version}@{digest}"
    # When nginx has ended, the controller would wait for ten seconds more, in which the pod only refuses.
    container["args"] += [f"--shutdown-grace-period={_GRACE}", "--post-shutdown-grace-period=0"]
    leaving_early(container)
    if is_wanted(cluster):
        _tell(container)
    moves_soon(pod)
    spec["replicas"] = cluster.ingress.replicas
    spread(pod)


def _tell(container: dict[str, Any]) -> None:
    """Metrics on the port of its health, for Prometheus."""
    container["args"] = [a for a in container["args"] if not a.startswith("--enable-metrics")] + ["--enable-metrics"]
    container["ports"] = [
        *container.get("ports", ()),
        {"name": "metrics", "containerPort": _METRICS_PORT, "protocol": "TCP"},
    ]

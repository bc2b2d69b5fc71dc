"""Where packages and images come from: what a host must be able to call outside."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.exporters import exporter_images
from mlops_infra.phases.host_exporters import is_wanted
from mlops_infra.phases.ingress_traefik import traefik_images
from mlops_infra.phases.monitoring import monitoring_images
from mlops_infra.phases.storage import storage_images

__all__ = ["sources_of"]


_UPSTREAM = {"docker.io": "registry-1.docker.io"}
"""Where a registry answers under another name than images have."""


def sources_of(cluster: Cluster, host: Host) -> tuple[tuple[str, int], ...]:
    """Names and ports of where a host's packages (and, on nodes, images) come from: mirrors, where there are any."""
    node = cluster.role(host.name) != "lb"
    urls = [m.url for m in cluster.mirrors.apt]
    if not urls and node:
        urls = ["https://pkgs.k8s.io", "https://download.docker.com"]
    for registry in dict.fromkeys(_registries(cluster, host)):
        urls.append(cluster.mirrors.registries.get(registry, f"https://{_UPSTREAM.get(registry, registry)}"))
    found = []
    for url in urls:
        parts = urlsplit(url)
        if parts.hostname:
            found.append((parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)))
    return tuple(dict.fromkeys(found))


def _registries(cluster: Cluster, host: Host) -> Iterator[str]:
    """Of what is switched on; masters pull what runs on every node, and add-ons come where there are workers."""
    role = cluster.role(host.name)
    if role == "lb":
        return
    yield "registry.k8s.io"
    if cluster.network.cni == "flannel":
        yield "ghcr.io"
    if cluster.metallb.enabled and cluster.hosts.workers:
        yield "quay.io"
    images: tuple[str, ...] = exporter_images(cluster) if is_wanted(cluster) else ()
    if role == "worker":
        images += monitoring_images(cluster) if is_wanted(cluster) else ()
        images += storage_images(cluster) if cluster.storage.is_ours else ()
        images += traefik_images(cluster) if cluster.ingress.controller == "traefik" else ()
    yield from map(_registry_of, images)


def _registry_of(image: str) -> str:
    """As containerd reads a name: without a host in front it is Docker Hub's."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"

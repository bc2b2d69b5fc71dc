"""Where packages and images come from: what a host must be able to call outside."""

from __future__ import annotations

from urllib.parse import urlsplit

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

__all__ = ["sources_of"]


def sources_of(cluster: Cluster, host: Host) -> tuple[tuple[str, int], ...]:
    """Names and ports of where packages (and, on nodes, images) come from."""
    node = cluster.role(host.name) != "lb"
    urls = [m.url for m in cluster.mirrors.apt]
    if not urls and node:
        urls = ["https://pkgs.k8s.io", "https://download.docker.com"]
    if node:
        registries = dict.fromkeys(("registry.k8s.io", *(("ghcr.io",) if cluster.network.cni == "flannel" else ())))
        urls += [cluster.mirrors.registries.get(name, f"https://{name}") for name in registries]
    found = []
    for url in urls:
        parts = urlsplit(url)
        if parts.hostname:
            found.append((parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)))
    return tuple(dict.fromkeys(found))

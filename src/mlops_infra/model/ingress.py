"""The controller that serves Ingress objects."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops_infra.model.base import Noun

__all__ = ["IngressController"]


class IngressController(Noun):
    """Behind the node ports of `lb.ingress`, and at a LoadBalancer address where MetalLB has a pool."""

    controller: Literal["nginx", "traefik", "none"] = "nginx"
    """`nginx`: ingress-nginx, which nobody mends any more. `traefik`: reads the same Ingresses, and most of their
    annotations. `none`: you bring your own; one that this program installed is taken away."""
    replicas: int = Field(default=2, ge=1)
    """Spread over the workers."""
    image: str | None = None
    """For `nginx`: an image of your own instead of `registry.k8s.io/ingress-nginx/controller` with the digest pinned
    for the version, for instance a patched build."""
    traefik_image: str | None = None
    """For `traefik`: an image of your own instead of `docker.io/library/traefik`, for instance one by its digest."""

    @property
    def health_path(self) -> str:
        """What a load balancer asks of a worker's node ports; empty where only the port itself can be tried."""
        return "" if self.controller == "none" else "/healthz"

"""The controller that serves Ingress objects."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops_infra.model.base import Noun

__all__ = ["IngressController"]


class IngressController(Noun):
    """Behind the node ports of `lb.ingress`, and at a LoadBalancer address where MetalLB has a pool."""

    controller: Literal["nginx", "none"] = "nginx"
    """`none`: you bring your own; one that this program installed is taken away."""
    replicas: int = Field(default=2, ge=1)
    """Spread over the workers."""
    image: str | None = None
    """An image of your own instead of `registry.k8s.io/ingress-nginx/controller` with the digest pinned for the
    version, for instance a patched build."""

    @property
    def health_path(self) -> str:
        """What a load balancer asks of a worker's node ports; empty where only the port itself can be tried."""
        return "/healthz" if self.controller == "nginx" else ""

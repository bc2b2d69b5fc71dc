"""Networks and the CNI."""

from __future__ import annotations

from typing import Literal

from mlops_infra.model.base import Noun

__all__ = ["Network"]


class Network(Noun):
    node_cidr: str | None = None
    """The network of the hosts; None: not checked."""
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    cni: Literal["flannel", "none"] = "flannel"
    interface: str | None = None
    """The interface Flannel uses; None: the one of the node's address."""
    dns_domain: str = "cluster.local"

"""Networks and the CNI."""

from __future__ import annotations

from typing import Literal

from mlops_infra.model.base import Cidr, DnsName, Interface, Noun

__all__ = ["Network"]


class Network(Noun):
    node_cidr: Cidr | None = None
    """The network of the hosts; None: not checked."""
    pod_cidr: Cidr = "10.244.0.0/16"
    """Pods' addresses; each node takes a /24 of it."""
    service_cidr: Cidr = "10.96.0.0/16"
    """Not kubeadm's own default, 10.96.0.0/12: that reaches to 10.111.255.255, over many a site's hosts."""
    cni: Literal["flannel", "none"] = "flannel"
    """`none`: you bring your own."""
    interface: Interface | None = None
    """The interface Flannel uses; None: the one of the node's address."""
    dns_domain: DnsName = "cluster.local"
    """The domain of Services."""

"""Which ports must be free on a host, and which ways between hosts must be open (domain.md 1.7)."""

from __future__ import annotations

from collections.abc import Iterator

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host, Role
from mlops_infra.phases.lb import MASTER_PORT

__all__ = ["ours_on", "ways_from"]

_KUBELET, _ETCD = 10250, (2379, 2380)
_PEERS = 24
"""How many hosts of a kind are tried from one host: a firewall's rule shows on the first ones."""


def ours_on(cluster: Cluster, role: Role) -> frozenset[int]:
    """TCP ports that must be free on a bare host of this role."""
    lb = cluster.lb
    if role == "lb":
        return frozenset({lb.api_port, lb.ingress.http_port, lb.ingress.https_port, lb.stats.port})
    node = {_KUBELET, 10248, 10249, 10256}
    return frozenset(node | {MASTER_PORT, *_ETCD, 2381, 10257, 10259} if role == "master" else node)


def ways_from(cluster: Cluster, host: Host) -> tuple[tuple[str, int], ...]:
    """Addresses and TCP ports that `host` must be able to call, each once, itself left out.

    UDP (Flannel's 8472, MetalLB's 7946) is not among them: nothing answers there before they run.
    """
    ways = dict.fromkeys(_ways(cluster, cluster.role(host.name)))
    return tuple(way for way in ways if way[0] != host.node_address)


def _ways(cluster: Cluster, role: Role) -> Iterator[tuple[str, int]]:
    masters = [m.node_address for m in cluster.hosts.masters[:_PEERS]]
    workers = [w.node_address for w in cluster.hosts.workers[:_PEERS]]
    ingress = cluster.lb.ingress
    if role == "lb":
        yield from ((m, MASTER_PORT) for m in masters)
        yield from ((w, p) for w in workers for p in (ingress.http_node_port, ingress.https_node_port))
        return
    yield cluster.endpoint_address, cluster.lb.api_port
    if role == "master":
        yield from ((m, p) for m in masters for p in _ETCD)
        yield from ((n, _KUBELET) for n in (*masters, *workers))

"""Which ports must be free on a host, and which ways between hosts must be open (domain.md 1.7)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import MASTER_PORT, Host, Role
from mlops_infra.phases.host_exporters import is_wanted

__all__ = ["Guarded", "Peers", "datagrams_from", "guarded_on", "is_ipv4", "ours_on", "ways_from", "ways_of_nodes"]

_KUBELET, _ETCD = 10250, (2379, 2380)
_ETCD_METRICS, _CONTROLLER_MANAGER, _SCHEDULER = 2381, 10257, 10259
_PROXY_METRICS, _PROXY_HEALTH = 10249, 10256
_NODE_EXPORTER, _SPEAKER_METRICS, _SPEAKERS, _VXLAN = 9100, 7472, 7946, 8472
NODE_PORTS = "30000-32767"

Peers = Literal["masters", "nodes", "hosts", "pods"]
"""Who may call a guarded port, besides the operators: `hosts` are the nodes and the load balancers."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """Ports, as nftables writes them, that only these may call."""

    what: str
    ports: tuple[str, ...]
    peers: tuple[Peers, ...]
    protocols: tuple[Literal["tcp", "udp"], ...] = ("tcp",)


_PEERS = 24
"""How many hosts of a kind are tried from one host: a firewall's rule shows on the first ones."""
_MEASURED = 8
"""And on ports that only measurements use, which are many: each try is a process on a host that may be small."""


def ours_on(cluster: Cluster, role: Role) -> frozenset[int]:
    """TCP ports that must be free on a bare host of this role."""
    lb = cluster.lb
    measured = {_NODE_EXPORTER} if is_wanted(cluster) else set()
    if role == "lb":
        return frozenset(measured | {lb.api_port, lb.ingress.http_port, lb.ingress.https_port, lb.stats.port})
    node = measured | {_KUBELET, 10248, 10249, 10256}
    return frozenset(node | {MASTER_PORT, *_ETCD, 2381, 10257, 10259} if role == "master" else node)


def guarded_on(cluster: Cluster, role: Role) -> Iterator[Guarded]:
    """What a host of this role has that is not everybody's. Not here, so open: SSH, the API, what serves ingress."""
    if role == "lb":
        yield Guarded("statistics", (str(cluster.lb.stats.port),), ("hosts", "pods"))
        yield Guarded("metrics", (str(_NODE_EXPORTER),), ("nodes", "pods"))
        return
    metrics = [_PROXY_METRICS, _NODE_EXPORTER, _SPEAKER_METRICS]
    if role == "master":
        yield Guarded("etcd", tuple(map(str, _ETCD)), ("masters",))
        metrics += [_ETCD_METRICS, _CONTROLLER_MANAGER, _SCHEDULER]
    yield Guarded("kubelet", (str(_KUBELET),), ("nodes", "pods"))
    yield Guarded("metrics", tuple(map(str, sorted(metrics))), ("nodes", "pods"))
    yield Guarded("health of kube-proxy", (str(_PROXY_HEALTH),), ("hosts", "pods"))
    yield Guarded("MetalLB's speakers", (str(_SPEAKERS),), ("nodes",), ("tcp", "udp"))
    if cluster.network.cni == "flannel":
        yield Guarded("Flannel", (str(_VXLAN),), ("nodes",), ("udp",))
    yield Guarded("node ports", (NODE_PORTS,), ("hosts", "pods"), ("tcp", "udp"))


def ways_from(cluster: Cluster, host: Host) -> tuple[tuple[str, int], ...]:
    """Addresses and TCP ports that `host` must be able to call, each once, itself left out.

    UDP is asked about in another way: `datagrams_from`.
    """
    ways = dict.fromkeys(_ways(cluster, cluster.role(host.name)))
    return tuple(way for way in ways if way[0] != host.node_address)


def datagrams_from(cluster: Cluster, host: Host) -> tuple[tuple[str, int], ...]:
    """Addresses and UDP ports that `host` must be able to send to: Flannel's, among nodes.

    One port alone: a kernel tells one and the same asker of six undeliverable datagrams at once, then of one a second.
    """
    if cluster.network.cni != "flannel" or cluster.role(host.name) == "lb":
        return ()
    others = [n.node_address for n in (*cluster.hosts.masters[:_PEERS], *cluster.hosts.workers[:_PEERS])]
    return tuple((address, _VXLAN) for address in dict.fromkeys(others) if address != host.node_address)


def ways_of_nodes(cluster: Cluster, role: Role) -> tuple[tuple[str, int], ...]:
    """Addresses (IPv4) and TCP ports that nodes of this role call of one another while the platform works.

    What load balancers call is not here: HAProxy itself tells what it does not reach.
    """
    masters = [m.node_address for m in cluster.hosts.masters[:_PEERS]]
    nodes = [*masters, *(w.node_address for w in cluster.hosts.workers[:_PEERS])]
    # The address of the Service `kubernetes` leads every pod to the API servers themselves.
    ways = [(m, MASTER_PORT) for m in masters]
    if cluster.metallb.enabled and cluster.hosts.workers:
        ways += [(n, _SPEAKERS) for n in nodes]
    if role == "master":
        ways += [(m, _ETCD[1]) for m in masters] + [(n, _KUBELET) for n in nodes]
    return tuple(way for way in dict.fromkeys(ways) if is_ipv4(way[0]))


def is_ipv4(text: str) -> bool:
    """Whether it is an address of that kind, and neither another nor a name, which would have to be looked up."""
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False


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
    if cluster.metallb.enabled and workers:
        yield from ((n, _SPEAKERS) for n in (*masters, *workers))
    if role == "worker":
        yield from _measured(cluster)


def _measured(cluster: Cluster) -> Iterator[tuple[str, int]]:
    """What metrics-server and Prometheus call, whose pods run on workers."""
    masters, workers, balancers = (
        [h.node_address for h in hosts[:_MEASURED]]
        for hosts in (cluster.hosts.masters, cluster.hosts.workers, cluster.hosts.lb)
    )
    nodes = (*masters, *workers)
    if cluster.metrics.enabled or cluster.monitoring.enabled:
        yield from ((n, _KUBELET) for n in nodes)
    if not cluster.monitoring.enabled:
        return
    yield from ((h, _NODE_EXPORTER) for h in (*nodes, *balancers))
    yield from ((b, cluster.lb.stats.port) for b in balancers)
    if cluster.metallb.enabled:
        yield from ((n, _SPEAKER_METRICS) for n in nodes)
    if cluster.security.expose_metrics:
        yield from ((n, _PROXY_METRICS) for n in nodes)
        yield from ((m, p) for m in masters for p in (_ETCD_METRICS, _CONTROLLER_MANAGER, _SCHEDULER))

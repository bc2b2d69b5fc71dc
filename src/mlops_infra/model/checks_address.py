"""Checks of addresses: none twice, each in its network, no two ranges in each other's way."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from itertools import combinations

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.finding import Finding
from mlops_infra.model.hosts import Host
from mlops_infra.model.metallb import DEFAULT_POOL
from mlops_infra.model.ranges import IP, Range
from mlops_infra.model.tree import Keys, spell

__all__ = ["check_addresses"]


def check_addresses(cluster: Cluster) -> Iterator[Finding]:
    """Everything that can be said of addresses without asking a host."""
    yield from check_duplicates(cluster)
    yield from check_endpoint(cluster)
    pools = list(parse_pools(cluster))
    yield from (p for p in pools if isinstance(p, Finding))
    ranges = list(_networks(cluster)) + [p for p in pools if not isinstance(p, Finding)]
    yield from check_overlaps(ranges)
    yield from check_hosts_in_ranges(cluster, ranges)
    yield from check_families(cluster, ranges)
    yield from check_sizes(cluster)


Named = tuple[Keys, Range]


def parse_pools(cluster: Cluster) -> Iterator[Named | Finding]:
    """MetalLB's pools as ranges, or what is wrong with them."""
    if DEFAULT_POOL in cluster.metallb.pools:
        message = f"`{DEFAULT_POOL}` is the name of the pool under `metallb.pool`"
        yield Finding(("metallb", "pools", DEFAULT_POOL), message, "name it otherwise", at_key=True)
    named: list[tuple[Keys, tuple[str, ...]]] = [(("metallb", "pool"), cluster.metallb.pool)]
    named += [(("metallb", "pools", name), ranges) for name, ranges in cluster.metallb.pools.items()]
    for where, ranges in named:
        for index, text in enumerate(ranges):
            keys: Keys = (*where, index)
            try:
                yield keys, Range.parse(text)
            except ValueError as error:
                yield Finding(keys, str(error))


def check_duplicates(cluster: Cluster) -> Iterator[Finding]:
    """Each host has its own address; a load balancer on a master would fight over port 6443."""
    seen: dict[str, tuple[str, Host]] = {}
    ways: dict[tuple[str, int], Host] = {}
    for role, index, host in _hosts(cluster):
        keys: Keys = ("hosts", role, index, "internal_address" if host.internal_address else "address")
        other_role, other = seen.setdefault(host.node_address, (role, host))
        if other is not host and "lb" in (role, other_role) and role != other_role:
            lb, node = (host, other) if role == "lb" else (other, host)
            message = f"load balancer {lb.name} and {node.name} have the same address, {host.node_address}"
            yield Finding(keys, message, "HAProxy needs a host of its own: both would want the API's port")
        elif other is not host:
            message = f"{other.name} and {host.name} have the same address, {host.node_address}"
            yield Finding(keys, message)
        # Behind one address with forwarded ports several hosts can be reached, if they have addresses of their own.
        way = (host.address, host.ssh.port or cluster.ssh.port)
        reached = ways.setdefault(way, host)
        if reached is not host and reached.node_address != host.node_address:
            message = f"{reached.name} and {host.name} are both reached at {way[0]} port {way[1]}"
            yield Finding(("hosts", role, index, "address"), message)
    vip = cluster.lb.vip
    if vip and vip.address in seen:
        message = f"the VIP {vip.address} is the address of {seen[vip.address][1].name}: a VIP belongs to no host"
        yield Finding(("lb", "vip", "address"), message)
    external = cluster.lb.external
    if external and external in seen and len(cluster.hosts.masters) > 1:
        message = f"the external load balancer has the address of {seen[external][1].name}"
        yield Finding(("lb", "external"), message)


def check_endpoint(cluster: Cluster) -> Iterator[Finding]:
    """An endpoint that is an address is the load balancer's; one of a master would die with it."""
    said = _address(cluster.control_plane_endpoint)
    if said is None or str(said) == cluster.endpoint_address:
        return
    message = f"the endpoint is {said}, and the API is reached at {cluster.endpoint_address}"
    masters = [h.name for h in cluster.hosts.masters if h.node_address == str(said)]
    if masters:
        message = f"the endpoint is the address of {masters[0]}: with that master the whole API would be gone"
    hint = f"write {cluster.endpoint_address}, or leave it out for the name api.{cluster.name}.internal"
    yield Finding(("control_plane_endpoint",), message, hint)


def check_overlaps(ranges: list[Named]) -> Iterator[Finding]:
    """Pods, services, hosts and pools need addresses of their own; a pool may lie in the hosts' network."""
    for (one_keys, one), (two_keys, two) in combinations(ranges, 2):
        node_and_pool = one_keys == ("network", "node_cidr") and two_keys[0] == "metallb"
        if one.overlaps(two) and not node_and_pool:
            message = f"`{spell(two_keys)}` ({two}) overlaps `{spell(one_keys)}` ({one})"
            yield Finding(two_keys, message, "packets for one would end in the other")
        elif node_and_pool and not one.covers(two):
            message = f"{two} lies outside the hosts' network {one}"
            hint = "MetalLB announces with ARP, which ends at the router"
            yield Finding(two_keys, message, hint, warning=True)


def check_hosts_in_ranges(cluster: Cluster, ranges: list[Named]) -> Iterator[Finding]:
    """Hosts lie in their network, and in no range that is somebody else's."""
    places: list[tuple[Keys, str, str, bool]] = [
        (("hosts", role, i, "internal_address" if h.internal_address else "address"), h.name, h.node_address, True)
        for role, i, h in _hosts(cluster)
    ]
    if cluster.lb.vip:
        places.append((("lb", "vip", "address"), "the VIP", cluster.lb.vip.address, True))
    if cluster.lb.external:
        places.append((("lb", "external"), "the external load balancer", cluster.lb.external, False))
    for keys, name, text, at_home in places:
        address = _address(text)
        if address is None:
            continue
        for where, range_ in ranges:
            if where == ("network", "node_cidr"):
                if at_home and address not in range_:
                    hint = "" if len(keys) < 4 else "where SSH uses another network, set `internal_address`"
                    message = f"{name}'s address {address} lies outside `network.node_cidr` {cluster.network.node_cidr}"
                    yield Finding(keys, message, hint)
            elif address in range_:
                message = f"{name}'s address {address} lies in `{spell(where)}` ({range_})"
                yield Finding(keys, message, "a range may hold no address of a host")


def check_families(cluster: Cluster, ranges: list[Named]) -> Iterator[Finding]:
    """One address family throughout: what is built is single-stack."""
    addresses = [a for h in cluster.hosts.masters if (a := _address(h.node_address))]
    first = addresses[0] if addresses else ipaddress.IPv4Address(0)
    for keys, range_ in ranges:
        if range_.version != first.version:
            message = f"`{spell(keys)}` is IPv{range_.version}, and the hosts have IPv{first.version} addresses"
            yield Finding(keys, message)
    for role, index, host in _hosts(cluster):
        address = _address(host.node_address)
        if address is None:
            message = f"{host.name}'s address `{host.address}` is a name: Kubernetes needs the node's address"
            yield Finding(("hosts", role, index, "address"), message, "give its IP address in `internal_address`")
        elif address.version != first.version:
            message = f"{host.name} has an IPv{address.version} address, and the first master an IPv{first.version} one"
            yield Finding(("hosts", role, index, "address"), message)


def check_sizes(cluster: Cluster) -> Iterator[Finding]:
    """The pod network holds a block for each node (/24, /64 in IPv6), the service network at most 20 bits."""
    pods = ipaddress.ip_network(cluster.network.pod_cidr)
    block = 24 if pods.version == 4 else 64
    nodes = len(cluster.nodes)
    room = 2 ** max(block - pods.prefixlen, 0) if pods.prefixlen <= block else 0
    if nodes > room:
        message = f"`network.pod_cidr` {pods} has room for {room} nodes (a /{block} each), and there are {nodes}"
        yield Finding(("network", "pod_cidr"), message, f"take a larger one, such as a /{max(block - 8, 0)}")
    services = ipaddress.ip_network(cluster.network.service_cidr)
    if services.max_prefixlen - services.prefixlen > 20:
        message = f"`network.service_cidr` {services} is larger than the API server accepts (20 bits)"
        yield Finding(("network", "service_cidr"), message, f"take a /{services.max_prefixlen - 20} or smaller")


def _networks(cluster: Cluster) -> Iterator[Named]:
    for name in ("node_cidr", "pod_cidr", "service_cidr"):
        text = getattr(cluster.network, name)
        if text:
            yield ("network", name), Range.of_network(text)


def _hosts(cluster: Cluster) -> Iterator[tuple[str, int, Host]]:
    for role in ("lb", "masters", "workers"):
        for index, host in enumerate(getattr(cluster.hosts, role)):
            yield role, index, host


def _address(text: str) -> IP | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None

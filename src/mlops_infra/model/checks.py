"""What no single key can tell: whether the parts of a cluster fit one another. Pure; one function an idea."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from mlops_infra.model.checks_addons import check_addons
from mlops_infra.model.checks_address import check_addresses
from mlops_infra.model.checks_version import check_versions
from mlops_infra.model.clear_text import check_secrets
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.finding import Finding
from mlops_infra.model.tree import Keys, spell

__all__ = ["check"]


def check(cluster: Cluster, document: Mapping[str, Any], *, today: date) -> Iterator[Finding]:
    """All findings; `document` tells what was written from what is a default."""
    yield from check_names(cluster)
    yield from check_masters(cluster)
    yield from check_entrance(cluster)
    yield from check_ports(cluster)
    yield from check_addresses(cluster)
    yield from check_versions(cluster, today)
    yield from check_addons(cluster)
    yield from check_access(cluster)
    yield from check_containerd(cluster.containerd.config, ("containerd", "config"))
    yield from check_backup(cluster)
    yield from check_secrets(document)


def check_names(cluster: Cluster) -> Iterator[Finding]:
    """No name twice, whatever the role."""
    seen: dict[str, str] = {}
    for role in ("lb", "masters", "workers"):
        for index, host in enumerate(getattr(cluster.hosts, role)):
            here = f"hosts.{role}[{index}]"
            if host.name in seen:
                message = f"two hosts are called `{host.name}`"
                yield Finding(("hosts", role, index, "name"), message, f"the other is {seen[host.name]}")
            seen.setdefault(host.name, here)


def check_masters(cluster: Cluster) -> Iterator[Finding]:
    """etcd wants an odd number: an even one survives no more failures than the odd one below it."""
    count = len(cluster.hosts.masters)
    keys: Keys = ("hosts", "masters")
    if count == 2:
        message = "two masters are worse than one: etcd loses its quorum, and the API with it, when either fails"
        yield Finding(keys, message, "name one master, or three", at_key=True)
    elif count % 2 == 0:
        message = f"{count} masters survive the failure of {(count - 1) // 2}, no more than {count - 1} would"
        yield Finding(keys, message, f"name {count - 1} or {count + 1}", warning=True, at_key=True)


def check_entrance(cluster: Cluster) -> Iterator[Finding]:
    """There is exactly one way to the API, and it does not end with one master."""
    hosts, lb = cluster.hosts, cluster.lb
    if len(hosts.masters) > 1 and not hosts.lb and not lb.external:
        message = f"{len(hosts.masters)} masters, and nothing in front of them: the API would have no common address"
        yield Finding(("hosts",), message, "name a host in `hosts.lb`, or your own in `lb.external`", at_key=True)
    if lb.external and hosts.lb:
        message = "the load balancer is external, and `hosts.lb` names hosts as well"
        yield Finding(("lb", "external"), message, "remove one of the two")
    if lb.external and lb.vip:
        yield Finding(("lb", "vip"), "an external load balancer has its own address: `vip` is not for it", at_key=True)
    elif lb.vip and not hosts.lb:
        yield Finding(("lb", "vip"), "a VIP moves between hosts of `hosts.lb`, and there is none", at_key=True)
    elif lb.vip and len(hosts.lb) == 1:
        message = "a VIP with one load balancer has nowhere to move to"
        yield Finding(("lb", "vip"), message, "add a host to `hosts.lb`", warning=True, at_key=True)
    for place, host in enumerate(hosts.lb):
        if lb.vip and not (host.interface or lb.vip.interface):
            message = f"nobody says on which interface of {host.name} the VIP {lb.vip.address} lives"
            hint = "name it as `lb.vip.interface`, or as `interface` of the host"
            yield Finding(("hosts", "lb", place), message, hint)
    if len(hosts.lb) > 1 and not lb.vip:
        message = f"only {hosts.lb[0].name} of {len(hosts.lb)} load balancers is used: no address moves between them"
        yield Finding(("hosts", "lb"), message, "set `lb.vip.address`", warning=True, at_key=True)


def check_ports(cluster: Cluster) -> Iterator[Finding]:
    """No two services of the load balancer on one port."""
    lb = cluster.lb
    ports: tuple[tuple[Keys, int], ...] = (
        (("lb", "api_port"), lb.api_port),
        (("lb", "stats", "port"), lb.stats.port),
        (("lb", "ingress", "http_port"), lb.ingress.http_port),
        (("lb", "ingress", "https_port"), lb.ingress.https_port),
    )
    yield from _clashes(ports)
    yield from _clashes(
        (
            (("lb", "ingress", "http_node_port"), lb.ingress.http_node_port),
            (("lb", "ingress", "https_node_port"), lb.ingress.https_node_port),
        )
    )


def _clashes(ports: tuple[tuple[Keys, int], ...]) -> Iterator[Finding]:
    seen: dict[int, Keys] = {}
    for keys, port in ports:
        if port in seen:
            other = ".".join(str(k) for k in seen[port])
            yield Finding(keys, f"port {port} is taken by `{other}`")
        seen.setdefault(port, keys)


PLATFORM_NAMESPACES = ("kube-", "metallb-system", "ingress-nginx", "monitoring", "local-path-storage")
"""Beginnings of names."""


def check_access(cluster: Cluster) -> Iterator[Finding]:
    """Operators have no business among the platform's own components."""
    for index, name in enumerate(cluster.access.operator_namespaces):
        if name.startswith(PLATFORM_NAMESPACES):
            message = f"`{name}` is a namespace of the platform: an operator there could take the rights of its parts"
            yield Finding(("access", "operator_namespaces", index), message, "name one for your own programs")


def check_containerd(value: Any, keys: Keys) -> Iterator[Finding]:
    """What TOML has no word for, or what containerd's file has no place for."""
    name = spell(keys)
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from check_containerd(below, (*keys, key))
    elif keys == ("containerd", "config", "plugins") and value is not None:
        yield Finding(keys, f"`{name}` must be a mapping: it is merged into ours")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            if isinstance(below, Mapping):
                message = f"`{name}` cannot hold mappings: this program writes no TOML tables in lists"
                yield Finding((*keys, index), message)
            else:
                yield from check_containerd(below, (*keys, index))
    elif value is None:
        yield Finding(keys, f"`{name}` has no value, and TOML has no word for that", "give it one, or remove the line")


def check_backup(cluster: Cluster) -> Iterator[Finding]:
    """Bundles of the timer are for the day on which the masters are gone."""
    if cluster.backup.schedule.enabled and not cluster.backup.copies:
        message = "scheduled bundles lie on the masters only, and are lost with them"
        yield Finding(("backup", "schedule", "enabled"), message, "name a place in `backup.copies`", warning=True)

"""What the twin of a cluster.yaml looks like: a pure function of the model, kept as JSON in the lab's state."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlops_infra.lab.errors import LabError
from mlops_infra.lab.paths import namespace_of, veth_of
from mlops_infra.lab.rootfs import DEBIAN_12, DEBIAN_13
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

__all__ = ["Twin", "TwinHost", "make_twin"]

_DEFAULT_INTERFACE = "eth0"  # MetalLB never announces on veth*; this name it takes


@dataclass(frozen=True, slots=True)
class TwinHost:
    """One host of the twin. `addresses` have their prefix length; the first is where SSH reaches it."""

    name: str
    addresses: tuple[str, ...]
    interface: str
    gateway: str
    ssh_user: str
    ssh_port: int
    codename: str

    @property
    def address(self) -> str:
        return self.addresses[0].partition("/")[0]

    @property
    def is_debian12(self) -> bool:
        return self.codename == DEBIAN_12

    @property
    def namespace(self) -> str:
        return namespace_of(self.name)

    @property
    def veth(self) -> str:
        return veth_of(self.name)


@dataclass(frozen=True, slots=True)
class Twin:
    """`bridge` is the bridge's address in each network of the hosts, with prefix; the mirror listens on the first."""

    name: str
    bridge: tuple[str, ...]
    hosts: tuple[TwinHost, ...]

    @property
    def bridge_address(self) -> str:
        return self.bridge[0].partition("/")[0]

    def host(self, name: str) -> TwinHost:
        """Raises LabError when the lab has no such host."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self.hosts)
        raise LabError(f"the lab has no host {name}", cause=f"its hosts are {names}", remedy="mlops-infra lab status")

    def as_data(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Twin:
        """The reverse of `as_data`, also after a round through JSON. Raises KeyError or TypeError on other data."""
        hosts = tuple(TwinHost(**{**host, "addresses": tuple(host["addresses"])}) for host in data["hosts"])
        return cls(name=data["name"], bridge=tuple(data["bridge"]), hosts=hosts)


def make_twin(cluster: Cluster, *, debian12: Sequence[str] | None = None) -> Twin:
    """The twin of a cluster. `debian12` names the hosts that run Debian 12; None: the last worker alone, so that a
    second release of the system is always real. Raises LabError for a name that is no host's."""
    chosen = _debian12(cluster, debian12)
    networks = _networks(cluster)
    taken = {address for host in cluster.all_hosts for address in (host.address, host.node_address)}
    bridges = {network: _bridge(network, taken) for network in networks}
    hosts = tuple(
        _host(cluster, host, networks, bridges, DEBIAN_12 if host.name in chosen else DEBIAN_13)
        for host in cluster.all_hosts
    )
    _check_unique(hosts)
    return Twin(cluster.name, tuple(bridges.values()), hosts)


def _debian12(cluster: Cluster, names: Sequence[str] | None) -> frozenset[str]:
    if names is None:
        return frozenset(host.name for host in cluster.hosts.workers[-1:])
    known = {host.name for host in cluster.all_hosts}
    for name in names:
        if name not in known:
            raise LabError(
                f"--debian12 {name}: cluster.yaml has no such host", cause=f"it has {', '.join(sorted(known))}"
            )
    return frozenset(names)


def _networks(cluster: Cluster) -> tuple[str, ...]:
    """The networks of all hosts: the node network, or the /24 of the first host, and a /24 for what lies outside."""
    found: list[ipaddress.IPv4Network] = []
    if cluster.network.node_cidr:
        found.append(ipaddress.IPv4Network(cluster.network.node_cidr, strict=False))
    for address in _addresses(cluster.all_hosts):
        if not any(address in network for network in found):
            found.append(ipaddress.IPv4Network(f"{address}/24", strict=False))
    return tuple(str(network) for network in found)


def _addresses(hosts: Iterable[Host]) -> list[ipaddress.IPv4Address]:
    found = []
    for host in hosts:
        for text in (host.address, host.node_address):
            try:
                found.append(ipaddress.IPv4Address(text))
            except ValueError as error:
                raise LabError(
                    f"{text} is not an IPv4 address, and the lab can give a host no other",
                    host=host.name,
                    remedy=f"write the address of {host.name} as numbers in cluster.yaml",
                ) from error
    return found


def _bridge(network: str, taken: set[str]) -> str:
    parsed = ipaddress.IPv4Network(network)
    for address in parsed.hosts():
        if str(address) not in taken:
            return f"{address}/{parsed.prefixlen}"
    raise LabError(f"the network {network} has no address left for the lab's bridge")


def _host(cluster: Cluster, host: Host, networks: Sequence[str], bridges: dict[str, str], codename: str) -> TwinHost:
    addresses = []
    gateways = []
    for text in dict.fromkeys((host.address, host.node_address)):
        network = next(n for n in networks if ipaddress.IPv4Address(text) in ipaddress.IPv4Network(n))
        addresses.append(f"{text}/{network.partition('/')[2]}")
        gateways.append(bridges[network].partition("/")[0])
    return TwinHost(
        name=host.name,
        addresses=tuple(addresses),
        interface=host.interface or cluster.network.interface or _DEFAULT_INTERFACE,
        gateway=gateways[0],
        ssh_user=host.ssh.user or cluster.ssh.user,
        ssh_port=host.ssh.port or cluster.ssh.port,
        codename=codename,
    )


def _check_unique(hosts: Sequence[TwinHost]) -> None:
    seen: dict[str, str] = {}
    for host in hosts:
        for text in (host.name, *host.addresses):
            if text in seen:
                raise LabError(f"{host.name} and {seen[text]} both have {text}", remedy="mlops-infra validate")
            seen[text] = host.name

"""Preflight's verdict on ways: between the hosts, and out to where packages and images come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import MASTER_PORT
from mlops_infra.phases.finding import Finding
from mlops_infra.phases.preflight_said import Said

__all__ = ["datagrams", "ways"]


def ways(cluster: Cluster, said_by: Mapping[str, Said]) -> Iterator[Finding]:
    """TCP, from bare hosts. A refusal by the other host itself is a way that is open."""
    for host, said in said_by.items():
        if said.prepared:
            continue
        yield from _between(cluster, host, said_by)
        for name, port, outcome in said.outbound:
            if outcome not in ("open", "untold"):
                yield Finding(
                    host,
                    "refuse",
                    f"{name} port {port} cannot be reached: {outcome}",
                    "no way out to where packages or images come from",
                    "open the way, or name mirrors in cluster.yaml (`mirrors:`)",
                )
        for text in said.untold:
            yield Finding(host, "note", text)


def _between(cluster: Cluster, host: str, said_by: Mapping[str, Said]) -> Iterator[Finding]:
    """One finding for each host that is not reached: its ports have the same cause."""
    names = {h.node_address: h.name for h in cluster.all_hosts}
    closed: dict[tuple[str, str], list[str]] = {}
    untold = []
    for address, port, outcome in said_by[host].ways:
        # Our own firewall is silent to who is not in its rules yet: they come last in the run that takes the host in.
        there = said_by.get(names.get(address, ""))
        guarded = cluster.security.firewall and port not in (MASTER_PORT, cluster.lb.api_port)
        is_ours = guarded and there is not None and there.prepared
        if outcome == "prohibited" or (outcome == "silent" and not is_ours):
            closed.setdefault((address, outcome), []).append(str(port))
        elif outcome in ("untold", "silent"):
            untold.append(f"{names.get(address, address)} port {port}")
    mine = cluster.host_named(host).node_address
    for (address, outcome), ports in closed.items():
        yield Finding(
            host,
            "warn",
            f"no way to {names.get(address, address)} port{'s' * (len(ports) > 1)} {', '.join(ports)}: {outcome}",
            "a firewall between the hosts or on one of them, or the other host is down",
            f"allow tcp {', '.join(ports)} from {mine} to {address}",
        )
    if untold:
        yield Finding(host, "note", f"it could not be told whether {', '.join(untold)} can be reached")


def datagrams(cluster: Cluster, said_by: Mapping[str, Said]) -> Iterator[Finding]:
    """UDP. "Undeliverable" means that the way is open. Silence of a bare host means that something swallows the
    question or the answer; of a host where Flannel runs it means nothing: its socket takes datagrams without a word."""
    names = {h.node_address: h.name for h in cluster.all_hosts}
    for host, said in said_by.items():
        untold = []
        for address, port, outcome in said.datagrams:
            there = said_by.get(names.get(address, ""))
            is_bare = there is not None and not there.prepared and not there.kubeadm
            if outcome == "prohibited" or (outcome == "silent" and is_bare):
                yield Finding(
                    host,
                    "warn",
                    f"no way to {names.get(address, address)} port {port}/udp: {outcome}",
                    "a firewall between the hosts or on one drops datagrams, or the word that they are undeliverable",
                    f"allow udp {port} from {cluster.host_named(host).node_address} to {address}, and ICMP back",
                )
            elif outcome != "refused":
                untold.append(f"{names.get(address, address)} port {port}/udp")
        if untold:
            yield Finding(host, "note", f"it could not be told whether {', '.join(untold)} can be reached")

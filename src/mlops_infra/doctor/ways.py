"""The ways between nodes: ports, the tunnel between pods, and the cluster's DNS as a node itself finds it."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_infra.core import Probe
from mlops_infra.doctor.check import (
    NODES,
    OK,
    Check,
    Finding,
    Severity,
    Skipped,
    Verdict,
    asks_api,
    first_of,
    kubectl,
    on_host,
)
from mlops_infra.doctor.probes import NODES as LISTED
from mlops_infra.doctor.probes import SYSTEM, kubelet, said
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

__all__ = ["ASKED_DNS", "TUNNELS", "WAYS"]

_VXLAN_BYTES = 50
"""What the tunnel puts around a packet (IPv4, UDP, VXLAN and Ethernet headers)."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One that is not open: names of hosts, the port, and what became of the attempt."""

    by: str
    to: str
    port: int
    how: str


def _told(view: View, host: str, key: str) -> tuple[str, ...]:
    return (said(view.facts(host), kubelet(view.cluster)) or {}).get(key, ())


def _asked(view: View) -> list[str]:
    return [n.name for n in view.cluster.nodes if _told(view, n.name, "ways")]


def _shut(view: View, key: str, owners: Mapping[str, str]) -> list[_Way]:
    """Ways between hosts that both answered us: one that is silent altogether is told as such."""
    found = []
    for host in _asked(view):
        for line in _told(view, host, key):
            address, port, how = (*line.split(None, 2), "", "")[:3]
            owner = owners.get(address, "")
            if owner and owner != host and view.answered(owner):
                found.append(_Way(host, owner, int(port), how))
    return found


def _grouped(ways: list[_Way]) -> Iterator[tuple[str, list[_Way]]]:
    """The host that most of them begin or end at, with these; then of the rest."""
    left = ways
    while left:
        ends = Counter(way.to for way in left)
        begins = Counter(way.by for way in left)
        host, number = ends.most_common(1)[0]
        other, more = begins.most_common(1)[0]
        host = other if more > number else host
        yield host, [w for w in left if host in (w.to, w.by)]
        left = [w for w in left if host not in (w.to, w.by)]


def _evidence(ways: list[_Way]) -> str:
    return first_of([f"{w.by} → {w.to} port {w.port}: {w.how}" for w in ways], 8)


def _hosts_of(host: str, ways: list[_Way]) -> tuple[str, ...]:
    """The machines where the cause may be: where all ways of many end or begin at one, that one."""
    both = tuple(dict.fromkeys([host, *(name for w in ways for name in (w.to, w.by))]))
    return both if len(both) == 2 else (host,)


def _rules(host: str) -> str:
    """The command that shows what a host drops. A node has iptables, which kubeadm wants, and need not have nft."""
    return on_host(host, '{ iptables-save; nft list ruleset; } 2>/dev/null | grep -iE "drop|reject"')


def _ways(view: View, _: str) -> Verdict:
    if not _asked(view):
        return Skipped("no node could try")
    owners = {n.node_address: n.name for n in view.cluster.nodes}
    found = []
    for host, ways in _grouped(_shut(view, "way", owners)):
        ports = ", ".join(str(p) for p in sorted({w.port for w in ways}))
        to_it = all(w.to == host for w in ways)
        others = ", ".join(dict.fromkeys(w.by if to_it else w.to if w.by == host else w.by for w in ways))
        found.append(
            Finding(
                f"{others} cannot reach {host} at tcp {ports}"
                if to_it
                else f"{host} and {others}: tcp {ports} is shut",
                _evidence(ways),
                "a firewall on one of them or between them; a port where nobody listens answers, and is not meant",
                _rules(host) + f"   # then allow tcp {ports} between the nodes",
                hosts=_hosts_of(host, ways),
            )
        )
    return tuple(found) if found else OK


def _tunnels(view: View, _: str) -> Verdict:
    if view.cluster.network.cni != "flannel":
        return Skipped("cluster.yaml brings a CNI of its own")
    if not _asked(view):
        return Skipped("no node could try")
    owners = {
        address: node.name
        for node in view.cluster.nodes
        if (system := view.facts(node.name).value(SYSTEM)) is not None
        for address in system.addresses
    }
    found = []
    for host, ways in _grouped(_shut(view, "vxlan", owners)):
        others = ", ".join(dict.fromkeys(w.by if w.to == host else w.to for w in ways))
        found.append(
            Finding(
                f"pods on {host} and on {others} do not reach one another",
                _evidence(ways),
                "udp 8472 is dropped between them, or the tunnel's packets are spoilt on the way (checksums, MTU)",
                _rules(host) + "   # then allow udp 8472 between the nodes",
                hosts=_hosts_of(host, ways),
            )
        )
    return tuple(found) if found else OK


def _mtu(view: View, host: str) -> Verdict:
    for line in _told(view, host, "mtu"):
        words = line.split()
        if len(words) != 3 or not (words[0].isdigit() and words[2].isdigit()):
            continue
        inner, card, outer = int(words[0]), words[1], int(words[2])
        if inner > outer - _VXLAN_BYTES:
            return Finding(
                f"large packets between pods are lost: flannel.1 takes {inner} bytes, {card} below it {outer}",
                f"MTU of flannel.1 {inner}, of {card} {outer}; the tunnel needs {_VXLAN_BYTES} of them",
                f"the MTU of {card} was made smaller after Flannel had read it",
                kubectl(
                    view.a_master,
                    "-n kube-flannel delete pod -l app=flannel --field-selector spec.nodeName=" + host,
                ),
            )
    return OK


def _pod_network(view: View, host: str) -> tuple[bool, str]:
    """Whether the API knows the node, and the node's part of the pod network; empty where it has none."""
    nodes = view.api(LISTED)
    for node in nodes if isinstance(nodes, tuple) else ():
        if node.get("metadata", {}).get("name") == host:
            return True, str(node.get("spec", {}).get("podCIDR") or "")
    return False, ""


def _pod_cidr(view: View, host: str) -> Verdict:
    known, network = _pod_network(view, host)
    if not known:
        return Skipped("no API to ask, or no such node")
    if network or view.cluster.network.cni != "flannel":
        return OK
    return Finding(
        "the node was given no part of the pod network",
        "Node: no spec.podCIDR",
        f"{view.cluster.network.pod_cidr} is used up, or the controller manager does not give parts of it",
        kubectl(view.a_master, "-n kube-system logs -l component=kube-controller-manager --tail=50"),
    )


def _leftover(view: View, host: str) -> Verdict:
    known, network = _pod_network(view, host)
    told = _told(view, host, "cni")
    if not known or not network or not told:
        return OK
    try:
        strange = [text for text in told if ipaddress.ip_network(text) != ipaddress.ip_network(network)]
    except ValueError:
        return OK
    if not strange:
        return OK
    return Finding(
        f"its bridge cni0 has {strange[0]}, the cluster gave the node {network}",
        "/proc/net/route: cni0; Node: spec.podCIDR",
        "left from an earlier life of the node: new pods on it get no address",
        on_host(host, "ip link delete cni0 && systemctl restart containerd kubelet"),
    )


def _dns(view: View, _: str) -> Verdict:
    answers = {n.name: told[0] for n in view.cluster.nodes if (told := _told(view, n.name, "dns"))}
    if not answers:
        return Skipped("no node could ask")
    failed = {name: words for name, words in answers.items() if words != "ok"}
    if not failed:
        return OK
    everywhere = len(failed) == len(answers)
    where = "any node" if everywhere else ", ".join(failed)
    return Finding(
        f"the cluster's DNS does not answer on {where}",
        "\n".join(
            f"{n}: kubernetes.default.svc.{view.cluster.network.dns_domain}: {w}" for n, w in list(failed.items())[:6]
        ),
        "no pod of CoreDNS can be reached from there (kube-proxy, the tunnel between the nodes), or CoreDNS does not "
        "serve the domain"
        if everywhere
        else "CoreDNS answers others: a firewall there, or its kube-proxy",
        kubectl(view.a_master, "-n kube-system logs -l k8s-app=kube-dns --tail=20")
        if everywhere
        else _rules(next(iter(failed))) + "   # then allow port 53 to pods and Services",
        # No hosts: the pods of CoreDNS may be anywhere, so what is wrong with any node may be why.
    )


def _needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    return frozenset({SYSTEM, kubelet(cluster)}) if cluster.role(host.name) in NODES else frozenset()


WAYS = Check(
    "net.ways",
    "Do nodes reach one another where they must?",
    Severity.ERROR,
    _ways,
    "A TCP connection from every node to the API servers and MetalLB's speakers (7946), from masters to etcd's peers "
    "(2380) and to every kubelet (10250), of the first 24 of each kind. A refused one is an open way: nobody listens, "
    "which others tell. What load balancers reach is told by HAProxy (lb.backends, lb.ingress). Each look leaves a "
    "line about a broken handshake in the logs of those who were called.",
    scope="cluster",
    needs=_needs,
)

TUNNELS: tuple[Check, ...] = (
    Check(
        "cni.podcidr",
        "Has the node its part of the pod network?",
        Severity.ERROR,
        _pod_cidr,
        "The controller manager gives each node a part of `network.pod_cidr`; without one Flannel does not start.",
        roles=NODES,
        api=asks_api(LISTED),
        depends_on=("cp.controllers",),
        needs_answer=False,
    ),
    Check(
        "cni.leftover",
        "Is the bridge of the pods the one of this cluster?",
        Severity.ERROR,
        _leftover,
        "cni0 outlives a reset. With the network of an earlier cluster, new pods of the node fail to start.",
        roles=NODES,
        needs=_needs,
        api=asks_api(LISTED),
        depends_on=("cni.podcidr",),
    ),
    Check(
        "net.mtu",
        "Do packets between pods fit through the nodes' network?",
        Severity.WARNING,
        _mtu,
        "Flannel reads the MTU of the card below it when it starts. Small packets pass in any case; large ones hang.",
        roles=NODES,
        needs=_needs,
    ),
    Check(
        "net.vxlan",
        "Do pods of different nodes reach one another?",
        Severity.ERROR,
        _tunnels,
        "Every node calls every other node's kube-proxy by the address of its end of the tunnel: packets go the way "
        "that pods' packets go, over udp 8472.",
        scope="cluster",
        needs=_needs,
        depends_on=("net.ways", "net.mtu", "node.ready", "cni.flannel", "cni.podcidr", "host.sysctl", "host.modules"),
    ),
)

ASKED_DNS = Check(
    "dns.answer",
    "Does the cluster's DNS answer on every node?",
    Severity.ERROR,
    _dns,
    "Every node asks for kubernetes.default.svc at the address that pods ask, so kube-proxy and the way to CoreDNS are "
    "tried as well. Asked again each second, for three.",
    scope="cluster",
    needs=_needs,
    depends_on=(
        "dns.cluster",
        "dns.service",
        "svc.kubeproxy",
        "cni.flannel",
        "net.ways",
        "net.vxlan",
        "node.ready",
        "kubelet.up",
        "cri.up",
        "host.sysctl",
        "host.modules",
        "host.conntrack",
    ),
)

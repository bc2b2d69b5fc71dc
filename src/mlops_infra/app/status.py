"""What is there now: nodes, versions, endpoint, load balancer, etcd. Questions as data, a pure judge of answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.app.inputs import STATS_PASSWORD
from mlops_infra.app.kubeconfig import CLUSTER_CA
from mlops_infra.core import (
    API,
    Facts,
    HostProblem,
    Probe,
    Stat,
    StatFact,
    Unit,
    UnitFact,
)
from mlops_infra.core.facts import Absent
from mlops_infra.doctor.probes import parse_backends
from mlops_infra.engine.observation import Observation
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.site import Site
from mlops_infra.phases.lb import BACKENDS
from mlops_infra.phases.ready import NODES

__all__ = ["Backend", "Balancer", "Member", "Node", "Status", "status_of", "status_questions"]

HAPROXY = Unit("haproxy.service")
ETCD_MANIFEST = Stat("/etc/kubernetes/manifests/etcd.yaml")


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that is or should be a node. `there` and `ready` are None where the API could not be asked."""

    name: str
    role: str
    address: str
    there: bool | None = None
    ready: bool | None = None
    kubelet: str = ""
    runtime: str = ""
    os: str = ""


@dataclass(frozen=True, slots=True)
class Backend:
    backend: str
    server: str
    status: str


@dataclass(frozen=True, slots=True)
class Balancer:
    """`haproxy` is systemd's word for the unit (`active`), or why it is not known."""

    name: str
    address: str
    haproxy: str
    stats_url: str
    backends: tuple[Backend, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """`member` is None where the master did not answer."""

    name: str
    member: bool | None


@dataclass(frozen=True, slots=True)
class Status:
    cluster: str
    endpoint: str
    endpoint_address: str
    versions: Mapping[str, str]
    nodes: tuple[Node, ...]
    lb: tuple[Balancer, ...]
    etcd: tuple[Member, ...]
    orphans: tuple[str, ...] = ()
    kubeconfig: str | None = None
    stats_user: str = ""
    stats_password_in: str = ""
    grafana_url: str = ""
    """The node port, which is there with and without LoadBalancer addresses; empty where monitoring is off."""
    prometheus_url: str = ""
    problems: tuple[HostProblem, ...] = ()
    notes: tuple[str, ...] = field(default=())


def status_questions(cluster: Cluster) -> dict[str, frozenset[Probe[Any]]]:
    """By host, and for the API: asked in the exchange that a run makes anyway."""
    asked: dict[str, frozenset[Probe[Any]]] = {h.name: frozenset({HAPROXY, BACKENDS}) for h in cluster.hosts.lb}
    asked |= {h.name: frozenset({ETCD_MANIFEST, CLUSTER_CA}) for h in cluster.hosts.masters}
    return {**asked, API: frozenset({NODES})}


def status_of(cluster: Cluster, seen: Observation, site: Site, notes: tuple[str, ...] = ()) -> Status:
    """The answers, judged. No I/O but whether the kubeconfig lies there."""
    listed = seen.api.value(NODES)
    by_name = {n["metadata"]["name"]: n for n in listed} if listed is not None else None
    wanted = {host.name for host in cluster.nodes}
    versions = cluster.versions
    return Status(
        cluster=cluster.name,
        endpoint=f"{cluster.endpoint_name}:{cluster.endpoint_port}",
        endpoint_address=cluster.endpoint_address,
        versions={
            "kubernetes": versions.kubernetes,
            "containerd": versions.containerd,
            **({"flannel": versions.flannel} if cluster.network.cni == "flannel" else {}),
        },
        nodes=tuple(_node(host.name, cluster.role(host.name), host.node_address, by_name) for host in cluster.nodes),
        lb=tuple(_balancer(cluster, h.name, h.node_address, seen.of(h.name)) for h in cluster.hosts.lb),
        etcd=tuple(Member(m.name, _is_member(seen.of(m.name))) for m in cluster.hosts.masters),
        orphans=tuple(sorted(set(by_name or ()) - wanted)),
        kubeconfig=str(site.kubeconfig) if site.kubeconfig.is_file() else None,
        stats_user=cluster.lb.stats.user if cluster.hosts.lb else "",
        stats_password_in=_password_place(cluster, site) if cluster.hosts.lb else "",
        grafana_url=_page(cluster, cluster.monitoring.grafana.node_port),
        prometheus_url=_page(cluster, cluster.monitoring.prometheus.node_port),
        problems=seen.problems,
        notes=(*notes, *_open_doors(cluster)),
    )


def _open_doors(cluster: Cluster) -> tuple[str, ...]:
    if cluster.security.firewall:
        return ()
    return (
        "security.firewall is off: etcd, kubelets, metrics and node ports answer whoever reaches the hosts, as far as "
        "no other firewall is there",
    )


def _node(name: str, role: str, address: str, nodes: Mapping[str, Any] | None) -> Node:
    if nodes is None:
        return Node(name, role, address)
    found = nodes.get(name)
    if found is None:
        return Node(name, role, address, there=False, ready=False)
    conditions = found.get("status", {}).get("conditions", [])
    info = found.get("status", {}).get("nodeInfo", {})
    return Node(
        name,
        role,
        address,
        there=True,
        ready=any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions),
        kubelet=info.get("kubeletVersion", ""),
        runtime=info.get("containerRuntimeVersion", ""),
        os=info.get("osImage", ""),
    )


def _balancer(cluster: Cluster, name: str, address: str, facts: Facts) -> Balancer:
    unit = facts.answer(HAPROXY)
    haproxy = (
        unit.active if isinstance(unit, UnitFact) else ("not installed" if isinstance(unit, Absent) else "unknown")
    )
    answer = facts.value(BACKENDS)
    servers = parse_backends(answer.stdout) if answer is not None and answer.rc == 0 else ()
    backends = tuple(Backend(s.backend, s.server, s.status) for s in servers)
    return Balancer(name, address, haproxy, f"http://{address}:{cluster.lb.stats.port}/stats", backends)


def _is_member(facts: Facts) -> bool | None:
    answer = facts.answer(ETCD_MANIFEST)
    if isinstance(answer, StatFact):
        return True
    return False if isinstance(answer, Absent) else None


def _page(cluster: Cluster, node_port: int) -> str:
    first = (cluster.hosts.workers or cluster.hosts.masters)[0]
    return f"http://{first.node_address}:{node_port}" if cluster.monitoring.enabled else ""


def _password_place(cluster: Cluster, site: Site) -> str:
    """Where a person finds the password; never the password."""
    source = cluster.lb.stats.password
    if source.env:
        return f"the environment variable {source.env}"
    if source.file:
        return str(site.config.parent / source.file)
    if source.value:
        return str(site.config)
    return str(site.secrets / STATS_PASSWORD)

"""How requests get in: node ports, the PROXY protocol, addresses of Services, and HAProxy's old processes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mlops_infra.core import Absent, Probe
from mlops_infra.doctor.check import NO_API, OK, Check, Finding, Severity, Skipped, Verdict, asks_api, kubectl, on_host
from mlops_infra.doctor.pods import Item, age, name_of, of_objects
from mlops_infra.doctor.probes import BALANCER, INGRESS_CONFIG, INGRESS_LB, OBJECTS, said
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.model.pool_ranges import count
from mlops_infra.model.ranges import Range

__all__ = ["ADDRESSES", "OLD_PROCESSES"]

_PROCESSES = 10
_WAITS = timedelta(minutes=2)
_INGRESS = "ingress-nginx/ingress-nginx-controller"


@of_objects("Service")
def _node_ports(view: View, services: tuple[Item, ...]) -> Verdict:
    ours = next((s for s in services if name_of(s) == _INGRESS), None)
    if view.cluster.ingress.controller == "none" or ours is None:
        return Skipped("the ingress controller is not installed, or is not ours")
    ports = view.cluster.lb.ingress
    wanted = {"http": ports.http_node_port, "https": ports.https_node_port}
    has = {str(p.get("name")): p.get("nodePort") for p in ours.get("spec", {}).get("ports") or ()}
    differ = {name: port for name, port in wanted.items() if has.get(name) != port}
    if not differ:
        return OK
    return Finding(
        "the ingress controller's Service has other node ports than HAProxy calls: "
        + ", ".join(f"{name} {has.get(name) or 'none'} instead of {port}" for name, port in differ.items()),
        f"Service {_INGRESS}",
        "the Service was made anew or edited, and the cluster chose ports of its own",
        "mlops-infra up",
        stands_alone=True,
    )


def _proxy_protocol(view: View, _: str) -> Verdict:
    config = view.api(INGRESS_CONFIG)
    if config is None:
        return NO_API
    if isinstance(config, Absent) or view.cluster.ingress.controller != "nginx" or not view.cluster.hosts.lb:
        return Skipped("the ingress controller or the load balancer is not ours")
    if (config.get("data") or {}).get("use-proxy-protocol") != "true":
        return OK
    return Finding(
        "the ingress controller waits for the PROXY protocol, and HAProxy does not speak it: every request fails",
        f"ConfigMap {_INGRESS}: use-proxy-protocol: true",
        "somebody wanted the clients' addresses; the LoadBalancer address of the ingress controller keeps them",
        kubectl(
            view.a_master,
            "-n ingress-nginx patch configmap ingress-nginx-controller --type merge -p "
            '\'{"data":{"use-proxy-protocol":"false"}}\'',
        ),
        stands_alone=True,
    )


def _waiting(view: View, _: str) -> Verdict:
    pools = dict(view.cluster.metallb.by_name())
    if not view.cluster.metallb.enabled or not pools:
        return Skipped("cluster.yaml names no pool")
    services = view.objects(OBJECTS, "Service")
    if services is None:
        return NO_API
    asking = [s for s in services if s.get("spec", {}).get("type") == "LoadBalancer"]
    given = {name_of(s): s.get("status", {}).get("loadBalancer", {}).get("ingress") or () for s in asking}
    waiting = [
        name_of(s)
        for s in asking
        if not given[name_of(s)]
        and not s.get("spec", {}).get("loadBalancerClass")
        and name_of(s) != f"{INGRESS_LB.namespace}/{INGRESS_LB.name}"
        and age(view, s.get("metadata", {}).get("creationTimestamp", "")) > _WAITS
    ]
    if not waiting:
        return OK
    used = len({one.get("ip") for all_ in given.values() for one in all_})
    size = sum(count(Range.parse(text)) for ranges in pools.values() for text in ranges)
    space, _, name = waiting[0].partition("/")
    many = f"the Service {waiting[0]} waits" if len(waiting) == 1 else f"{len(waiting)} Services wait"
    return Finding(
        f"{many} for an address" + (": the pool is used up" if used >= size else ""),
        "\n".join([f"{used} of {size} addresses are in use", *waiting[:6]]),
        "the pools are used up, the Service asks for an address of its own, or MetalLB's controller does not work",
        "mlops-infra metallb set-pool RANGE   # a larger one"
        if used >= size
        else kubectl(view.a_master, f"-n {space} describe service {name}"),
    )


def _processes(view: View, host: str) -> Verdict:
    told = (said(view.facts(host), BALANCER) or {}).get("processes", ())
    number = int(told[0]) if told and told[0].isdigit() else 0
    if number <= _PROCESSES:
        return OK
    return Finding(
        f"{number} processes of HAProxy are there: old ones do not end",
        "ps: haproxy",
        "it was reloaded many times while long connections were open; each old process keeps its memory until "
        "`lb.timeouts.tunnel` is over",
        on_host(host, "systemctl restart haproxy"),
    )


def _balancer(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    return frozenset({BALANCER}) if cluster.role(host.name) == "lb" else frozenset()


OLD_PROCESSES = Check(
    "lb.workers",
    "Do HAProxy's old processes end?",
    Severity.WARNING,
    _processes,
    "A reload leaves the old process to its connections. More than ten at once are told.",
    roles=frozenset({"lb"}),
    needs=_balancer,
    depends_on=("lb.haproxy",),
)

ADDRESSES: tuple[Check, ...] = (
    Check(
        "ingress.nodeports",
        "Does the ingress controller listen where HAProxy calls?",
        Severity.ERROR,
        _node_ports,
        "The node ports of its Service are pinned to those of `lb.ingress`.",
        scope="cluster",
        api=asks_api(OBJECTS),
    ),
    Check(
        "ingress.proxyproto",
        "Do HAProxy and the ingress controller speak alike?",
        Severity.ERROR,
        _proxy_protocol,
        "Our HAProxy sends no PROXY protocol header; a controller that waits for one answers nothing.",
        scope="cluster",
        api=asks_api(INGRESS_CONFIG),
    ),
    Check(
        "metallb.waiting",
        "Does every Service of type LoadBalancer have its address?",
        Severity.WARNING,
        _waiting,
        "Services that have waited for two minutes, and how many addresses of the pools are in use. The ingress "
        "controller's own is told by ingress.address.",
        scope="cluster",
        api=asks_api(OBJECTS),
        depends_on=("metallb.controller", "metallb.pool", "metallb.webhook"),
    ),
)

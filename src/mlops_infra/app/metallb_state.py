"""What MetalLB does now: pools, who has which address, who announces it, and whether its parts are well. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_infra.core import API, ApiList, ApiObject, Facts, Probe
from mlops_infra.model.pool_ranges import count
from mlops_infra.model.ranges import Range

__all__ = ["Balanced", "MetallbState", "PoolState", "metallb_questions", "state_of"]

SERVICES = ApiList("services")
POOLS = ApiList("ipaddresspools.metallb.io")
ADVERTISEMENTS = ApiList("l2advertisements.metallb.io")
ANNOUNCED = ApiList("servicel2statuses.metallb.io")
PODS = ApiList("pods", "app=metallb")
WEBHOOK_PODS = ApiList("endpointslices.discovery.k8s.io", "kubernetes.io/service-name=metallb-webhook-service")
WEBHOOK: Probe[Mapping[str, Any]] = ApiObject(
    "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "metallb-webhook-configuration"
)
Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool as it is in the cluster. `announced`: an advertisement names it."""

    name: str
    ranges: tuple[str, ...]
    size: int
    used: int
    announced: bool

    @property
    def free(self) -> int:
        return self.size - self.used


@dataclass(frozen=True, slots=True)
class Balanced:
    """A Service of type LoadBalancer. `addresses` are empty while it waits; `node` announces them: as MetalLB
    says, or as the network does where that was asked too."""

    namespace: str
    name: str
    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    pool: str = ""
    node: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class MetallbState:
    """`known` is False where no API server answered. `speakers`: node → its pod is ready. `webhook`: what is wrong with
    it, empty when it serves."""

    known: bool
    installed: bool = False
    pools: tuple[PoolState, ...] = ()
    services: tuple[Balanced, ...] = ()
    controller: bool = False
    speakers: Mapping[str, bool] = None  # type: ignore[assignment]
    webhook: str = ""

    @property
    def waiting(self) -> tuple[Balanced, ...]:
        """Services without an address."""
        return tuple(s for s in self.services if not s.addresses)


def metallb_questions() -> dict[str, frozenset[Probe[Any]]]:
    """For the API."""
    return {API: frozenset({SERVICES, POOLS, ADVERTISEMENTS, ANNOUNCED, PODS, WEBHOOK_PODS, WEBHOOK})}


def state_of(facts: Facts) -> MetallbState:
    """The answers, judged."""
    services = facts.value(SERVICES)
    if services is None:
        return MetallbState(known=False, speakers={})
    pods = facts.value(PODS) or ()
    speakers = {p.get("spec", {}).get("nodeName", ""): _ready(p) for p in _of(pods, "speaker")}
    announced = facts.value(ANNOUNCED)
    nodes = _announcing(announced or (), {node for node, ready in speakers.items() if ready})
    balanced = tuple(_balanced(s, nodes) for s in services if s.get("spec", {}).get("type") == "LoadBalancer")
    named = {name for one in facts.value(ADVERTISEMENTS) or () for name in _advertised(one)}
    pools = [_pool(p, balanced, named) for p in facts.value(POOLS) or ()]
    return MetallbState(
        known=True,
        installed=bool(pods) or facts.value(WEBHOOK) is not None,
        pools=tuple(sorted(pools, key=lambda p: p.name)),
        services=tuple(sorted(balanced, key=lambda s: s.full_name)),
        controller=any(_ready(p) for p in _of(pods, "controller")),
        speakers=dict(sorted((n, ready) for n, ready in speakers.items() if n)),
        webhook=_webhook(facts),
    )


def ranges_of(texts: Iterable[str]) -> tuple[Range, ...]:
    """The ranges that can be read; what somebody else wrote into a pool need not be ours to read."""
    found = []
    for text in texts:
        try:
            found.append(Range.parse(text))
        except ValueError:
            continue
    return tuple(found)


def _pool(item: Item, services: Iterable[Balanced], named: set[str]) -> PoolState:
    name, texts = item["metadata"]["name"], tuple(item.get("spec", {}).get("addresses", ()))
    ranges = ranges_of(texts)
    taken = {a for s in services for a in s.addresses if any(ipaddress.ip_address(a) in r for r in ranges)}
    return PoolState(name, texts, sum(count(r) for r in ranges), len(taken), name in named or "*" in named)


def _advertised(item: Item) -> tuple[str, ...]:
    spec = item.get("spec") or {}
    # Without any pool named, and without a selector of pools, all are meant.
    return tuple(spec.get("ipAddressPools") or (() if spec.get("ipAddressPoolSelectors") else ("*",)))


def _balanced(item: Item, nodes: Mapping[tuple[str, str], str]) -> Balanced:
    meta, spec = item["metadata"], item["spec"]
    given = item.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    pool = meta.get("annotations", {}).get("metallb.universe.tf/ip-allocated-from-pool", "")
    return Balanced(
        meta["namespace"],
        meta["name"],
        tuple(one["ip"] for one in given if one.get("ip")),
        tuple(p["port"] for p in spec.get("ports", ()) if p.get("protocol", "TCP") == "TCP"),
        pool,
        nodes.get((meta["namespace"], meta["name"]), ""),
    )


def _announcing(items: Iterable[Item], living: Collection[str]) -> dict[tuple[str, str], str]:
    """The node that announces each Service. The last word of a speaker that is gone stands there still."""
    found = {}
    for item in items:
        status = item.get("status") or {}
        if status.get("node") in living:
            found[status.get("serviceNamespace", ""), status.get("serviceName", "")] = status["node"]
    return found


def _of(pods: Iterable[Item], component: str) -> list[Item]:
    return [p for p in pods if p["metadata"].get("labels", {}).get("component") == component]


def _ready(pod: Item) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _webhook(facts: Facts) -> str:
    found = facts.value(WEBHOOK)
    if found is None:
        return "not there"
    if not all(hook.get("clientConfig", {}).get("caBundle") for hook in found.get("webhooks", ())):
        return "has no certificate yet"
    endpoints = [e for s in facts.value(WEBHOOK_PODS) or () for e in s.get("endpoints") or ()]
    serving = any((e.get("conditions") or {}).get("ready") for e in endpoints)
    return "" if serving else "no pod stands behind it"

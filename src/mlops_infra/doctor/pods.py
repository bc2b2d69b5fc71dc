"""What runs in the cluster, as the API tells it: pods that do not run, and Services that lead to nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from mlops_infra.core import Absent, ApiObject
from mlops_infra.doctor.check import NO_API, OK, Check, Finding, Severity, Verdict, asks_api, first_of, kubectl
from mlops_infra.doctor.probes import OBJECTS
from mlops_infra.doctor.view import View

__all__ = [
    "API_ENDPOINTS",
    "DNS_ENDPOINTS",
    "ENDPOINTS",
    "PODS",
    "Item",
    "age",
    "name_of",
    "nodes_of",
    "of_objects",
    "pods_of",
    "told",
]

DNS_ENDPOINTS = ApiObject("v1", "Endpoints", "kube-dns", "kube-system")
API_ENDPOINTS = ApiObject("v1", "Endpoints", "kubernetes", "default")

_PENDING, _TERMINATING = timedelta(minutes=10), timedelta(minutes=10)
_BACK_OFF = "CrashLoopBackOff"
_CRASHES = 3
"""Restarts from which CrashLoopBackOff is told: a pod that waits for another one at its start gets by with fewer."""
_IMAGE = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull")
_SHOWN = 6

Item = Mapping[str, Any]
Pod = Item
_OfItems = Callable[[View, tuple[Item, ...]], Verdict]


def pods_of(view: View) -> tuple[Pod, ...] | None:
    """All pods; None where there is no API to ask."""
    return view.objects(OBJECTS, "Pod")


def of_objects(kind: str) -> Callable[[_OfItems], Callable[[View, str], Verdict]]:
    """Makes a judge of all objects of a kind, out of OBJECTS: skipped where the API does not tell of them."""

    def over(judge: _OfItems) -> Callable[[View, str], Verdict]:
        def ask(view: View, _: str) -> Verdict:
            found = view.objects(OBJECTS, kind)
            return NO_API if found is None else judge(view, found)

        return ask

    return over


def name_of(pod: Pod) -> str:
    """`namespace/name`, of any object."""
    meta = pod.get("metadata", {})
    return f"{meta.get('namespace', '')}/{meta.get('name', '')}"


def age(view: View, text: str) -> timedelta:
    """Nothing where there is no time: what is not known is not old."""
    try:
        return view.now - datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return timedelta()


def _waiting(pod: Pod) -> Iterator[tuple[str, str, int]]:
    """Reason, message and restarts of each container that waits for its next start.

    One that has just ended with an error, and is started again, counts as one that waits already.
    """
    status = pod.get("status", {})
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        restarts = int(container.get("restartCount", 0))
        if reason := waiting.get("reason"):
            yield str(reason), str(waiting.get("message", "")), restarts
        elif (state.get("terminated") or {}).get("exitCode") and status.get("phase") == "Running":
            yield _BACK_OFF, "", restarts


def told(
    view: View,
    found: Mapping[str, str],
    nodes: Mapping[str, str],
    *,
    brief: str,
    cause: str,
    remedy: str,
    noun: str = "",
    stands_alone: bool = False,
) -> Verdict:
    """One finding for all pods of a kind: their number, and the first of them.

    `brief` has the name or the number at {who}, and each `one|many` of words where these differ. `noun`: what they are
    where they are no pods.
    """
    if not found:
        return OK
    names = list(found)
    one = f"the {noun} {names[0]}" if noun else names[0]
    who = one if len(names) == 1 else f"{len(names)} {noun or 'pod'}s"
    space, _, name = names[0].partition("/")
    ours = {h.name for h in view.cluster.nodes}
    hosts = tuple(dict.fromkeys(nodes[n] for n in names if nodes.get(n) in ours))
    return Finding(
        re.sub(r"(\w*)\|(\w*)", r"\1" if len(names) == 1 else r"\2", brief).format(who=who),
        first_of([f"{n}: {found[n]}".rstrip(": ")[:200] for n in names], _SHOWN),
        cause,
        kubectl(view.a_master, remedy.format(space=space, name=name)),
        # A pod may run anywhere: only where all are on known nodes can one of these be the cause.
        hosts=hosts if hosts and all(nodes.get(n) in ours for n in names) else (),
        stands_alone=stands_alone,
    )


def nodes_of(pods: tuple[Pod, ...]) -> dict[str, str]:
    """Its node, by the name of each pod."""
    return {name_of(p): p.get("spec", {}).get("nodeName", "") for p in pods}


@of_objects("Pod")
def _crashing(view: View, pods: tuple[Pod, ...]) -> Verdict:
    found = {
        name_of(p): f"{restarts} restarts"
        for p in pods
        for reason, _, restarts in _waiting(p)
        if reason == _BACK_OFF and restarts >= _CRASHES
    }
    return told(
        view,
        found,
        nodes_of(pods),
        brief="{who} ends|end again and again",
        cause="its program ends as soon as it is started: its log says why",
        remedy="-n {space} logs {name} --all-containers --previous --tail=20",
    )


@of_objects("Pod")
def _images(view: View, pods: tuple[Pod, ...]) -> Verdict:
    found = {name_of(p): f"{reason}: {message}" for p in pods for reason, message, _ in _waiting(p) if reason in _IMAGE}
    return told(
        view,
        found,
        nodes_of(pods),
        brief="{who} waits|wait for an image that cannot be pulled",
        cause="a wrong name or tag, a registry that is not reached or wants a login",
        remedy="-n {space} describe pod {name}",
    )


@of_objects("Pod")
def _pending(view: View, pods: tuple[Pod, ...]) -> Verdict:
    found = {}
    for pod in pods:
        if pod.get("status", {}).get("phase") != "Pending" or pod.get("spec", {}).get("nodeName"):
            continue
        if age(view, pod.get("metadata", {}).get("creationTimestamp", "")) > _PENDING:
            conditions = pod.get("status", {}).get("conditions") or ()
            found[name_of(pod)] = next((str(c.get("message", "")) for c in conditions if c.get("message")), "")
    return told(
        view,
        found,
        {},
        brief="{who} finds|find no node",
        cause="no node has room or fits (requests, taints, selectors, cordons), or a claim is not bound",
        remedy="-n {space} describe pod {name}",
    )


@of_objects("Pod")
def _terminating(view: View, pods: tuple[Pod, ...]) -> Verdict:
    found = {
        name_of(p): f"since {text}"
        for p in pods
        if (text := p.get("metadata", {}).get("deletionTimestamp")) and age(view, text) > _TERMINATING
    }
    return told(
        view,
        found,
        nodes_of(pods),
        brief="{who} should be gone and is|are not",
        cause="its node does not answer, or a finalizer or a volume holds it",
        remedy="-n {space} describe pod {name}",
    )


def _ready_addresses(endpoints: Mapping[str, Any]) -> list[str]:
    return [a.get("ip", "") for s in endpoints.get("subsets") or () for a in s.get("addresses") or ()]


def _dns(view: View, _: str) -> Verdict:
    there = view.api(DNS_ENDPOINTS)
    if there is None:
        return NO_API
    if not isinstance(there, Absent) and _ready_addresses(there):
        return OK
    return Finding(
        "the Service of the cluster's DNS leads to nobody",
        "Endpoints kube-system/kube-dns: no address",
        "no pod of CoreDNS is ready, or their labels were changed",
        kubectl(view.a_master, "-n kube-system get pods -l k8s-app=kube-dns -o wide"),
    )


def _api_endpoints(view: View, _: str) -> Verdict:
    there = view.api(API_ENDPOINTS)
    if there is None or isinstance(there, Absent):
        return NO_API
    ours = {m.node_address: m.name for m in view.cluster.hosts.masters}
    strangers = sorted(set(_ready_addresses(there)) - set(ours))
    if not strangers:
        return OK
    return Finding(
        f"pods are sent to API servers that are no masters of ours: {', '.join(strangers)}",
        "Endpoints default/kubernetes",
        "a master that was removed still serves, or one serves at another address than cluster.yaml has",
        kubectl(view.a_master, "get nodes -o wide"),
    )


_BELOW = ("node.ready", "cri.up", "kubelet.up", "cni.flannel", "dns.cluster", "api.lb", "host.disk")

ENDPOINTS: tuple[Check, ...] = (
    Check(
        "dns.service",
        "Does the Service of the cluster's DNS lead to somebody?",
        Severity.ERROR,
        _dns,
        "Pods ask for names at the address of the Service kube-dns; its endpoints are the ready pods of CoreDNS.",
        scope="cluster",
        api=asks_api(DNS_ENDPOINTS),
        depends_on=("dns.cluster", "node.ready", "cni.flannel"),
    ),
    Check(
        "api.endpoints",
        "Are pods sent to our API servers and no others?",
        Severity.WARNING,
        _api_endpoints,
        "The endpoints of default/kubernetes are the API servers that say they live. One that is missing is told by "
        "api.server.",
        scope="cluster",
        roles=frozenset({"master"}),
        api=asks_api(API_ENDPOINTS),
        depends_on=("etcd.members",),
    ),
)

PODS: tuple[Check, ...] = (
    Check(
        "pods.image",
        "Can all pods get their images?",
        Severity.WARNING,
        _images,
        "Containers that wait because their image cannot be pulled, in all namespaces.",
        scope="cluster",
        api=asks_api(OBJECTS),
        depends_on=_BELOW,
    ),
    Check(
        "pods.crash",
        "Do all pods stay up?",
        Severity.WARNING,
        _crashing,
        "Containers in CrashLoopBackOff after three restarts and more, in all namespaces.",
        scope="cluster",
        api=asks_api(OBJECTS),
        depends_on=_BELOW,
    ),
    Check(
        "pods.pending",
        "Does every pod find a node?",
        Severity.WARNING,
        _pending,
        "Pods that the scheduler has not given to a node for ten minutes; its own words are the evidence.",
        scope="cluster",
        api=asks_api(OBJECTS),
        depends_on=("node.ready", "node.cordoned", "node.pressure", "cp.controllers", "cp.leader", "storage.claims"),
    ),
    Check(
        "pods.terminating",
        "Do pods that were deleted go?",
        Severity.WARNING,
        _terminating,
        "Pods whose time to end was over ten minutes ago.",
        scope="cluster",
        api=asks_api(OBJECTS),
        depends_on=("host.ssh", "node.ready", "cri.up", "kubelet.up"),
    ),
)

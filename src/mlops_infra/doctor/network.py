"""What runs in the cluster for the cluster: Flannel, kube-proxy, CoreDNS, MetalLB, ingress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlops_infra.core import API, Absent, ApiObject, Probe
from mlops_infra.doctor.check import NO_API, NODES, OK, Check, Finding, Severity, Skipped, Verdict, kubectl, on_host
from mlops_infra.doctor.dns import LOOP
from mlops_infra.doctor.hosts import brief_of, changes_of, evidence_of
from mlops_infra.doctor.probes import (
    CONTAINERS,
    COREDNS,
    FLANNEL,
    INGRESS_LB,
    KUBE_PROXY,
    METALLB_CONTROLLER,
    METALLB_ENDPOINTS,
    METALLB_POOL,
    METALLB_SPEAKER,
    METALLB_WEBHOOK,
    Container,
    ingress,
    kubelet,
    parse_containers,
    said,
)
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

__all__ = ["NETWORK", "deployment_runs", "not_running_on"]

_Asked = ApiObject | Callable[[Cluster], ApiObject]
_NODE_BEHIND = ("node.ready", "cri.up", "cri.config", "kubelet.up", "host.disk", "host.sysctl", "host.modules")


def not_running_on(view: View, name: str, namespace: str) -> dict[str, str]:
    """Nodes on which no container of that name runs, and in what state it is; nodes that told no list are left out."""
    found = {}
    for node in view.cluster.nodes:
        answer = view.facts(node.name).value(CONTAINERS)
        containers = parse_containers(answer.stdout) if answer is not None else None
        if containers is None:
            continue
        mine: list[Container] = [c for c in containers if c.name == name and c.namespace == namespace]
        if not any(c.runs for c in mine):
            found[node.name] = ", ".join(f"{c.state}, {c.restarts} restarts" for c in mine) or "no container"
    return found


def _daemon(view: View, probe: ApiObject, what: str, *, container: str, remedy: str, drift: str = "") -> Verdict:
    """One pod on every node."""
    changes = changes_of(view, API, drift) if drift else ()
    there = view.api(probe)
    if there is None:
        return NO_API
    if isinstance(there, Absent):
        return Finding(
            f"{what} is not in the cluster",
            f"no {probe.kind} {probe.namespace}/{probe.name}",
            "it was deleted",
            remedy,
            stands_alone=True,
        )
    status = there.get("status", {})
    wanted, ready = int(status.get("desiredNumberScheduled", 0)), int(status.get("numberReady", 0))
    if changes:
        return Finding(
            f"{what} in the cluster is not ours: {brief_of(changes)}",
            evidence_of(changes),
            "it was edited by hand, or cluster.yaml was changed and not applied",
            remedy,
            severity=None if ready < wanted else Severity.WARNING,
        )
    if wanted == 0:
        return Finding(
            f"{what} runs nowhere",
            f"{probe.kind} {probe.namespace}/{probe.name}: 0 pods wanted",
            "its node selector fits no node",
            remedy,
            stands_alone=True,
        )
    if ready >= wanted:
        return OK
    down = not_running_on(view, container, probe.namespace)
    silent = [n.name for n in view.cluster.nodes if not view.answered(n.name)]
    hosts = tuple(dict.fromkeys([*down, *silent]))
    where = f" (not on {', '.join(hosts)})" if hosts else ""
    return Finding(
        f"{what} is ready on {ready} of {wanted} nodes{where}",
        "\n".join(f"{h}: {w}" for h, w in down.items()),
        "its pod does not start there, or only just did",
        kubectl(view.a_master, f"-n {probe.namespace} rollout restart daemonset/{probe.name}"),
        hosts=hosts,
        severity=None if hosts and ready == 0 else Severity.ERROR,
    )


def deployment_runs(view: View, probe: ApiObject, what: str, remedy: str, replicas: int = 1) -> Verdict:
    """Whether the API says that all its pods are ready. `remedy`: where it is not there at all."""
    there = view.api(probe)
    if there is None:
        return NO_API
    place = f"{probe.namespace}/{probe.name}"
    if isinstance(there, Absent):
        return Finding(
            f"{what} is not in the cluster", f"no Deployment {place}", "it was deleted", remedy, stands_alone=True
        )
    wanted = int(there.get("spec", {}).get("replicas", 1))
    ready = int(there.get("status", {}).get("readyReplicas", 0) or 0)
    if wanted == 0:
        return Finding(
            f"{what} is scaled to 0",
            f"Deployment {place}: 0 replicas wanted",
            "somebody scaled it down and did not scale it up again",
            kubectl(view.a_master, f"-n {probe.namespace} scale deployment/{probe.name} --replicas={replicas}"),
            stands_alone=True,
        )
    if ready >= wanted:
        return OK
    conditions = [
        f"{c.get('type')}: {c.get('message')}"
        for c in there.get("status", {}).get("conditions", ())
        if (c.get("status") == "False") == (c.get("type") != "ReplicaFailure")
    ]
    return Finding(
        f"{what}: {ready} of {wanted} pods are ready",
        "\n".join(conditions),
        "a node is gone and its pod not yet started elsewhere, no node has room, or the pod fails",
        kubectl(view.a_master, f"-n {probe.namespace} rollout restart deployment/{probe.name}"),
        severity=None if ready == 0 else Severity.WARNING,
    )


def _flannel(view: View, _: str) -> Verdict:
    if view.cluster.network.cni != "flannel":
        return Skipped("cluster.yaml brings a CNI of its own")
    remedy = "mlops-infra network apply"
    return _daemon(view, FLANNEL, "Flannel", container="kube-flannel", remedy=remedy, drift="^api:Flannel$")


def _kube_proxy(view: View, _: str) -> Verdict:
    verdict = _daemon(
        view,
        KUBE_PROXY,
        "kube-proxy",
        container="kube-proxy",
        remedy=_addon(view, "kube-proxy"),
    )
    if verdict is not OK:
        return verdict
    sick = {}
    for node in view.cluster.nodes:
        answer = (said(view.facts(node.name), kubelet(view.cluster)) or {}).get("proxyz")
        if answer and " 200" not in answer[0]:
            sick[node.name] = answer[0]
    if not sick:
        return OK
    return Finding(
        f"kube-proxy is not healthy on {', '.join(sick)}",
        "\n".join(f"{h}: http://127.0.0.1:10256/healthz: {w}" for h, w in sick.items()),
        "it does not reach the API, or cannot write the kernel's rules",
        kubectl(view.a_master, "-n kube-system rollout restart daemonset/kube-proxy"),
        hosts=tuple(sick),
    )


def _dns(view: View, _: str) -> Verdict:
    return deployment_runs(view, COREDNS, "CoreDNS", _addon(view, "coredns"), replicas=2)


def _addon(view: View, name: str) -> str:
    """kubeadm makes its add-on again, with what the cluster still knows of the settings it was made with."""
    read = "kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system get configmap"
    config = "/run/mlops-infra-kubeadm.yaml"
    script = f"{{ {read} kubeadm-config -o jsonpath={{.data.ClusterConfiguration}}"
    if name == "kube-proxy":
        # Without its own part kubeadm would go back to defaults.
        script += f'; printf "\\n---\\n"; {read} kube-proxy -o go-template="{{{{index .data \\"config.conf\\"}}}}"'
    return on_host(view.a_master, f"{script}; }} >{config} && kubeadm init phase addon {name} --config {config}")


def _if_installed(probe: _Asked, what: str, judge: Callable[[View], Verdict]) -> Callable[[View, str], Verdict]:
    def guarded(view: View, _: str) -> Verdict:
        there = view.api(_of(probe, view.cluster))
        if there is None:
            return NO_API
        return Skipped(f"{what} is not installed") if isinstance(there, Absent) else judge(view)

    return guarded


def _metallb_controller(view: View) -> Verdict:
    return deployment_runs(view, METALLB_CONTROLLER, "MetalLB's controller", "mlops-infra up")


def _metallb_speakers(view: View) -> Verdict:
    return _daemon(view, METALLB_SPEAKER, "MetalLB's speaker", container="speaker", remedy="mlops-infra up")


def _metallb_webhook(view: View) -> Verdict:
    there = view.api(METALLB_ENDPOINTS)
    if there is None:
        return NO_API
    if isinstance(there, Absent):
        return Finding(
            "MetalLB's webhook is gone: no pool can be changed",
            "no Service metallb-system/metallb-webhook-service",
            "it was deleted",
            "mlops-infra up",
            stands_alone=True,
        )
    if isinstance(view.api(METALLB_WEBHOOK), Absent):
        return Finding(
            "MetalLB's webhook is not registered: pools are changed without being checked",
            f"no ValidatingWebhookConfiguration {METALLB_WEBHOOK.name}",
            "it was deleted",
            "mlops-infra up",
            stands_alone=True,
        )
    if any(s.get("addresses") for s in there.get("subsets") or ()):
        return OK
    return Finding(
        "MetalLB's webhook has nobody behind it: no pool can be changed",
        "Endpoints metallb-system/metallb-webhook-service: no address",
        "the controller does not run, or is not ready yet",
        kubectl(view.a_master, "-n metallb-system rollout restart deployment/controller"),
    )


def _metallb_pool(view: View) -> Verdict:
    if not view.cluster.metallb.pool:
        return Skipped("cluster.yaml names no pool")
    there = view.api(METALLB_POOL)
    if there is None:
        return NO_API
    if isinstance(there, Absent):
        return Finding(
            "MetalLB has no pool: no Service gets an address",
            "no IPAddressPool metallb-system/default-pool",
            "it was deleted, or `up` did not end",
            "mlops-infra up",
        )
    return OK


def _ingress(view: View) -> Verdict:
    return deployment_runs(view, ingress(view.cluster), "the ingress controller", "mlops-infra up", replicas=2)


def _ingress_address(view: View) -> Verdict:
    service = view.api(INGRESS_LB)
    if service is None:
        return NO_API
    if isinstance(service, Absent) or not view.cluster.metallb.pool:
        return Skipped("the ingress controller has no Service of type LoadBalancer, or there is no pool")
    if service.get("status", {}).get("loadBalancer", {}).get("ingress"):
        return OK
    return Finding(
        "the ingress controller's Service waits for an address",
        "Service ingress-nginx/ingress-nginx-controller-lb: no address",
        "the pool is used up, or MetalLB's controller does not work",
        kubectl(view.a_master, "-n ingress-nginx describe service ingress-nginx-controller-lb"),
    )


def _api(*probes: _Asked) -> Callable[[Cluster], frozenset[Probe[Any]]]:
    return lambda cluster: frozenset(_of(probe, cluster) for probe in probes)


def _of(probe: _Asked, cluster: Cluster) -> ApiObject:
    return probe if isinstance(probe, ApiObject) else probe(cluster)


def _node_needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    return frozenset({CONTAINERS, kubelet(cluster)}) if cluster.role(host.name) in NODES else frozenset()


NETWORK: tuple[Check, ...] = (
    LOOP,
    Check(
        "cni.flannel",
        "Does Flannel run on every node?",
        Severity.CRITICAL,
        _flannel,
        "Flannel carries packets between pods of different nodes. A node without it still runs what it runs, and "
        "its new pods reach nobody elsewhere.",
        scope="cluster",
        needs=_node_needs,
        api=_api(FLANNEL),
        plan=True,
        depends_on=_NODE_BEHIND,
        claims=("^api:Flannel$",),
    ),
    Check(
        "svc.kubeproxy",
        "Does kube-proxy run and work on every node?",
        Severity.ERROR,
        _kube_proxy,
        "kube-proxy makes Services and node ports work on its node. Its own health page is asked on every node.",
        scope="cluster",
        needs=_node_needs,
        api=_api(KUBE_PROXY),
        depends_on=_NODE_BEHIND,
    ),
    Check(
        "dns.cluster",
        "Does CoreDNS run?",
        Severity.CRITICAL,
        _dns,
        "Without CoreDNS no pod finds a Service by its name.",
        scope="cluster",
        api=_api(COREDNS),
        depends_on=(*_NODE_BEHIND, "host.resolver", "dns.loop", "cni.flannel", "svc.kubeproxy"),
    ),
    Check(
        "metallb.controller",
        "Does MetalLB's controller run?",
        Severity.ERROR,
        _if_installed(METALLB_SPEAKER, "MetalLB", _metallb_controller),
        "The controller gives addresses of the pool to Services of type LoadBalancer.",
        scope="cluster",
        api=_api(METALLB_CONTROLLER, METALLB_SPEAKER),
        depends_on=(*_NODE_BEHIND, "cni.flannel", "dns.cluster"),
        claims=("^ready:MetalLB$",),
    ),
    Check(
        "metallb.speaker",
        "Does MetalLB's speaker run on every node?",
        Severity.ERROR,
        _if_installed(METALLB_CONTROLLER, "MetalLB", _metallb_speakers),
        "The speakers answer ARP for the addresses of Services; another worker takes over where one is gone.",
        scope="cluster",
        needs=_node_needs,
        api=_api(METALLB_SPEAKER, METALLB_CONTROLLER),
        depends_on=_NODE_BEHIND,
    ),
    Check(
        "metallb.webhook",
        "Can MetalLB's pools be changed?",
        Severity.WARNING,
        _if_installed(METALLB_CONTROLLER, "MetalLB", _metallb_webhook),
        "Every change of a pool is checked by a webhook in MetalLB's controller; with nobody behind it all are "
        "refused, and where it is not registered nothing is.",
        scope="cluster",
        api=_api(METALLB_ENDPOINTS, METALLB_WEBHOOK, METALLB_CONTROLLER),
        depends_on=("metallb.controller", "cni.flannel"),
    ),
    Check(
        "metallb.pool",
        "Has MetalLB the pool of cluster.yaml?",
        Severity.ERROR,
        _if_installed(METALLB_CONTROLLER, "MetalLB", _metallb_pool),
        "Without a pool Services of type LoadBalancer wait for an address for ever.",
        scope="cluster",
        api=_api(METALLB_POOL, METALLB_CONTROLLER),
        depends_on=("metallb.controller", "metallb.webhook"),
    ),
    Check(
        "ingress.up",
        "Does the ingress controller run?",
        Severity.ERROR,
        _if_installed(ingress, "the ingress controller", _ingress),
        "HTTP and HTTPS reach the platform through it. Skipped while none is installed.",
        scope="cluster",
        api=_api(ingress),
        depends_on=(*_NODE_BEHIND, "cni.flannel", "dns.cluster"),
        claims=("^ready:.*ingress controller$",),
    ),
    Check(
        "ingress.address",
        "Has the ingress controller its address?",
        Severity.ERROR,
        _if_installed(ingress, "the ingress controller", _ingress_address),
        "The address of its Service of type LoadBalancer comes from MetalLB's pool.",
        scope="cluster",
        api=_api(ingress, INGRESS_LB),
        depends_on=("metallb.controller", "metallb.pool"),
    ),
)

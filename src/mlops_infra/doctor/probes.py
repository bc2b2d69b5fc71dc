"""The doctor's questions as probes, and their answers read back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlops_infra.core import (
    ApiList,
    ApiObject,
    Command,
    Facts,
    Probe,
    ReadText,
    Stat,
    Swaps,
    System,
    Unit,
)
from mlops_infra.doctor import scripts
from mlops_infra.doctor.x509 import end_of
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.lb import BACKENDS
from mlops_infra.phases.ready import NODES

__all__ = [
    "BACKENDS",
    "BALANCER",
    "CERTIFICATES",
    "CONTAINERD",
    "CONTAINERS",
    "COREDNS",
    "COREFILE",
    "CSRS",
    "FLANNEL",
    "HAPROXY",
    "INGRESS_CONFIG",
    "INGRESS_LB",
    "KUBELET",
    "KUBELET_CONF",
    "KUBELET_CONFIG",
    "KUBE_PROXY",
    "LEASES",
    "MACHINE",
    "MANIFEST",
    "METALLB_CONTROLLER",
    "METALLB_ENDPOINTS",
    "METALLB_POOL",
    "METALLB_SPEAKER",
    "METALLB_WEBHOOK",
    "NODES",
    "OBJECTS",
    "SWAPS",
    "SYSTEM",
    "Backend",
    "Container",
    "Said",
    "control_plane",
    "control_plane_of_masters",
    "ingress",
    "kubelet",
    "kubelet_of_masters",
    "parse_backends",
    "parse_certificates",
    "parse_containers",
    "said",
]

SYSTEM = System()
SWAPS = Swaps()
CONTAINERD = Unit("containerd.service")
KUBELET = Unit("kubelet.service")
HAPROXY = Unit("haproxy.service")
KUBELET_CONF = Stat("/etc/kubernetes/kubelet.conf")
KUBELET_CONFIG = Stat("/var/lib/kubelet/config.yaml")
HAPROXY_CONFIG = Stat("/etc/haproxy/haproxy.cfg")
MANIFEST = ReadText("/var/lib/mlops-infra/manifest.json")
"""The engine's own question: there on every host that `up` has worked on."""

MACHINE = Command("doctor-machine", scripts.machine(), timeout=15)
CERTIFICATES = Command("doctor-certificates", scripts.certificates(), timeout=15)
CONTAINERS = Command("doctor-containers", scripts.CONTAINERS, timeout=10)
BALANCER = Command("doctor-balancer", scripts.balancer(), timeout=15)

CSRS = ApiList("certificatesigningrequests")
OBJECTS = ApiList(
    "pods,services,persistentvolumeclaims,persistentvolumes,storageclasses.storage.k8s.io,poddisruptionbudgets.policy,"
    "certificatesigningrequests.certificates.k8s.io,clusterrolebindings.rbac.authorization.k8s.io"
)
"""Kinds that every API server has, in one list: another kubectl costs a master more than another kind."""
LEASES = tuple(
    ApiObject("coordination.k8s.io/v1", "Lease", name, "kube-system")
    for name in ("kube-controller-manager", "kube-scheduler")
)
INGRESS_CONFIG = ApiObject("v1", "ConfigMap", "ingress-nginx-controller", "ingress-nginx")
FLANNEL = ApiObject("apps/v1", "DaemonSet", "kube-flannel-ds", "kube-flannel")
KUBE_PROXY = ApiObject("apps/v1", "DaemonSet", "kube-proxy", "kube-system")
COREFILE = ApiObject("v1", "ConfigMap", "coredns", "kube-system")
COREDNS = ApiObject("apps/v1", "Deployment", "coredns", "kube-system")
METALLB_CONTROLLER = ApiObject("apps/v1", "Deployment", "controller", "metallb-system")
METALLB_SPEAKER = ApiObject("apps/v1", "DaemonSet", "speaker", "metallb-system")
METALLB_ENDPOINTS = ApiObject("v1", "Endpoints", "metallb-webhook-service", "metallb-system")
METALLB_WEBHOOK = ApiObject(
    "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "metallb-webhook-configuration"
)
METALLB_POOL = ApiObject("metallb.io/v1beta1", "IPAddressPool", "default-pool", "metallb-system")
INGRESS_DEPLOYMENTS = {"nginx": "ingress-nginx-controller", "traefik": "traefik", "none": "ingress-nginx-controller"}
INGRESS_LB = ApiObject("v1", "Service", "ingress-nginx-controller-lb", "ingress-nginx")


def ingress(cluster: Cluster) -> ApiObject:
    """The Deployment of the controller that cluster.yaml names."""
    return ApiObject("apps/v1", "Deployment", INGRESS_DEPLOYMENTS[cluster.ingress.controller], "ingress-nginx")


def kubelet(cluster: Cluster) -> Command:
    return Command("doctor-kubelet", scripts.kubelet(cluster), timeout=20)


def control_plane(host: Host) -> Command:
    return Command("doctor-control-plane", scripts.control_plane(host), timeout=30)


def control_plane_of_masters(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    """`Check.needs` of what every master is asked about its part of the control plane."""
    return frozenset({control_plane(host)}) if cluster.role(host.name) == "master" else frozenset()


def kubelet_of_masters(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    """`Check.needs` of what the kubelet's script asks on masters alone."""
    return frozenset({kubelet(cluster)}) if cluster.role(host.name) == "master" else frozenset()


Said = Mapping[str, tuple[str, ...]]
"""The lines that a script said, by their key."""


def said(facts: Facts, command: Command) -> Said | None:
    """None where the command could not be run to its end in time, or was never asked."""
    answer = facts.value(command)
    if answer is None:
        return None
    found: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():
        key, tab, value = line.partition("\t")
        if tab:
            found.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in found.items()}


def parse_certificates(lines: Said | None) -> dict[str, datetime | None]:
    """Path → end; None where the file holds no certificate that can be read."""
    found: dict[str, datetime | None] = {}
    for line in (lines or {}).get("certificate", ()):
        path, _, text = line.partition("\t")
        try:
            found[path] = end_of(text)
        except ValueError:
            found[path] = None
    return found


@dataclass(frozen=True, slots=True)
class Container:
    """The newest container of its name in a pod. `restarts` is the number of its attempt."""

    pod: str
    namespace: str
    name: str
    state: str
    restarts: int

    @property
    def runs(self) -> bool:
        return self.state == "CONTAINER_RUNNING"


_FIELD = re.compile(r'^\s*"([\w.]+)":\s*"?([^",]*)"?,?\s*$')


def parse_containers(text: str) -> tuple[Container, ...] | None:
    """From the lines of CONTAINERS; None where crictl gave no list."""
    records: list[dict[str, str]] = []
    for line in text.splitlines():
        match = _FIELD.match(line)
        if match is None:
            continue
        if match[1] == "id" and len(line) - len(line.lstrip()) == 6:
            records.append({})
        elif records:
            records[-1].setdefault(match[1], match[2])
    if not records and text.strip():
        return None
    newest: dict[tuple[str, str, str], Container] = {}
    for record in records:
        pod = record.get("io.kubernetes.pod.name", "")
        space = record.get("io.kubernetes.pod.namespace", "")
        one = Container(pod, space, record.get("name", ""), record.get("state", ""), int(record.get("attempt") or 0))
        key = (space, pod, one.name)
        if key not in newest or newest[key].restarts < one.restarts:
            newest[key] = one
    return tuple(newest.values())


@dataclass(frozen=True, slots=True)
class Backend:
    """A server in HAProxy's eyes; `status` is UP, DOWN, MAINT …; `check` what its health check saw last."""

    backend: str
    server: str
    status: str
    check: str = ""


def parse_backends(text: str) -> tuple[Backend, ...]:
    """Servers from HAProxy's `show stat` (CSV with a header)."""
    lines = [line for line in text.splitlines() if line]
    if not lines or not lines[0].startswith("# "):
        return ()
    header = lines[0][2:].split(",")
    rows = [dict(zip(header, line.split(","), strict=False)) for line in lines[1:]]
    return tuple(
        Backend(
            row["pxname"],
            row["svname"],
            re.sub(r"\s.*", "", row.get("status", "")),
            " ".join(filter(None, (row.get("check_status", "").lstrip("* "), row.get("last_chk", "")))),
        )
        for row in rows
        if row.get("svname") not in ("FRONTEND", "BACKEND", None)
    )


def parse_json(lines: tuple[str, ...]) -> Any:
    """The JSON that a tool printed, warnings before it left out; None where there is none."""
    text = "".join(lines)
    starts = [i for i in (text.find("{"), text.find("[{")) if i >= 0]
    if not starts:
        return None
    try:
        return json.JSONDecoder().raw_decode(text[min(starts) :])[0]
    except ValueError:
        return None

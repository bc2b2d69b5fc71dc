"""The load balancers: HAProxy, its file, and the servers behind it."""

from __future__ import annotations

from typing import Any

from mlops_infra.core import Probe
from mlops_infra.doctor.check import OK, Check, Finding, Severity, Skipped, Verdict
from mlops_infra.doctor.hosts import brief_of, changes_of, evidence_of
from mlops_infra.doctor.probes import BACKENDS, BALANCER, HAPROXY, Backend, ingress, parse_backends, said
from mlops_infra.doctor.runtime import stopped
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

__all__ = ["INGRESS_BACKENDS", "LB"]

BALANCERS = frozenset({"lb"})
_FILES = (r"^file:/etc/haproxy/", r"^file:.*haproxy\.service\.d/")


def _config(view: View, host: str) -> Verdict:
    changes = changes_of(view, host, *_FILES)
    lines = said(view.facts(host), BALANCER)
    refused = lines is not None and lines.get("checked", ("0",)) != ("0",)
    if not changes and not refused:
        return OK if lines is not None or view.plan is not None else Skipped("HAProxy's file could not be looked at")
    words = "\n".join((lines or {}).get("config", ()))
    if refused:
        return Finding(
            "HAProxy refuses its configuration: the next reload or start fails",
            words,
            "the file was edited by hand; what runs still has the old one",
            f"mlops-infra up --limit {host}",
        )
    return Finding(
        f"HAProxy's configuration is not ours: {brief_of(changes)}",
        evidence_of(changes),
        "the file was edited by hand, or cluster.yaml was changed and not applied",
        f"mlops-infra up --limit {host}",
        severity=Severity.WARNING,
    )


def _haproxy(view: View, host: str) -> Verdict:
    finding = stopped("haproxy.service", view.answer(host, HAPROXY), host)
    if finding is None:
        return OK
    severity = Severity.ERROR if len(view.cluster.hosts.lb) > 1 else None
    remedy = finding.remedy or f"mlops-infra up --limit {host}"
    return Finding(finding.brief, finding.evidence, finding.cause, remedy, severity=severity)


def _servers(view: View, host: str) -> tuple[Backend, ...] | None:
    answer = view.facts(host).value(BACKENDS)
    return parse_backends(answer.stdout) if answer is not None and answer.rc == 0 else None


def _is_down(server: Backend) -> bool:
    return server.status not in ("UP", "no", "")


def _api_backends(view: View, _: str) -> Verdict:
    found = []
    asked = False
    for host in view.cluster.hosts.lb:
        servers = _servers(view, host.name)
        asked = asked or servers is not None
        for server in servers or ():
            if server.backend == "api" and _is_down(server):
                word = "taken out of service (MAINT)" if server.status.startswith("MAINT") else "down"
                found.append(
                    Finding(
                        f"{host.name} holds the API server of {server.server} for {word}",
                        f"{server.status} {server.check}".strip(),
                        "the API server is not ready, or the load balancer does not reach it",
                        f"mlops-infra up --limit {server.server}",
                        hosts=(server.server,),
                    )
                )
    if not asked:
        return Skipped("no HAProxy could be asked")
    return tuple(found) if found else OK


def _ingress_backends(view: View, _: str) -> Verdict:
    if not isinstance(view.api(ingress(view.cluster)), dict):
        return Skipped("no ingress controller, or no API to ask")
    found = []
    for host in view.cluster.hosts.lb:
        servers = [s for s in _servers(view, host.name) or () if s.backend.startswith("ingress-")]
        down = [s for s in servers if _is_down(s)]
        if servers and len(down) == len(servers):
            found.append(
                Finding(
                    f"{host.name} reaches the ingress controller on no worker",
                    "\n".join(f"{s.backend} {s.server}: {s.status} {s.check}" for s in down[:4]),
                    "the controller does not run, or its Service has other node ports than cluster.yaml",
                    "mlops-infra up",
                )
            )
        elif down:
            names = tuple(dict.fromkeys(s.server for s in down))
            found.append(
                Finding(
                    f"{host.name} does not reach the ingress controller through {', '.join(names)}",
                    "\n".join(f"{s.backend} {s.server}: {s.status} {s.check}" for s in down[:4]),
                    "kube-proxy of that node, or the network between",
                    f"mlops-infra up --limit {names[0]}",
                    hosts=names,
                    severity=Severity.WARNING,
                )
            )
    return tuple(found) if found else OK


def _needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    return frozenset({HAPROXY, BALANCER, BACKENDS}) if cluster.role(host.name) == "lb" else frozenset()


def _ingress_api(cluster: Cluster) -> frozenset[Probe[Any]]:
    return frozenset({ingress(cluster)})


LB: tuple[Check, ...] = (
    Check(
        "lb.config",
        "Is HAProxy's file ours, and would HAProxy take it?",
        Severity.ERROR,
        _config,
        "Compares the file with the rendered one and runs `haproxy -c` on it. HAProxy goes on with its old "
        "configuration while the file is broken, until something reloads or restarts it.",
        roles=BALANCERS,
        needs=_needs,
        plan=True,
        claims=_FILES,
        depends_on=("host.disk",),
    ),
    Check(
        "lb.haproxy",
        "Does HAProxy run?",
        Severity.CRITICAL,
        _haproxy,
        "Nodes and clients reach the API, and browsers the ingress, through it.",
        roles=BALANCERS,
        needs=_needs,
        plan=True,
        depends_on=("lb.config", "host.disk"),
        claims=(r"^unit:haproxy\.service$",),
    ),
    Check(
        "lb.backends",
        "Does HAProxy hold every API server for ready?",
        Severity.ERROR,
        _api_backends,
        "HAProxy's own view, from its admin socket: the state of each server and what its health check saw last.",
        scope="cluster",
        roles=BALANCERS | {"master"},
        needs=_needs,
        depends_on=("lb.haproxy", "lb.config", "api.server", "cri.up", "kubelet.up", "cp.manifest", "etcd.member"),
    ),
)

INGRESS_BACKENDS = Check(
    "lb.ingress",
    "Does HAProxy reach the ingress controller on the workers?",
    Severity.ERROR,
    _ingress_backends,
    "HAProxy's own view of the node ports for HTTP and HTTPS; skipped while no ingress controller is installed.",
    scope="cluster",
    needs=_needs,
    api=_ingress_api,
    depends_on=(
        "lb.haproxy",
        "lb.config",
        "node.ready",
        "svc.kubeproxy",
        "ingress.up",
        "cni.flannel",
        # A node port leads to the controller's pods, which may be on other nodes.
        "net.vxlan",
        "ingress.nodeports",
        "ingress.proxyproto",
    ),
)

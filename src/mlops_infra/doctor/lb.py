"""The load balancers: HAProxy, its file, and the servers behind it."""

from __future__ import annotations

from typing import Any

from mlops_infra.core import Probe
from mlops_infra.doctor.check import OK, Check, Finding, Severity, Skipped, Verdict, on_host
from mlops_infra.doctor.control_plane import own_server
from mlops_infra.doctor.hosts import brief_of, changes_of, evidence_of
from mlops_infra.doctor.probes import BACKENDS, BALANCER, HAPROXY, Backend, ingress, kubelet, parse_backends, said
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
    missed = _well_but_down(view, host)
    return Finding(
        f"HAProxy's configuration is not ours: {brief_of(changes)}"
        + (f"; it holds {', '.join(missed)} for down, which {'is' if len(missed) == 1 else 'are'} well" * bool(missed)),
        evidence_of(changes),
        "the file was edited by hand, or cluster.yaml was changed and not applied",
        f"mlops-infra up --limit {host}",
        severity=None if missed else Severity.WARNING,
    )


def _well_but_down(view: View, balancer: str) -> tuple[str, ...]:
    """Servers that a balancer does not reach and that answer others: its own file is more likely wrong than they."""
    down = [s for s in _servers(view, balancer) or () if _is_down(s) and not s.status.startswith("MAINT")]
    return tuple(dict.fromkeys(s.server for s in down if _is_well(view, s)))


def _is_well(view: View, server: Backend) -> bool:
    name = server.server
    if server.backend == "api":
        return bool(own_server(view, name)[0])
    told = (said(view.facts(name), kubelet(view.cluster)) or {}).get("proxyz", ())
    return bool(told) and " 200" in told[0]


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
        found += [_not_reached(view, host.name, s) for s in servers or () if s.backend == "api" and _is_down(s)]
    if not asked:
        return Skipped("no HAProxy could be asked")
    return tuple(found) if found else OK


def _not_reached(view: View, balancer: str, server: Backend) -> Finding:
    """Where the API server itself is ready it is the balancer's matter: its file, or the way from it."""
    is_off = server.status.startswith("MAINT")
    brief = (
        f"{balancer} holds the API server of {server.server} for {'taken out of service (MAINT)' if is_off else 'down'}"
    )
    evidence = f"{server.status} {server.check}".strip()
    if not _is_well(view, server):
        cause = "the API server is not ready, or the load balancer does not reach it"
        return Finding(brief, evidence, cause, f"mlops-infra up --limit {server.server}", hosts=(server.server,))
    drifts = changes_of(view, balancer, *_FILES)
    return Finding(
        brief,
        evidence,
        "the API server is ready: HAProxy's file, which is not ours, leads elsewhere"
        if drifts
        else "the API server is ready: somebody took it out by HAProxy's socket, HAProxy runs with an older file, or a "
        "firewall is between them",
        f"mlops-infra up --limit {balancer}" if drifts else on_host(balancer, "systemctl reload haproxy"),
        hosts=(balancer,) if drifts else (server.server, balancer),
    )


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
            wrong = set(names) <= set(_well_but_down(view, host.name)) and changes_of(view, host.name, *_FILES)
            found.append(
                Finding(
                    f"{host.name} does not reach the ingress controller through {', '.join(names)}",
                    "\n".join(f"{s.backend} {s.server}: {s.status} {s.check}" for s in down[:4]),
                    "kube-proxy of that node, or the network between",
                    f"mlops-infra up --limit {host.name if wrong else names[0]}",
                    hosts=(host.name,) if wrong else names,
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

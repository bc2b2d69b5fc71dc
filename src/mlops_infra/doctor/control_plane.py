"""On every master: manifests, certificates, its own API server; and the API as clients find it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mlops_infra.core import Probe
from mlops_infra.doctor.check import NODES, OK, Check, Finding, Severity, Skipped, Verdict, on_host
from mlops_infra.doctor.probes import (
    CERTIFICATES,
    CONTAINERS,
    control_plane,
    control_plane_of_masters,
    kubelet,
    parse_certificates,
    parse_containers,
    said,
)
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

__all__ = ["API_LB", "CONTROLLERS", "CONTROL_PLANE", "own_server", "written_anew"]

MASTER = frozenset({"master"})
_LEAF_BAD, _LEAF_SOON, _CA_SOON = timedelta(days=30), timedelta(days=90), timedelta(days=365)
_PKI = "/etc/kubernetes/pki/"
_CAS = {f"{_PKI}ca.crt", f"{_PKI}front-proxy-ca.crt", f"{_PKI}etcd/ca.crt"}
_RENEW = {
    f"{_PKI}apiserver.crt": ("apiserver", "kube-apiserver"),
    f"{_PKI}apiserver-kubelet-client.crt": ("apiserver-kubelet-client", "kube-apiserver"),
    f"{_PKI}apiserver-etcd-client.crt": ("apiserver-etcd-client", "kube-apiserver"),
    f"{_PKI}front-proxy-client.crt": ("front-proxy-client", "kube-apiserver"),
    f"{_PKI}etcd/server.crt": ("etcd-server", "etcd"),
    f"{_PKI}etcd/peer.crt": ("etcd-peer", "etcd"),
    f"{_PKI}etcd/healthcheck-client.crt": ("etcd-healthcheck-client", ""),
    "/etc/kubernetes/admin.conf": ("admin.conf", ""),
    "/etc/kubernetes/super-admin.conf": ("super-admin.conf", ""),
    "/etc/kubernetes/controller-manager.conf": ("controller-manager.conf", "kube-controller-manager"),
    "/etc/kubernetes/scheduler.conf": ("scheduler.conf", "kube-scheduler"),
}
"""Path → kubeadm's name for it, and the container that has to be started anew to use it."""

_PHASES = {
    "etcd": "etcd local",
    "kube-apiserver": "control-plane apiserver",
    "kube-controller-manager": "control-plane controller-manager",
    "kube-scheduler": "control-plane scheduler",
}


def _manifests(view: View, host: str) -> Verdict:
    lines = said(view.facts(host), control_plane(view.cluster.host_named(host)))
    if lines is None:
        return Skipped("the master's script did not answer")
    elsewhere = dict(line.split("\t", 1) for line in lines.get("elsewhere", ()) if "\t" in line)
    found = []
    for name in lines.get("missing", ()):
        target = f"/etc/kubernetes/manifests/{name}.yaml"
        place = elsewhere.get(name)
        remedy = on_host(host, f"mv {place} {target}") if place else written_anew(view.cluster.host_named(host), name)
        found.append(
            Finding(
                f"the static pod {name} has no manifest",
                f"no {target}" + (f"; one lies at {place}" if place else ""),
                "it was moved away to stop the pod, and not put back"
                if place
                else "it was removed; kubeadm can write it anew from the cluster's configuration",
                remedy,
                hosts=(host,),
                severity=Severity.ERROR,
            )
        )
    return tuple(found) if found else OK


def written_anew(host: Host, name: str) -> str:
    """kubeadm's own phase, with the cluster's configuration (and this node's address, which it would guess)."""
    node = (
        "apiVersion: kubeadm.k8s.io/v1beta4\\nkind: InitConfiguration\\nlocalAPIEndpoint:\\n"
        f"  advertiseAddress: {host.node_address}\\nnodeRegistration:\\n  name: {host.name}\\n---\\n"
    )
    script = (
        f'umask 077; f=/run/mlops-infra-kubeadm.yaml; {{ printf "{node}"; kubectl --kubeconfig '
        "/etc/kubernetes/admin.conf -n kube-system get configmap kubeadm-config -o "
        "jsonpath={.data.ClusterConfiguration}; "
        f"}} >$f && kubeadm init phase {_PHASES[name]} --config $f; rm -f $f"
    )
    if name == "etcd":
        # Without data it would begin a cluster of its own, and this master's API server would show an empty one.
        script = f"[ -d /var/lib/etcd/member/wal ] && {script}"
    return on_host(host.name, script)


def _certificates(view: View, host: str) -> Verdict:
    ends = parse_certificates(said(view.facts(host), CERTIFICATES))
    ends = {path: end for path, end in ends.items() if not path.startswith("/var/lib/kubelet/")}
    if not ends:
        return Skipped("no certificate was told")
    found: list[tuple[Severity, str, str]] = []
    for path, end in sorted(ends.items()):
        soon, bad = (_CA_SOON, _LEAF_SOON) if path in _CAS else (_LEAF_SOON, _LEAF_BAD)
        if end is None:
            found.append((Severity.ERROR, path, "cannot be read"))
        elif end <= view.now:
            found.append((Severity.CRITICAL, path, f"ended at {end:%Y-%m-%d %H:%M} UTC"))
        elif end < view.now + soon:
            severity = Severity.ERROR if end < view.now + bad else Severity.WARNING
            found.append((severity, path, f"ends at {end:%Y-%m-%d %H:%M} UTC"))
    if not found:
        return OK
    found.sort()
    severity, path, words = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Finding(
        f"the certificate {path} {words}{more}",
        "\n".join(f"{p} {w}" for _, p, w in found),
        "certificates of kubeadm live a year and are renewed by upgrades alone; or a file was put there by hand",
        _renewal(host, [p for _, p, _ in found]),
        severity=Severity.ERROR if severity is Severity.CRITICAL else severity,
    )


def _renewal(host: str, paths: list[str]) -> str:
    names = [_RENEW[p] for p in paths if p in _RENEW]
    if not names:
        return "a CA is renewed by hand: https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates/"
    script = " && ".join(f"kubeadm certs renew {name}" for name, _ in names)
    pods = tuple(dict.fromkeys(pod for _, pod in names if pod))
    if pods:
        # The kubelet starts them again at once.
        script += "".join(f" && pkill -f ^{pod}" for pod in pods)
    return on_host(host, script)


def own_server(view: View, host: str) -> tuple[bool | None, str]:
    """Whether a master's own API server is ready, and what it said."""
    lines = said(view.facts(host), control_plane(view.cluster.host_named(host)))
    if lines is None:
        return None, ""
    answer = lines.get("own", ())
    return _is_ready(answer), "\n".join((*answer, *lines.get("kube-apiserver-log", ())))


def _is_ready(lines: tuple[str, ...]) -> bool:
    return any(line.startswith("HTTP/") and " 200" in line for line in lines)


def _server(view: View, host: str) -> Verdict:
    ready, words = own_server(view, host)
    if ready is None:
        return Skipped("the master's script did not answer")
    if ready:
        return OK
    if " 401 " in words:
        return Finding(
            "its API server answers health checks with 401",
            words,
            "anonymous requests are switched off (--anonymous-auth=false): the load balancer takes it for dead",
            "mlops-infra config show   # take anonymous-auth out of kubeadm.api_server_args",
        )
    return Finding(
        "its API server is not ready",
        words or "no answer on its port",
        "its container ends again and again, or etcd behind it does not answer",
        on_host(host, "pkill -f ^kube-apiserver; systemctl restart kubelet"),
    )


def _none(view: View, _: str) -> Verdict:
    asked = {m.name: own_server(view, m.name)[0] for m in view.cluster.hosts.masters if view.answered(m.name)}
    known = [ready for ready in asked.values() if ready is not None]
    if not known:
        return Skipped("no master could be asked")
    if any(known):
        return OK
    return Finding(
        "no API server is ready",
        ", ".join(asked),
        "each master has its own reason, or etcd has lost its majority",
        f"mlops-infra up --limit {next(iter(asked))}",
    )


def _controllers(view: View, host: str) -> Verdict:
    answer = view.facts(host).value(CONTAINERS)
    containers = parse_containers(answer.stdout) if answer is not None else None
    if containers is None:
        return Skipped("crictl gave no list of containers")
    down = [
        name
        for name in ("kube-controller-manager", "kube-scheduler")
        if not any(c.name == name and c.runs for c in containers)
    ]
    if not down:
        return OK
    states = [f"{c.name}: {c.state}, {c.restarts} restarts" for c in containers if c.name in down]
    return Finding(
        f"{' and '.join(down)} {'does' if len(down) == 1 else 'do'} not run",
        "\n".join(states),
        "it ended and waits to be started again, or its manifest is broken",
        on_host(host, "systemctl restart kubelet"),
        severity=Severity.WARNING if len(view.cluster.hosts.masters) > 1 else None,
    )


def _through(view: View, _: str) -> Verdict:
    """What the nodes and this machine meet at the endpoint."""
    inside: dict[str, tuple[bool, str]] = {}
    for node in view.cluster.nodes:
        lines = said(view.facts(node.name), kubelet(view.cluster))
        if lines is not None:
            answer = lines.get("endpoint", ())
            inside[node.name] = (_is_ready(answer), " ".join(answer) or "no answer")
    outside = [a for a in view.outside if a.target.what == "api"]
    if not inside and not outside:
        return Skipped("nobody could ask")
    failed = {name: words for name, (ready, words) in inside.items() if not ready}
    bad_outside = [a for a in outside if a.status != 200]
    endpoint = f"{view.cluster.endpoint_name} at {view.cluster.endpoint_address}"
    evidence = "\n".join(
        [f"from {name}: {words[:200]}" for name, words in list(failed.items())[:3]]
        + [f"from here: {a.problem or f'HTTP {a.status}'}" for a in bad_outside]
    )
    balancer = view.cluster.hosts.lb[0].name if view.cluster.hosts.lb else ""
    remedy = f"mlops-infra up --limit {balancer}" if balancer else "mlops-infra up"
    if (failed or not inside) and len(failed) == len(inside) and (bad_outside or not outside):
        return Finding(
            f"the API cannot be reached through {endpoint}",
            evidence,
            "the load balancer does not run, has no server behind it, or its address is somebody else's",
            remedy,
        )
    if failed and all("HTTP/" in words for words in failed.values()):
        return Finding(
            f"the API answers through {endpoint}, and says that it is not ready",
            evidence,
            "a server behind the load balancer is not ready, and is not taken out yet",
            on_host(view.a_master, "kubectl --kubeconfig /etc/kubernetes/admin.conf get --raw /readyz?verbose"),
            severity=Severity.ERROR,
        )
    if failed and any("verify error" in words or "verify failed" in words for words in failed.values()):
        return Finding(
            f"the certificate that the API shows at {endpoint} is not accepted",
            evidence,
            "a server behind the load balancer shows a certificate that has ended or is of another CA",
            on_host(view.a_master, "kubeadm certs check-expiration"),
        )
    if failed:
        return Finding(
            f"the API cannot be reached through {endpoint} from {', '.join(failed)}",
            evidence,
            "the endpoint's name points elsewhere on these hosts, or the network between them and it is cut",
            f"mlops-infra up --limit {next(iter(failed))}",
            hosts=tuple(failed),
            severity=Severity.ERROR,
        )
    if bad_outside:
        return Finding(
            f"this machine does not reach the API at {endpoint}; the nodes do",
            evidence,
            "a firewall between this machine and the load balancer",
            f"allow tcp {bad_outside[0].target.port} from this machine to {view.cluster.endpoint_address}",
            severity=Severity.WARNING,
        )
    return OK


def _certificate_needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    del cluster, host
    return frozenset({CERTIFICATES})


def _container_needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    del cluster, host
    return frozenset({CONTAINERS})


def _endpoint_needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    return frozenset({kubelet(cluster)}) if cluster.role(host.name) in NODES else frozenset()


CONTROL_PLANE: tuple[Check, ...] = (
    Check(
        "cp.manifest",
        "Are the static pods' manifests where the kubelet looks?",
        Severity.ERROR,
        _manifests,
        "etcd, API server, controller manager and scheduler run because their manifests lie in "
        "/etc/kubernetes/manifests. One that was moved away is looked for, so that it can be put back.",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=("etcd.removed",),
    ),
    Check(
        "cert.expiry",
        "Are the certificates of the control plane valid for long enough?",
        Severity.ERROR,
        _certificates,
        "Reads the end of every certificate below /etc/kubernetes. Leaf certificates warn from 90 days and are "
        "an error from 30; CAs warn a year before. Renewing restarts the pods that hold the old one.",
        roles=MASTER,
        needs=_certificate_needs,
    ),
)

SERVERS: tuple[Check, ...] = (
    Check(
        "api.server",
        "Is each master's own API server ready?",
        Severity.ERROR,
        _server,
        "GET /readyz of every API server at its own address, around the load balancer, its certificate verified.",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=(
            "host.disk",
            "host.inodes",
            "cri.up",
            "cri.config",
            "kubelet.up",
            "cp.manifest",
            "cert.expiry",
            "cp.flags",
            "etcd.member",
            "etcd.quorum",
        ),
    ),
    Check(
        "api.none",
        "Does any API server answer?",
        Severity.CRITICAL,
        _none,
        "Without an API server nothing can be changed in the cluster; pods that run go on running.",
        scope="cluster",
        roles=MASTER,
        needs=control_plane_of_masters,
        depends_on=("api.server", "etcd.quorum"),
    ),
)

API_LB = Check(
    "api.lb",
    "Do nodes and this machine reach the API through its endpoint?",
    Severity.CRITICAL,
    _through,
    "GET /readyz at the endpoint, from every node by the endpoint's name, and from the machine that runs the doctor.",
    scope="cluster",
    roles=frozenset({"lb", "master"}),
    needs=_endpoint_needs,
    outside=True,
    depends_on=("cert.expiry", "api.server", "api.none", "lb.haproxy", "lb.config", "host.sysctl"),
)

CONTROLLERS = Check(
    "cp.controllers",
    "Do controller manager and scheduler run on every master?",
    Severity.ERROR,
    _controllers,
    "One of each works at a time and another takes over. Where neither runs, nothing new is started in the cluster.",
    roles=MASTER,
    needs=_container_needs,
    depends_on=("cri.up", "kubelet.up", "cp.manifest", "cert.expiry", "cp.flags", "api.server", "api.lb"),
)

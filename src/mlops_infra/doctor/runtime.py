"""On every node: containerd, the kubelet, and the kubelet's certificates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mlops_infra.core import Absent, Probe, UnitFact
from mlops_infra.doctor.check import NODES, OK, Check, Finding, Severity, Skipped, Verdict, asks_api, kubectl, on_host
from mlops_infra.doctor.hosts import brief_of, changes_of, evidence_of
from mlops_infra.doctor.probes import (
    CERTIFICATES,
    CONTAINERD,
    KUBELET,
    OBJECTS,
    kubelet,
    parse_certificates,
    parse_json,
    said,
)
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.releases import pause_image

__all__ = ["RUNTIME", "stopped"]

_CONFIG_FILES = (r"^file:/etc/containerd/", r"^file:/etc/crictl\.yaml$", r"^(file|missing):.*containerd\.service\.d/")
_CONFIG_WORDS = ("kubelet config file", "kubelet configuration", "failed to decode", "unmarshal", "strict decoding")
_SERVING = "kubernetes.io/kubelet-serving"
_CSR_AGE = timedelta(minutes=15)
_ROTATION_LATE = timedelta(days=7)


def stopped(unit: str, fact: object, host: str) -> Finding | None:
    """What is wrong with a unit that should run, and how to start it; None where it runs."""
    name = unit.removesuffix(".service")
    if isinstance(fact, Absent):
        return Finding(f"{name} is not installed", "", "the package was removed", f"mlops-infra up --limit {host}")
    if not isinstance(fact, UnitFact):
        return None
    state = f"systemctl: {fact.active} ({fact.sub}), {fact.enabled}"
    if fact.enabled.startswith("masked") or fact.load == "masked":
        runtime = "--runtime " if fact.enabled == "masked-runtime" else ""
        return Finding(
            f"{name} is masked",
            state,
            "somebody ran `systemctl mask`: nothing can start it",
            on_host(host, f"systemctl unmask {runtime}{name} && systemctl enable --now {name}"),
        )
    if fact.active in ("active", "reloading", "activating") and fact.sub != "auto-restart":
        return None
    if fact.sub == "auto-restart" or fact.active == "failed":
        return Finding(f"{name} does not stay up", state, "it ends as soon as it is started", "")
    return Finding(
        f"{name} is stopped",
        state,
        "somebody stopped it, or it did not come up at boot",
        on_host(host, f"systemctl start {name}"),
    )


def _containerd(view: View, host: str) -> Verdict:
    finding = stopped("containerd.service", view.answer(host, CONTAINERD), host)
    if finding is None:
        return OK
    if not finding.remedy:
        config = changes_of(view, host, *_CONFIG_FILES)
        remedy = f"mlops-infra up --limit {host}" if config else on_host(host, "systemctl restart containerd")
        return Finding(finding.brief, finding.evidence + "\n" + evidence_of(config), finding.cause, remedy)
    return finding


def _cri(view: View, host: str) -> Verdict:
    changes = changes_of(view, host, *_CONFIG_FILES)
    if changes:
        return Finding(
            brief_of(changes),
            evidence_of(changes),
            "the file was edited by hand: it is ours as a whole, additions belong in `containerd.config` of "
            "cluster.yaml",
            f"mlops-infra up --limit {host}",
        )
    lines = said(view.facts(host), kubelet(view.cluster))
    if lines is None or "cri" not in lines:
        return Skipped("crictl did not answer")
    info = parse_json(lines["cri"])
    if not isinstance(info, dict):
        return Finding(
            "containerd does not answer as a container runtime",
            lines["cri"][0][:300],
            "it hangs, or its CRI plugin is switched off",
            on_host(host, "systemctl restart containerd"),
        )
    return _cri_settings(view, host, info)


def _cri_settings(view: View, host: str, info: dict[str, Any]) -> Verdict:
    config = info.get("config", {})
    wanted = pause_image(view.cluster.versions.kubernetes)
    image = config.get("sandboxImage", wanted)
    runc = config.get("containerd", {}).get("runtimes", {}).get("runc", {}).get("options", {})
    if image != wanted and not view.cluster.containerd.config:
        return Finding(
            f"containerd runs with the sandbox image {image}, kubeadm wants {wanted}",
            "crictl info: sandboxImage",
            "containerd was not restarted since its file was changed",
            on_host(host, "systemctl restart containerd"),
        )
    if runc and runc.get("SystemdCgroup") is False:
        return Finding(
            "containerd and the kubelet use different cgroup drivers",
            "crictl info: SystemdCgroup false",
            "containerd was not restarted since its file was changed",
            on_host(host, "systemctl restart containerd"),
        )
    for condition in info.get("status", {}).get("conditions", ()):
        if condition.get("type") == "RuntimeReady" and condition.get("status") is False:
            return Finding(
                "containerd says that it is not ready",
                str(condition.get("message", "")),
                "",
                on_host(host, "systemctl restart containerd"),
            )
    return OK


def _kubelet_log(view: View, host: str) -> tuple[str, ...]:
    return (said(view.facts(host), kubelet(view.cluster)) or {}).get("kubelet-log", ())


def _kubelet_config(view: View, host: str) -> Verdict:
    fact = view.facts(host).value(KUBELET)
    log = _kubelet_log(view, host)
    words = [line for line in log if any(word in line for word in _CONFIG_WORDS)]
    if fact is None or not words or (fact.active == "active" and fact.sub == "running"):
        return OK
    return Finding(
        "the kubelet cannot read its configuration",
        words[-1],
        "/var/lib/kubelet/config.yaml was edited by hand or is damaged; the cluster keeps a copy",
        on_host(host, "kubeadm upgrade node phase kubelet-config && systemctl restart kubelet"),
    )


def _kubelet_up(view: View, host: str) -> Verdict:
    finding = stopped("kubelet.service", view.answer(host, KUBELET), host)
    log = _kubelet_log(view, host)
    if finding is not None:
        evidence = "\n".join([finding.evidence, *log[-2:]])
        remedy = finding.remedy or on_host(host, "systemctl restart kubelet")
        return Finding(finding.brief, evidence, finding.cause, remedy)
    lines = said(view.facts(host), kubelet(view.cluster))
    if lines is None or "healthz" not in lines:
        return Skipped("the kubelet could not be asked")
    if " 200" in lines["healthz"][0]:
        return OK
    return Finding(
        "the kubelet runs, and is not healthy",
        f"http://127.0.0.1:10248/healthz: {lines['healthz'][0]}",
        "it has only just started, or hangs",
        on_host(host, "systemctl restart kubelet"),
    )


def _kubelet_certificate(view: View, host: str) -> Verdict:
    ends = parse_certificates(said(view.facts(host), CERTIFICATES))
    path = "/var/lib/kubelet/pki/kubelet-client-current.pem"
    if path not in ends:
        return Skipped("no certificate was told")
    end = ends[path]
    if end is not None and end > view.now + _ROTATION_LATE:
        return OK
    over = end is None or end <= view.now
    when = "cannot be read" if end is None else f"{'ended' if over else 'ends'} at {end:%Y-%m-%d %H:%M} UTC"
    remedy = on_host(host, "systemctl restart kubelet")
    if over and view.cluster.role(host) == "worker":
        away = f"{kubectl(view.a_master, f'delete node {host}')} && {on_host(host, 'kubeadm reset --force')}"
        remedy = f"{away} && mlops-infra up --limit {host}"
    return Finding(
        f"the kubelet's client certificate {when}",
        path,
        "the kubelet renews it long before; it could not reach the API, or the controller manager signs nothing",
        remedy,
        severity=None if over else Severity.WARNING,
    )


def _csrs(view: View, _: str) -> Verdict:
    listed = view.objects(OBJECTS, "CertificateSigningRequest")
    if listed is None:
        return Skipped("the API was not asked")
    pending = []
    for request in listed:
        spec, meta = request.get("spec", {}), request.get("metadata", {})
        if spec.get("signerName") != _SERVING or request.get("status", {}).get("conditions"):
            continue
        made = meta.get("creationTimestamp", "")
        if made and view.now - _parsed(made, view) > _CSR_AGE:
            pending.append((meta.get("name", ""), spec.get("username", "").removeprefix("system:node:")))
    if not pending:
        return OK
    hosts = tuple(dict.fromkeys(node for _, node in pending if node))
    return Finding(
        f"serving certificates wait for approval: {', '.join(hosts)}",
        "\n".join(f"{name} of {node}" for name, node in pending[:5]),
        "the approver refused them (a name or address that is not the node's), or its timer does not run",
        kubectl(view.a_master, f"certificate approve {' '.join(name for name, _ in pending)}"),
        hosts=hosts,
    )


def _parsed(text: str, view: View) -> Any:
    from datetime import datetime  # noqa: PLC0415

    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return view.now


def _kubelet_needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    del host
    return frozenset({KUBELET, CONTAINERD, kubelet(cluster)})


def _certificate_needs(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    del cluster, host
    return frozenset({CERTIFICATES})


RUNTIME: tuple[Check, ...] = (
    Check(
        "cri.up",
        "Does containerd run?",
        Severity.ERROR,
        _containerd,
        "Without containerd no container of the node is started or looked after; those that run go on for a while.",
        roles=NODES,
        needs=_kubelet_needs,
        plan=True,
        depends_on=("host.disk", "host.inodes"),
        claims=(r"^unit:containerd\.service$",),
    ),
    Check(
        "cri.config",
        "Is containerd configured as the kubelet needs it?",
        Severity.ERROR,
        _cri,
        "The file must be ours as a whole: sandbox image, cgroup driver and mirrors are in it. Also asks containerd "
        "what it really runs with.",
        roles=NODES,
        needs=_kubelet_needs,
        plan=True,
        depends_on=("cri.up",),
        claims=_CONFIG_FILES,
    ),
    Check(
        "kubelet.config",
        "Can the kubelet read its configuration?",
        Severity.ERROR,
        _kubelet_config,
        "A kubelet that cannot read /var/lib/kubelet/config.yaml ends at once, again and again. kubeadm writes "
        "the file anew from the cluster's copy.",
        roles=NODES,
        needs=_kubelet_needs,
    ),
    Check(
        "kubelet.up",
        "Does the kubelet run, and is it healthy?",
        Severity.ERROR,
        _kubelet_up,
        "The kubelet starts the pods of its node and tells the cluster that the node is alive. After 40 seconds "
        "without it the node counts as NotReady, after five minutes more its pods are started elsewhere.",
        roles=NODES,
        needs=_kubelet_needs,
        plan=True,
        depends_on=("host.swap", "cri.up", "cri.config", "kubelet.config"),
        claims=(r"^unit:kubelet\.service$",),
    ),
    Check(
        "kubelet.cert",
        "Does the kubelet renew its certificate?",
        Severity.ERROR,
        _kubelet_certificate,
        "The kubelet asks for a new client certificate when a fifth of its life is left. One that ends within a "
        "week was not renewed.",
        roles=NODES,
        needs=_certificate_needs,
        depends_on=("kubelet.up",),
    ),
)

CSR = Check(
    "kubelet.csr",
    "Are the kubelets' serving certificates approved?",
    Severity.WARNING,
    _csrs,
    "Requests of kubelets for serving certificates that nobody approved for 15 minutes: `kubectl logs` and metrics of "
    "those nodes do not work. Look at who asks before you approve by hand.",
    scope="cluster",
    api=asks_api(OBJECTS),
)

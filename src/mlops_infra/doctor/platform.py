"""The platform as a whole: what differs from cluster.yaml, what is half-done, and standing advice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mlops_infra.core import API, Change, Probe
from mlops_infra.doctor.backups import BACKUP_ADVICE, BACKUP_AGE
from mlops_infra.doctor.check import NO_API, OK, Check, Finding, Severity, Skipped, Verdict
from mlops_infra.doctor.hosts import evidence_of
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.drift import drift, drift_probes
from mlops_infra.resources.api_objects import NO_CLUSTER_YET

__all__ = ["ADVICE", "PLATFORM", "plan_drift"]

_VERSIONS, _RECEIVERS = "versions.", "monitoring.receivers"
"""Places of cluster.yaml whose warnings have a check of their own."""


def _half_done(view: View, _: str) -> Verdict:
    if view.plan is None:
        return Skipped(view.no_plan or "no plan could be made")
    silent = {p.host for p in view.seen.problems}
    found = [
        Finding(f"{p.host}: {p.brief}", p.cause, "a run ended in the middle", p.remedy, hosts=(p.host,))
        for p in view.plan.problems
        if p.host not in silent
    ]
    return tuple(found) if found else OK


def plan_drift(claimed: Callable[[Change], bool]) -> Check:
    """The check for all that `up` would change and no other check tells."""

    def judge(view: View, _: str) -> Verdict:
        if view.plan is None:
            return Skipped(view.no_plan or "no plan could be made")
        found = []
        for host in dict.fromkeys(step.id.host for step in view.plan.steps):
            # Where the API did not answer the plan takes it that nothing is there; here that is no drift.
            changes = tuple(c for c in view.changes(host) if not claimed(c) and c.reason != NO_CLUSTER_YET)
            if changes:
                found.append(_drift_finding(host, changes))
        return tuple(found) if found else OK

    return Check(
        "plan.drift",
        "Is everything as cluster.yaml says?",
        Severity.WARNING,
        judge,
        "What `mlops-infra plan` would show, without what other checks tell in their own words.",
        scope="cluster",
        plan=True,
        depends_on=(
            "platform.half",
            "host.packages",
            "cri.up",
            "kubelet.up",
            "lb.haproxy",
            "api.none",
            "node.ready",
            "cni.flannel",
            "metallb.controller",
            "metallb.speaker",
            "metallb.webhook",
            "metallb.pool",
            "ingress.up",
            "ingress.nodeports",
            "ingress.proxyproto",
            "storage.provisioner",
            "metrics.server",
            "monitoring.prometheus",
            "monitoring.alertmanager",
            "monitoring.grafana",
        ),
    )


def _drift_finding(host: str, changes: tuple[Change, ...]) -> Finding:
    where = "the cluster" if host == API else host
    many = f"{len(changes)} things on" if len(changes) > 1 else f"{changes[0].title}:"
    brief = f"{many} {where} differ from cluster.yaml" if len(changes) > 1 else f"{where}: {many} {changes[0].reason}"
    names = "\n".join(f"{c.title}: {c.reason}" for c in changes[:6]) if len(changes) > 1 else ""
    return Finding(
        brief,
        "\n".join(filter(None, (names, evidence_of(changes)))),
        "something was changed by hand, or cluster.yaml was edited and not applied",
        "mlops-infra up" if host == API else f"mlops-infra up --limit {host}",
        hosts=(host,),
    )


def _configuration(view: View, _: str) -> Verdict:
    if not view.has_api:
        return NO_API
    found = [Finding(f.brief, "", f.cause, f.remedy, stands_alone=True) for f in drift(view.cluster, view.seen.api)]
    return tuple(found) if found else OK


def _lone_key(view: View, _: str) -> Verdict:
    if not view.local.lone_key:
        return OK
    return Finding(
        f"one key opens the backups, and it is on this machine alone: {view.local.lone_key}",
        "",
        "whoever loses this machine loses every backup with it",
        "mlops-infra backup key export FILE (kept elsewhere), or a second key below `backup.recipients`",
    )


def _versions(view: View, _: str) -> Verdict:
    return _warned(words for place, words in view.local.warnings if place.startswith(_VERSIONS))


def _file(view: View, _: str) -> Verdict:
    told = (_VERSIONS, _RECEIVERS)
    return _warned(f"{place}: {words}" for place, words in view.local.warnings if not place.startswith(told))


def _warned(words: Iterable[str]) -> Verdict:
    return tuple(Finding(one, "", "", "mlops-infra validate") for one in words) or OK


def _single_balancer(view: View, _: str) -> Verdict:
    if len(view.cluster.hosts.lb) != 1 or view.cluster.lb.external or len(view.cluster.hosts.masters) == 1:
        return OK
    name = view.cluster.hosts.lb[0].name
    return Finding(
        f"{name} is the only load balancer: without it nobody reaches the API or the ingress",
        "",
        "",
        "a second host below `hosts.lb` and an address in `lb.vip`, then mlops-infra up",
    )


def _exposure(view: View, _: str) -> Verdict:
    if not view.cluster.security.expose_metrics or view.cluster.security.firewall:
        return OK
    return Finding(
        "metrics of the control plane can be read from the nodes' network (ports 2381, 10257, 10259)",
        "",
        "Prometheus needs them; etcd's are not encrypted",
        "`security.expose_metrics: false` in cluster.yaml, or `security.firewall: true`",
    )


def _drift_api(cluster: Cluster) -> frozenset[Probe[Any]]:
    del cluster
    return drift_probes()


HALF = Check(
    "platform.half",
    "Has every run ended?",
    Severity.ERROR,
    _half_done,
    "A join or an init that ended in the middle, told with the way out.",
    scope="cluster",
    plan=True,
    depends_on=("etcd.removed", "cp.manifest", "host.disk"),
)

PLATFORM: tuple[Check, ...] = (
    Check(
        "cluster.config",
        "Is what kubeadm was given what cluster.yaml says?",
        Severity.WARNING,
        _configuration,
        "kubeadm read its configuration when the cluster was made. A difference is told with the way to apply "
        "it, or the words that it cannot be applied.",
        scope="cluster",
        api=_drift_api,
    ),
    BACKUP_AGE,
)

ADVICE: tuple[Check, ...] = (
    *BACKUP_ADVICE,
    Check(
        "backup.key",
        "Could the backups be opened without this machine?",
        Severity.WARNING,
        _lone_key,
        "Bundles are encrypted. Standing advice from the first backup until the key was exported, or cluster.yaml "
        "names a second recipient.",
        scope="cluster",
        advice=True,
    ),
    Check(
        "version.eol",
        "Are the versions still maintained?",
        Severity.WARNING,
        _versions,
        "Versions past their end of life, security fixes they lack, and parts that nobody mends any more.",
        scope="cluster",
        advice=True,
    ),
    Check(
        "file.warnings",
        "Does cluster.yaml say what is better said otherwise?",
        Severity.WARNING,
        _file,
        "What `mlops-infra validate` warns of, but for versions (version.eol) and receivers (monitoring.receivers).",
        scope="cluster",
        advice=True,
    ),
    Check(
        "lb.single",
        "Is there a second load balancer?",
        Severity.WARNING,
        _single_balancer,
        "One load balancer in front of three masters is a single point of failure.",
        scope="cluster",
        advice=True,
    ),
    Check(
        "exposure.metrics",
        "Who can read the control plane's metrics?",
        Severity.WARNING,
        _exposure,
        "A deviation from the CIS benchmark that monitoring needs (1.3.7, 1.4.2).",
        scope="cluster",
        advice=True,
    ),
)

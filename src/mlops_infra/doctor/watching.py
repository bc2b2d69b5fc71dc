"""What Prometheus itself knows, asked at its node port; and who would be told."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mlops_infra.doctor.check import OK, Check, Finding, Severity, Skipped, Verdict, first_of
from mlops_infra.doctor.probes import kubelet, kubelet_of_masters, said
from mlops_infra.doctor.view import View
from mlops_infra.phases.host_exporters import is_wanted

__all__ = ["TARGETS", "WATCHDOG", "WATCHING_ADVICE"]

_SHOWN = 8
_OFF = Skipped("cluster.yaml has no monitoring, or no worker for it")
_SILENT = Skipped("Prometheus did not answer a master")


def _answer(view: View, key: str) -> list[Mapping[str, str]] | None:
    """Labels of each series of one query; None where no master was answered."""
    for master in view.cluster.hosts.masters:
        text = "".join((said(view.facts(master.name), kubelet(view.cluster)) or {}).get(key, ()))
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("status") == "success":
            return [one.get("metric", {}) for one in found.get("data", {}).get("result", ())]
    return None


def _targets(view: View, _: str) -> Verdict:
    if not is_wanted(view.cluster):
        return _OFF
    down = _answer(view, "targets")
    if down is None:
        return _SILENT
    if not down:
        return OK
    names = sorted(f"{one.get('job', '?')} at {one.get('instance', '?')}" for one in down)
    return Finding(
        f"Prometheus has not reached {names[0] if len(names) == 1 else f'{len(names)} targets'} for ten minutes",
        first_of(names, _SHOWN),
        "what should tell its metrics is down, listens elsewhere, or a firewall is between: its alerts cannot fire",
        "mlops-infra monitoring status",
    )


def _watchdog(view: View, _: str) -> Verdict:
    if not is_wanted(view.cluster):
        return _OFF
    missing = _answer(view, "watchdog")
    if missing is None:
        return _SILENT
    if not missing:
        return OK
    fires = not any(one.get("alertname") == "Watchdog" for one in missing)
    return Finding(
        "alerts do not get to Alertmanager: it has heard of none, and Watchdog always fires"
        if fires
        else "the alert Watchdog, which always fires, does not: Prometheus judges no alerts",
        "",
        "Prometheus does not find or reach Alertmanager" if fires else "its rules are not loaded, or were taken away",
        "mlops-infra monitoring apply",
    )


def _receivers(view: View, _: str) -> Verdict:
    if not is_wanted(view.cluster) or view.cluster.monitoring.receivers:
        return OK
    return Finding(
        "alerts reach nobody: no receiver is named",
        "",
        "",
        "`monitoring.receivers` in cluster.yaml, mlops-infra up, then mlops-infra monitoring alerts test",
    )


def _open(view: View, _: str) -> Verdict:
    if not is_wanted(view.cluster) or view.cluster.security.firewall:
        return OK
    port = view.cluster.monitoring.prometheus.node_port
    return Finding(
        f"whoever reaches a node reads all metrics at Prometheus' node port {port}, without a name",
        "",
        "node ports are open to everybody; Grafana beside it asks for its password",
        "`security.firewall: true` in cluster.yaml, then mlops-infra up",
    )


def _deprecated(view: View, _: str) -> Verdict:
    if not is_wanted(view.cluster):
        return _OFF
    calls = _answer(view, "deprecated")
    if calls is None:
        return _SILENT
    going = sorted(
        f"{one.get('resource', '?')}.{one.get('version', '')}.{one.get('group', '')}".rstrip(".")
        + f" (gone in {one['removed_release']})"
        for one in calls
        if one.get("removed_release")
    )
    if not going:
        return OK
    return Finding(
        f"somebody calls APIs that a later Kubernetes does not have: {', '.join(going[:4])}",
        "\n".join(going),
        "a program or a manifest of an older time; after the upgrade it fails",
        "find who calls (the API server's audit log, or managedFields of the objects) and bring it up to date",
    )


TARGETS = Check(
    "monitoring.targets",
    "Does Prometheus reach what it should watch?",
    Severity.WARNING,
    _targets,
    "Asks Prometheus for targets that it has not reached for ten minutes.",
    scope="cluster",
    needs=kubelet_of_masters,
    depends_on=("monitoring.prometheus", "node.ready", "kubelet.up", "cp.controllers", "net.ways", "host.units"),
)

WATCHDOG = Check(
    "monitoring.watchdog",
    "Do alerts get to Alertmanager?",
    Severity.WARNING,
    _watchdog,
    "The alert Watchdog always fires, so that its absence tells that alerts do not get through. Prometheus is asked "
    "whether it fired within ten minutes, and how many alerts Alertmanager said it holds.",
    scope="cluster",
    needs=kubelet_of_masters,
    depends_on=("monitoring.prometheus", "monitoring.alertmanager", "monitoring.targets", "net.ways"),
)

WATCHING_ADVICE: tuple[Check, ...] = (
    Check(
        "monitoring.receivers",
        "Is anybody told of alerts?",
        Severity.WARNING,
        _receivers,
        "Standing advice while monitoring is on and `monitoring.receivers` is empty.",
        scope="cluster",
        advice=True,
    ),
    Check(
        "exposure.monitoring",
        "Who can read Prometheus?",
        Severity.WARNING,
        _open,
        "Prometheus asks nobody for a name, and its node port is open wherever a node can be reached.",
        scope="cluster",
        advice=True,
    ),
    Check(
        "api.deprecated",
        "Does anybody call APIs that will be gone?",
        Severity.WARNING,
        _deprecated,
        "From the API servers' own count, which Prometheus keeps: to be looked at before an upgrade. Without "
        "monitoring it is not asked, because the count comes with megabytes of others.",
        scope="cluster",
        needs=kubelet_of_masters,
        advice=True,
    ),
)

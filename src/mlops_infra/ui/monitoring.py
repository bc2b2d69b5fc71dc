"""What monitoring does, and how a test of its alerts went, for a person and as JSON."""

from __future__ import annotations

from typing import Any

from mlops_infra.app.alert_test import AlertTest
from mlops_infra.app.monitoring import MonitoringState
from mlops_infra.ui.console import Style
from mlops_infra.ui.report import table

__all__ = ["alert_test_shape", "alert_test_text", "state_shape", "state_text"]


_OPEN = "the node ports are open to whoever reaches a node, and Prometheus asks nobody who they are"


def state_text(state: MonitoringState, style: Style) -> str:
    """Parts, targets, alerts and addresses."""
    if not state.installed:
        return "Monitoring is not installed (`monitoring.enabled`, then `mlops-infra monitoring apply`)."
    rows = [("PART", "PODS")]
    rows += [(p.name, _count(p.available, p.wanted, style)) for p in state.parts]
    lines = [*table(rows, style), ""]
    if state.jobs is None:
        lines += [style.bad("Prometheus does not answer: nothing is known of targets and alerts"), ""]
    else:
        targets = [("TARGETS", "UP", "DOWN")]
        targets += [(j.name, str(j.up), style.bad(", ".join(j.down)) if j.down else "") for j in state.jobs]
        lines += [*table(targets, style), ""]
        if state.firing:
            alerts = [("ALERT", "SEVERITY", "ABOUT"), *((a.name, a.severity, a.about) for a in state.firing)]
            lines += [*table(alerts, style), ""]
        else:
            lines += ["no alert fires", ""]
    lines += [f"{name:<12} {url}" for name, url in (state.addresses or {}).items()]
    if state.node_ports:
        lines += [f"{'node ports':<12} {', '.join(state.node_ports)}"]
    lines += [f"{'volume':<12} {state.volume or style.warn('none: samples end with the pod')}"]
    told = ", ".join(state.receivers) or style.warn("nobody (`monitoring.receivers`)")
    lines += [f"{'told':<12} {told}"]
    if state.node_ports:
        lines += [f"{style.note('note:')} {_OPEN}"]
    return "\n".join(lines)


def state_shape(state: MonitoringState) -> dict[str, Any]:
    """docs/reference/json.md, `monitoring status`."""
    return {
        "installed": state.installed,
        "well": state.is_well,
        "parts": [{"name": p.name, "available": p.available, "wanted": p.wanted} for p in state.parts],
        "targets": None
        if state.jobs is None
        else [{"job": j.name, "up": j.up, "down": list(j.down)} for j in state.jobs],
        "firing": [{"alert": a.name, "severity": a.severity, "about": a.about} for a in state.firing],
        "addresses": dict(state.addresses or {}),
        "node_ports": list(state.node_ports),
        "volume": state.volume,
        "receivers": list(state.receivers),
    }


def alert_test_text(test: AlertTest, style: Style) -> str:
    """Which receiver was told, and how far it came where one was not."""
    rows = [("RECEIVER", "BY", "TOLD", "FAILED ATTEMPTS")]
    for way in test.ways:
        told = style.good(f"after {way.seconds} s") if way.seconds is not None else style.bad("no")
        rows.append((way.receiver, way.integration, told, str(way.failures) if way.failures else ""))
    lines = table(rows, style)
    if not all(way.seconds is not None for way in test.ways):
        lines += ["", f"{style.dim('why:')} {_why(test)}"]
    if test.left:
        lines += ["", style.bad(test.left)]
    return "\n".join(lines)


def alert_test_shape(test: AlertTest) -> dict[str, Any]:
    """docs/reference/json.md, `monitoring alerts test`."""
    return {
        "ok": test.ok,
        "seconds": test.seconds,
        "fired": test.fired,
        "sent": test.sent,
        "ways": [
            {"receiver": w.receiver, "by": w.integration, "seconds": w.seconds, "failures": w.failures}
            for w in test.ways
        ],
        "left": test.left,
    }


def _why(test: AlertTest) -> str:
    if test.fired is None and test.sent is None:
        return "the rule never fired: kube-state-metrics or Prometheus (`mlops-infra monitoring status`)"
    if test.sent is None:
        return "Prometheus did not reach Alertmanager (`mlops-infra monitoring status`)"
    if any(way.failures for way in test.ways if way.seconds is None):
        return (
            "Alertmanager tried and was refused, or found nobody: look at the address and the secret under "
            "`monitoring.receivers`, and at `kubectl -n monitoring logs -l app.kubernetes.io/name=alertmanager`"
        )
    return "Alertmanager has the alert and has not sent it: a silence, or a route of your own"


def _count(available: int, wanted: int, style: Style) -> str:
    said = f"{available} of {wanted}"
    return said if available >= wanted else style.bad(said)

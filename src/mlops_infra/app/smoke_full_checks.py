"""What the answers of `smoke --full` mean: pure functions from what was seen to checks with cause and next command."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlops_infra.app.smoke_checks import Check, Probe, Result

__all__ = [
    "FAMILIES",
    "Golden",
    "GoldenCase",
    "check_alerts",
    "check_metrics",
    "check_predictions",
    "check_scraped",
    "check_service_starts",
    "check_targets",
    "check_top",
    "check_volume",
    "golden_of",
    "parse_said",
]

FAMILIES = ("http_requests_total", "http_request_errors_total", "http_request_duration_seconds")
_PLACES = {"ml-ingress": "the ML service predicts what is known, through the ingress",
           "ml-lb": "the ML service predicts what is known, at an address of MetalLB"}  # fmt: skip
Said = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class GoldenCase:
    """A known input and what it gives."""

    asked: Mapping[str, Any]
    output: float


@dataclass(frozen=True, slots=True)
class Golden:
    tolerance: float
    cases: tuple[GoldenCase, ...]


def golden_of(text: str) -> Golden:
    """The contract of the example's model, `golden.json`."""
    content = json.loads(text)
    cases = tuple(GoldenCase(case["input"], float(case["output"])) for case in content["cases"])
    return Golden(float(content["tolerance"]), cases)


def parse_said(text: str) -> dict[str, list[str]]:
    """Lines `= KIND REST`: every REST of a kind."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("= "):
            kind, _, rest = line[2:].partition(" ")
            said.setdefault(kind, []).append(rest)
    return said


def check_service_starts(said: Said, replicas: int) -> Check:
    title = "an ML service starts"
    if refused := said.get("refused"):
        return _failed("ml-start", title, refused[-1], "The API refuses the example's objects.", "mlops-infra events")
    ready = int((said.get("ready") or ["0"])[-1])
    if ready >= replicas:
        return Check("ml-start", title, Result.OK, "the API", f"{ready} pods")
    details = "\n".join([f"{ready} of {replicas} pods are ready", *said.get("event", ())])
    cause = "Its image (docker.io/library/python, slim) cannot be pulled, or no worker has room."
    return _failed(
        "ml-start", title, details, cause, "name a mirror of docker.io in cluster.yaml (`mirrors.registries`)"
    )


def check_predictions(probes: Sequence[Probe], golden: Golden, places: Iterable[str]) -> tuple[Check, ...]:
    """One check a place; a place that the platform does not have is skipped."""
    there, checks = set(places), []
    for place, title in _PLACES.items():
        if place not in there:
            what = "no IngressClass, or no load balancer" if place == "ml-ingress" else "no pool gave an address"
            checks.append(Check(place, title, Result.SKIPPED, details=f"there is {what}"))
            continue
        mine = {p.id.rpartition(":")[2]: p for p in probes if p.id.startswith(f"{place}:")}
        wrong = [w for n, case in enumerate(golden.cases) if (w := _wrong(mine.get(str(n)), case, golden.tolerance))]
        slowest = max((p.seconds for p in mine.values()), default=0.0)
        source = next((p.source for p in mine.values()), "")
        if not wrong:
            said = f"{len(golden.cases)} predictions within {golden.tolerance}"
            checks.append(Check(place, title, Result.OK, source, said, seconds=slowest))
            continue
        cause = "The way to it is closed, or another model answers than the one that was deployed."
        checks.append(_failed(place, title, "\n".join(wrong), cause, "mlops-infra smoke", source=source))
    return tuple(checks)


def check_metrics(probes: Sequence[Probe]) -> Check:
    title = "the ML service tells requests, errors and latency"
    asked = [p for p in probes if p.id.endswith(":metrics")]
    if not asked:
        return Check("ml-metrics", title, Result.SKIPPED, details="it was asked nowhere")
    for probe in asked:
        missing = [name for name in FAMILIES if name not in probe.text]
        if probe.ok and not missing:
            return Check("ml-metrics", title, Result.OK, probe.source, seconds=probe.seconds)
    lacking = ", ".join(missing) if probe.ok else probe.text
    return _failed(
        "ml-metrics", title, f"{probe.id}: {lacking}", "It answers, but not with its metrics.", "mlops-infra smoke"
    )


def check_volume(said: Said) -> Check:
    title = "a volume keeps what was written when its pod has gone"
    storage = (said.get("class") or ["none"])[-1]
    if storage == "none":
        return Check("volume", title, Result.SKIPPED, details="there is no default StorageClass (`storage.class`)")
    written, read = (said.get(f"volume-{who}", [""])[-1].partition(" ") for who in ("writer", "reader"))
    if read[0] == "Succeeded" and said.get("read"):
        moved = f"moved from {written[2]} to {read[2]}" if written[2] != read[2] else f"again on {read[2]}"
        return Check("volume", title, Result.OK, "a pod", f"class {storage}; {moved}")
    who = "reader" if written[0] == "Succeeded" else "writer"
    state = (read if who == "reader" else written)[0] or "not begun"
    details = "\n".join([f"the {who}'s pod: {state}", *said.get("event", ())])
    cause = f"No volume of the class {storage} comes, or its data are not where the next pod is."
    return _failed("volume", title, details, cause, "kubectl get storageclasses; kubectl get pv")


def check_top(told: Said) -> Check:
    title = "kubectl top knows what nodes use"
    answer = _answer(told, "top")
    if answer is None:
        return Check("top", title, Result.SKIPPED, details=_why(told, "there is no metrics API (`metrics.enabled`)"))
    rc, text = answer
    nodes = [line for line in text.splitlines() if line.strip()]
    if rc == 0 and nodes and "<unknown>" not in text:
        return Check("top", title, Result.OK, "the API", f"{len(nodes)} nodes")
    cause = (
        "metrics-server is starting (its first figures come after a minute), or kubelets' certificates are not signed."
    )
    return _failed("top", title, text, cause, "kubectl get csr; kubectl -n kube-system logs deploy/metrics-server")


def check_scraped(told: Said, *, asked: bool) -> Check:
    title = "Prometheus has the ML service's metrics"
    answer = _answer(told, "scraped")
    if answer is None or not asked:
        why = "there is no Prometheus (`monitoring.enabled`)" if answer is None else "the ML service did not start"
        return Check("ml-scraped", title, Result.SKIPPED, details=_why(told, why))
    value = _value(answer)
    if value is not None and value > 0:
        return Check("ml-scraped", title, Result.OK, "Prometheus", f"{value:.0f} requests counted")
    cause = "Prometheus looks for annotated pods once a round; its job `pods` may not reach them."
    return _failed("ml-scraped", title, _shown(answer), cause, "look at Status → Targets in Prometheus")


def check_targets(told: Said) -> Check:
    title = "every target of Prometheus is up"
    down, up = _answer(told, "down"), _answer(told, "up")
    if down is None:
        return Check(
            "targets", title, Result.SKIPPED, details=_why(told, "there is no Prometheus (`monitoring.enabled`)")
        )
    series = _series(down)
    total = _value(up) if up is not None else None
    if series is not None and not series and total:
        return Check("targets", title, Result.OK, "Prometheus", f"{total:.0f} targets")
    lost = [f"{s['metric'].get('job', '')} {s['metric'].get('instance', '')}" for s in series or ()]
    details = "\n".join(sorted(lost)) or _shown(down if series is None else up or down)
    return _failed(
        "targets",
        title,
        details,
        "What is listed does not answer, or a firewall keeps Prometheus out.",
        "mlops-infra doctor",
    )


def check_alerts(told: Said) -> Check:
    title = "the Watchdog alert is at Alertmanager"
    answer = _answer(told, "alerts")
    if answer is None:
        return Check(
            "watchdog", title, Result.SKIPPED, details=_why(told, "there is no Alertmanager (`monitoring.enabled`)")
        )
    rc, text = answer
    names = [a.get("labels", {}).get("alertname") for a in _json(text, [])] if rc == 0 else []
    if "Watchdog" in names:
        return Check("watchdog", title, Result.OK, "Alertmanager")
    cause = "Prometheus does not reach Alertmanager, or does not evaluate its rules: no alert would arrive."
    return _failed("watchdog", title, _shown(answer), cause, "kubectl -n monitoring get pods")


# --- helpers ----------------------------------------------------------------------------------------------------------


def _failed(id: str, title: str, details: str, cause: str, remedy: str, *, source: str = "") -> Check:
    return Check(id, title, Result.FAILED, source, details[:1500], cause, remedy)


def _wrong(probe: Probe | None, case: GoldenCase, tolerance: float) -> str:
    """Empty where the answer is what it must be."""
    asked = json.dumps(case.asked)
    if probe is None:
        return f"{asked}: nobody could be asked"
    if not probe.ok:
        return f"{asked}: {probe.text}"
    said = _json(probe.text, {})
    value = said.get("power_kw") if isinstance(said, dict) else None
    if not isinstance(value, int | float):
        return f"{asked}: no prediction in {probe.text[:80]}"
    return "" if abs(value - case.output) <= tolerance else f"{asked}: {value}, and {case.output} was wanted"


def _answer(told: Said, kind: str) -> tuple[int, str] | None:
    """Exit code and text; None where the part is not there."""
    if not told.get(kind):
        return None
    rc, _, text = told[kind][-1].partition(" ")
    return int(rc), base64.b64decode(text).decode("utf-8", "replace")


def _why(told: Said, otherwise: str) -> str:
    lost = told.get("lost")
    return f"the master could not be asked: {lost[-1]}" if lost else otherwise


def _json(text: str, otherwise: Any) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return otherwise


def _series(answer: tuple[int, str]) -> list[dict[str, Any]] | None:
    """The result of an instant query; None where there is none."""
    content = _json(answer[1], {}) if answer[0] == 0 else {}
    if not isinstance(content, dict) or content.get("status") != "success":
        return None
    found = content.get("data", {}).get("result")
    return found if isinstance(found, list) else None


def _value(answer: tuple[int, str]) -> float | None:
    series = _series(answer)
    return float(series[0]["value"][1]) if series else None


def _shown(answer: tuple[int, str]) -> str:
    return answer[1].strip()[:400] or "an empty answer"

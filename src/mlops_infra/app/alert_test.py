"""`monitoring alerts test`: an alert on the way that real ones take, watched until the last receiver was told.

A ConfigMap is made; kube-state-metrics tells of it, a shipped rule of Prometheus fires, Alertmanager sends. Whether a
receiver took it is known from Alertmanager's own count of what was delivered: each has a twin that only tests go to.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mlops_infra.app.context import SiteContext
from mlops_infra.app.ending import ended_by_sigterm
from mlops_infra.app.prometheus import alertmanager_path, ask_script, prometheus_path, read_answers, samples
from mlops_infra.app.reach import targets
from mlops_infra.errors import ConfigError, ExitCode, InfraError, UnreachableError
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.alertmanager import TEST_PREFIX
from mlops_infra.phases.prometheus import NAMESPACE
from mlops_infra.resources import kubectl_prelude
from mlops_infra.transport import Session, Transport
from mlops_infra.transport.errors import explain

__all__ = ["AlertTest", "Way", "counted", "run_alert_test"]

ALERT = "TestAlert"
OBJECT = "alert-test"
COMMAND = "exec sh -s"
PATIENCE = 240.0
"""Seconds: a scrape, an evaluation, the wait for others of the group, and twice as much."""
_PAUSE = 2.0
_COUNTER = re.compile(r"^alertmanager_notifications_(total|failed_total)\{(.*)\} ([0-9.e+]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Way:
    """One means of one receiver. `seconds` until it was told; None: it was not. `failures`: attempts that failed."""

    receiver: str
    integration: str
    seconds: float | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class AlertTest:
    """`fired`, `sent`: seconds until the rule fired and until Alertmanager had it; None where that never came."""

    ways: tuple[Way, ...]
    fired: float | None
    sent: float | None
    seconds: float
    left: str = ""
    """Why the ConfigMap could not be taken away; empty when it is gone."""

    @property
    def ok(self) -> bool:
        return not self.left and all(way.seconds is not None for way in self.ways)

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.CHANGES


Counts = dict[tuple[str, str], tuple[float, float]]
"""(receiver, integration) → attempts and failures, of all Alertmanagers together."""


def run_alert_test(
    context: SiteContext, transport: Transport, tell: Callable[[str], None], *, patience: float = PATIENCE
) -> AlertTest:
    """Raises ConfigError where nobody is to be told, UnreachableError where no master answers."""
    cluster = context.cluster
    ways = _ways(cluster)
    with ended_by_sigterm():
        tell("finding a master that answers")
        session = _master(context, transport)
        before = counted(_said(session, _metrics_script()))
        begun = time.monotonic()
        left = ""
        try:
            tell(f"making the ConfigMap {NAMESPACE}/{OBJECT}, which a rule watches")
            _said(session, _make_script())
            result = _watch(session, ways, before, begun, tell, patience=patience)
        finally:
            left = _gone(session)
    return AlertTest(result.ways, result.fired, result.sent, round(time.monotonic() - begun, 1), left)


def counted(text: str) -> Counts:
    """The counters of every Alertmanager's metrics, one page after the other."""
    found: Counts = {}
    for kind, labels, value in _COUNTER.findall(text):
        named = dict(_LABEL.findall(labels))
        key = named.get("receiver_name", ""), named.get("integration", "")
        attempts, failures = found.get(key, (0.0, 0.0))
        found[key] = (attempts, failures + float(value)) if kind == "failed_total" else (
            attempts + float(value), failures
        )  # fmt: skip
    return found


def _watch(
    session: Session,
    ways: tuple[Way, ...],
    before: Counts,
    begun: float,
    tell: Callable[[str], None],
    *,
    patience: float,
) -> AlertTest:
    fired = sent = None
    paths = (
        prometheus_path(f'ALERTS{{alertname="{ALERT}",alertstate="firing"}}'),
        alertmanager_path(f"/api/v2/alerts?filter=alertname%3D{ALERT}"),
    )
    while True:
        firing, listed = read_answers(_said(session, ask_script(paths)), 2)
        passed = round(time.monotonic() - begun, 1)
        if fired is None and samples(firing):
            fired = passed
            tell(f"the rule fires, after {passed} s")
        if sent is None and listed:
            sent = passed
            tell(f"Alertmanager has it, after {passed} s")
        if sent is not None:
            ways = tuple(_judged(ways, before, counted(_said(session, _metrics_script())), passed, tell))
        if all(way.seconds is not None for way in ways) or passed > patience:
            return AlertTest(ways, fired, sent, passed)
        time.sleep(_PAUSE)


def _judged(
    ways: Iterable[Way], before: Counts, now: Counts, passed: float, tell: Callable[[str], None]
) -> Iterable[Way]:
    for way in ways:
        key = TEST_PREFIX + way.receiver, way.integration
        attempts, failures = (new - old for new, old in zip(now.get(key, (0, 0)), before.get(key, (0, 0)), strict=True))
        if way.seconds is None and attempts > failures:
            tell(f"{way.receiver} was told by {way.integration}, after {passed} s")
            yield Way(way.receiver, way.integration, passed, int(failures))
        else:
            yield Way(way.receiver, way.integration, way.seconds, int(failures))


def _ways(cluster: Cluster) -> tuple[Way, ...]:
    if not cluster.monitoring.enabled:
        raise ConfigError("monitoring is switched off: there are no alerts", remedy="set `monitoring.enabled: true`")
    ways = tuple(
        Way(receiver.name, integration)
        for receiver in cluster.monitoring.receivers
        if not receiver.watchdog
        for integration in ("email", "slack", "pagerduty", "webhook")
        if getattr(receiver, integration)
    )
    if not ways:
        raise ConfigError(
            "nobody is told of alerts: there is no receiver",
            remedy="name one under `monitoring.receivers` of cluster.yaml, and `mlops-infra monitoring apply`",
        )
    return ways


def _master(context: SiteContext, transport: Transport) -> Session:
    """The first in file order whose API server is ready."""
    reached, told = targets(context.cluster, context.site.config.parent), []
    for host in context.cluster.hosts.masters:
        try:
            session = transport.connect(reached[host.name])
            _said(session, kubectl_prelude() + "kubectl get --request-timeout=5s --raw /readyz >/dev/null\n")
        except InfraError as error:
            told.append(f"{host.name}: {error.brief}")
            continue
        return session
    raise UnreachableError(
        "no master answers", details="\n".join(told), remedy="mlops-infra status", exit_code=ExitCode.UNREACHABLE
    )


def _said(session: Session, script: str) -> str:
    reply = session.exchange(COMMAND, script.encode(), deadline=60.0)
    if reply.rc != 0:
        raise explain(reply, session.name) or InfraError(
            "the test's script failed there", host=session.name, details=reply.stderr[-600:]
        )
    return reply.stdout.decode("utf-8", "replace")


def _make_script() -> str:
    return kubectl_prelude() + (
        f"kubectl -n {NAMESPACE} delete configmap {OBJECT} --ignore-not-found >/dev/null\n"
        f"kubectl -n {NAMESPACE} create configmap {OBJECT} >&2\n"
    )


def _metrics_script() -> str:
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    return kubectl_prelude() + (
        f"for pod in $(kubectl -n {NAMESPACE} get pods -l app.kubernetes.io/name=alertmanager -o name); do\n"
        f'  kubectl get --request-timeout=10s --raw "{pods}/${{pod#pod/}}:9093/proxy/metrics" 2>/dev/null |\n'
        "    grep '^alertmanager_notifications_\\(total\\|failed_total\\)' || :\n"
        "done\n"
    )


def _gone(session: Session) -> str:
    try:
        _said(
            session,
            kubectl_prelude() + f"kubectl -n {NAMESPACE} delete configmap {OBJECT} --ignore-not-found >&2\n",
        )
    except InfraError as error:
        return f"the ConfigMap {NAMESPACE}/{OBJECT} could not be taken away: {error.brief}"
    return ""

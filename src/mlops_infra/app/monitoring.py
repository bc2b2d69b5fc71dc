"""What monitoring does now: its parts, what it measures, which alerts fire, and where to look at it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_infra.app.api_silence import nothing_known
from mlops_infra.app.context import SiteContext
from mlops_infra.app.inputs import GRAFANA_PASSWORD
from mlops_infra.app.platform import Platform
from mlops_infra.app.prometheus import Sample, answers_of, asked, prometheus_path, samples
from mlops_infra.app.secrets import resolve
from mlops_infra.core import API, ApiList, Facts, Secret
from mlops_infra.errors import ConfigError
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.prometheus import NAMESPACE

__all__ = ["Alert", "Firing", "Job", "MonitoringState", "Part", "grafana_password", "look", "state_of"]

Item = Mapping[str, Any]
SERVICES = ApiList("services")
DEPLOYMENTS = ApiList("deployments.apps")
DAEMON_SETS = ApiList("daemonsets.apps")
CLAIMS = ApiList("persistentvolumeclaims")
_QUERIES = ("up", 'ALERTS{alertstate="firing",alertname!="Watchdog"}', "prometheus_tsdb_head_series")
PROMETHEUS = asked("monitoring", [prometheus_path(query) for query in _QUERIES])
_BALANCED = {"prometheus-server-lb": "Prometheus", "grafana-lb": "Grafana", "alertmanager-lb": "Alertmanager"}


@dataclass(frozen=True, slots=True)
class Part:
    """A workload: how many of its pods are available, of how many."""

    name: str
    available: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Job:
    """What is measured: how many targets answer, and which do not (node, pod or address)."""

    name: str
    up: int
    down: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    severity: str
    about: str
    """Its other labels, in words."""


Firing = tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class MonitoringState:
    """`known` is False where no API server answered; `jobs` is None where Prometheus did not.

    `addresses`: program → its LoadBalancer URL; `volume`: what became of Prometheus' claim, empty without one.
    """

    known: bool
    installed: bool = False
    parts: tuple[Part, ...] = ()
    addresses: Mapping[str, str] | None = None
    node_ports: tuple[str, ...] = ()
    volume: str = ""
    jobs: tuple[Job, ...] | None = None
    firing: Firing = ()
    receivers: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Everything runs and every target answers."""
        return bool(
            self.installed and self.jobs and all(p.available >= p.wanted for p in self.parts)
            and not any(job.down for job in self.jobs)
        )  # fmt: skip


def look(platform: Platform) -> MonitoringState:
    """Asked of the masters. Raises UnreachableError where no API server answers."""
    masters = [host.name for host in platform.cluster.hosts.masters]
    questions = {API: frozenset({SERVICES, DEPLOYMENTS, DAEMON_SETS, CLAIMS})}
    with platform.engine_over(masters) as engine:
        seen = engine.observe({**questions, **dict.fromkeys(masters, frozenset({PROMETHEUS}))})
    found = [answers_of(seen.of(master), PROMETHEUS, len(_QUERIES)) for master in masters]
    answers = next((one for one in found if one is not None and one[0] is not None), (None,) * len(_QUERIES))
    state = state_of(platform.cluster, seen.api, answers)
    if not state.known:
        raise nothing_known("nothing is known of monitoring")
    return state


def state_of(cluster: Cluster, facts: Facts, answers: tuple[Any, ...]) -> MonitoringState:
    """From the API's answers and Prometheus'. Pure."""
    services = facts.value(SERVICES)
    if services is None:
        return MonitoringState(known=False)
    here = [item for item in services if item["metadata"]["namespace"] == NAMESPACE]
    parts = tuple(_parts(facts))
    up, firing, _ = (samples(answer) for answer in answers)
    workers = cluster.hosts.workers
    ports = [p["nodePort"] for s in here if s["spec"].get("type") == "NodePort" for p in s["spec"]["ports"]]
    return MonitoringState(
        known=True,
        installed=bool(parts),
        parts=parts,
        addresses=_addresses(here),
        node_ports=tuple(f"http://{workers[0].node_address}:{port}" for port in sorted(ports, reverse=True) if workers),
        volume=_volume(facts),
        jobs=None if up is None else _jobs(up),
        firing=tuple(map(_alert, firing or ())),
        receivers=tuple(receiver.name for receiver in cluster.monitoring.receivers),
    )


def grafana_password(context: SiteContext) -> Secret:
    """As `up` puts it into the cluster. Raises ConfigError where it has not been made yet, or monitoring is off."""
    settings, site = context.cluster.monitoring, context.site
    if not settings.enabled:
        raise ConfigError("monitoring is switched off: there is no Grafana", remedy="set `monitoring.enabled: true`")
    if settings.grafana.password.generate and not (site.secrets / GRAFANA_PASSWORD).exists():
        raise ConfigError(
            "Grafana's password is not made yet, or was made on another machine",
            cause=f"{site.secrets / GRAFANA_PASSWORD} is not there",
            remedy="`mlops-infra up` makes one; each master keeps a copy in /var/lib/mlops-infra/secrets.json",
        )
    return resolve(settings.grafana.password, GRAFANA_PASSWORD, site)


def _parts(facts: Facts) -> Iterable[Part]:
    for probe, wanted, available in (
        (DEPLOYMENTS, "replicas", "availableReplicas"),
        (DAEMON_SETS, "desiredNumberScheduled", "numberAvailable"),
    ):
        for item in facts.value(probe) or ():
            if item["metadata"]["namespace"] == NAMESPACE:
                status = item.get("status") or {}
                asked_for = item["spec"].get("replicas", 0) if wanted == "replicas" else status.get(wanted, 0)
                yield Part(item["metadata"]["name"], status.get(available, 0), asked_for)


def _addresses(services: Iterable[Item]) -> dict[str, str]:
    found = {}
    for item in services:
        name = _BALANCED.get(item["metadata"]["name"])
        given = item.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
        if name and given:
            found[name] = f"http://{given[0]['ip']}:{item['spec']['ports'][0]['port']}"
    return {name: found[name] for name in _BALANCED.values() if name in found}


def _volume(facts: Facts) -> str:
    for item in facts.value(CLAIMS) or ():
        meta, spec = item["metadata"], item["spec"]
        if meta["namespace"] == NAMESPACE:
            phase = item.get("status", {}).get("phase", "Pending")
            return f"{spec['resources']['requests']['storage']} of {spec.get('storageClassName', '')}, {phase}"
    return ""


def _jobs(up: Iterable[Sample]) -> tuple[Job, ...]:
    by_job: dict[str, list[Sample]] = {}
    for one in up:
        by_job.setdefault(one.labels.get("job", ""), []).append(one)
    return tuple(
        Job(name, sum(1 for one in found if one.value == 1), tuple(_who(one) for one in found if one.value != 1))
        for name, found in sorted(by_job.items())
    )


def _who(sample: Sample) -> str:
    labels = sample.labels
    return labels.get("node") or labels.get("pod") or labels.get("instance", "")


def _alert(sample: Sample) -> Alert:
    quiet = {"__name__", "alertname", "alertstate", "severity", "instance", "uid", "endpoint"}
    said = {key: value for key, value in sorted(sample.labels.items()) if key not in quiet}
    if len(said) > 1:
        said.pop("job", None)
    about = ", ".join(f"{key} {value}" for key, value in said.items())
    return Alert(sample.labels.get("alertname", ""), sample.labels.get("severity", ""), about)

"""What is known about a platform at one moment: facts by host, the API's answers, and who could not be asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlops_infra.core import (
    API,
    ApiList,
    ApiObject,
    Facts,
    HostProblem,
    Phase,
    Probe,
    ReadText,
    Stat,
    Step,
    Unknown,
)

__all__ = [
    "ADMIN_KUBECONFIG",
    "ETCD_MANIFEST",
    "MANIFEST",
    "Observation",
    "Questions",
    "all_steps",
    "is_api_probe",
    "known",
    "questions",
    "step_probes",
]

ADMIN_KUBECONFIG = Stat("/etc/kubernetes/admin.conf")
"""There on a master that can be asked about the API (kubeadm writes it)."""
ETCD_MANIFEST = Stat("/etc/kubernetes/manifests/etcd.yaml")
"""There on a master that is a member of etcd."""
MANIFEST = ReadText("/var/lib/mlops-infra/manifest.json")


def is_api_probe(probe: Probe[Any]) -> bool:
    return isinstance(probe, ApiObject | ApiList)


def known(facts: Facts, probes: Iterable[Probe[Any]]) -> bool:
    """Whether at least one of these was really answered (also true where there are none)."""
    asked = list(probes)
    return not asked or any(not isinstance(facts.answer(p), Unknown) for p in asked)


def step_probes(step: Step) -> frozenset[Probe[Any]]:
    """Every question that a step's resources and operations put."""
    asked: set[Probe[Any]] = set()
    for resource in step.resources:
        asked |= resource.probes()
    for operation in step.operations:
        asked |= operation.probes
    return frozenset(asked)


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions of a run: per host, and those for whichever master answers for the API."""

    hosts: Mapping[str, frozenset[Probe[Any]]]
    api: frozenset[Probe[Any]]


def questions(steps: Iterable[Step], hosts: Iterable[str], masters: Iterable[str]) -> Questions:
    """Sort the questions of `steps` by who can answer them; every host is asked for its manifest too."""
    by_host: dict[str, set[Probe[Any]]] = {host: {MANIFEST} for host in hosts}
    for master in masters:
        if master in by_host:
            by_host[master] |= {ADMIN_KUBECONFIG, ETCD_MANIFEST}
    api: set[Probe[Any]] = set()
    for step in steps:
        for probe in step_probes(step):
            if step.host == API or is_api_probe(probe):
                api.add(probe)
            elif step.host in by_host:
                by_host[step.host].add(probe)
    return Questions({host: frozenset(asked) for host, asked in by_host.items()}, frozenset(api))


@dataclass(frozen=True, slots=True)
class Observation:
    """Facts by host, without the API's; `api` holds the answers to the API questions of all steps.

    `api_host` is the master that gave them; None where no API server answers.
    """

    facts: Mapping[str, Facts]
    api: Facts = field(default_factory=Facts)
    api_host: str | None = None
    problems: tuple[HostProblem, ...] = ()

    def of(self, host: str) -> Facts:
        """What a step on `host` (or on the API) may judge by."""
        if host == API:
            return self.api
        return self.facts.get(host, Facts()).merged({p: a for p, a in self.api.items() if is_api_probe(p)})

    def etcd_members(self, masters: Iterable[str]) -> frozenset[str]:
        """Reachable masters that run an etcd member."""
        return frozenset(m for m in masters if self.facts.get(m, Facts()).value(ETCD_MANIFEST) is not None)

    def has_control_plane(self, masters: Iterable[str]) -> bool:
        return any(self.facts.get(m, Facts()).value(ADMIN_KUBECONFIG) is not None for m in masters)

    def with_facts(self, host: str, newer: Mapping[Probe[Any], Any]) -> Observation:
        """A copy in which `host` (or the API) has newer answers."""
        if host == API:
            return replace(self, api=self.api.merged(newer))
        merged = self.facts.get(host, Facts()).merged(newer)
        return replace(self, facts={**self.facts, host: merged})


def all_steps(phases: Iterable[Phase]) -> tuple[Step, ...]:
    return tuple(step for phase in phases for step in phase.steps)

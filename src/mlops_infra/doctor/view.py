"""All that the checks judge by: one look at the hosts and the API, the plan that follows from it, and the outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

from mlops_infra.core import Absent, Change, Facts, HostProblem, Plan, Probe, System, Unknown, Unreadable
from mlops_infra.doctor.outside import Answered
from mlops_infra.engine.observation import Observation
from mlops_infra.model.cluster import Cluster

__all__ = ["Backup", "Local", "View"]


@dataclass(frozen=True, slots=True)
class Backup:
    """A bundle that lies on the operator's machine."""

    path: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Local:
    """What the operator's own machine knows. `warnings` are those of cluster.yaml: the key's place and the words.

    `lone_key`: the file of the one key that opens the backups, while there is neither a copy nor a second recipient.
    """

    warnings: tuple[tuple[str, str], ...] = ()
    backups: tuple[Backup, ...] = ()
    lone_key: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """`plan` is None where it could not be made (`no_plan` says why); `outside` holds what this process could reach."""

    cluster: Cluster
    seen: Observation
    now: datetime
    plan: Plan | None = None
    no_plan: str = ""
    outside: tuple[Answered, ...] = ()
    local: Local = field(default_factory=Local)
    limit: tuple[str, ...] = ()

    def facts(self, host: str) -> Facts:
        return self.seen.facts.get(host, Facts())

    def answered(self, host: str) -> bool:
        return host in self.seen.facts

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that were meant to be looked at, in file order."""
        return tuple(h.name for h in self.cluster.all_hosts if not self.limit or h.name in self.limit)

    def problem(self, host: str) -> HostProblem | None:
        """Why a host could not be spoken to."""
        return next((p for p in self.seen.problems if p.host == host), None)

    def changes(self, host: str) -> Iterator[Change]:
        """What `up` would change on a host."""
        for step in self.plan.steps if self.plan else ():
            if step.id.host == host:
                yield from step.changes

    @property
    def has_api(self) -> bool:
        return self.seen.api_host is not None

    @property
    def a_master(self) -> str:
        """A master that kubectl can be run on: one that answered for the API, or at all, or the first."""
        masters = [m.name for m in self.cluster.hosts.masters]
        return self.seen.api_host or next((m for m in masters if self.answered(m)), masters[0])

    def answer(self, host: str, probe: Probe[Any]) -> Any:
        """A host's answer as it is: a value, Absent, Unreadable or Unknown."""
        return self.facts(host).answer(probe)

    def api(self, probe: Probe[Any]) -> Any:
        """The API's answer, Absent where it says so, None where it is not known."""
        answer: Any = self.seen.api.answer(probe)
        return None if isinstance(answer, Unknown | Unreadable) or not self.has_api else answer

    def objects(self, probe: Probe[tuple[Mapping[str, Any], ...]], kind: str) -> tuple[Mapping[str, Any], ...] | None:
        """Those of one kind out of a list of several; None where it is not known."""
        listed = self.api(probe)
        if listed is None or isinstance(listed, Absent):
            return None
        return tuple(one for one in listed if one.get("kind") == kind)

    @property
    def clocks(self) -> Mapping[str, float]:
        """Seconds by which each host is ahead of the middle of all."""
        clocks = {h: s.clock for h, f in self.seen.facts.items() if (s := f.value(System())) is not None}
        if len(clocks) < 3:
            return {}
        middle = median(clocks.values())
        return {host: clock - middle for host, clock in clocks.items()}

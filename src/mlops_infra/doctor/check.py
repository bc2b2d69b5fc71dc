"""What a check is: a question, what must be known to answer it, and a verdict; nothing in it does any I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

from mlops_infra.core import Probe
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host

if TYPE_CHECKING:
    from mlops_infra.doctor.view import View

__all__ = [
    "EVERYBODY",
    "NODES",
    "NO_API",
    "OK",
    "Check",
    "Finding",
    "Ok",
    "Severity",
    "Skipped",
    "Verdict",
    "asks_api",
    "first_of",
    "kubectl",
    "named",
    "on_host",
]

EVERYBODY = frozenset({"lb", "master", "worker"})
NODES = frozenset({"master", "worker"})


class Severity(IntEnum):
    """How much it hurts, worst first."""

    CRITICAL = 0
    """The platform does not serve, or is one step from losing data."""
    ERROR = 1
    """A part does not work, or will not survive the next failure."""
    WARNING = 2
    """Nothing is broken yet."""

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Ok:
    """Nothing to say."""


OK = Ok()


@dataclass(frozen=True, slots=True)
class Skipped:
    """The check does not apply here, or nobody could be asked: why."""

    reason: str


NO_API = Skipped("no API to ask")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, how that shows, why it usually is so, and the exact command that mends it.

    `hosts`: the machines it is about, where the check is about the platform; what is wrong with one of them may be its
    cause. `severity`: where it differs from the check's. `stands_alone`: somebody made it so, and no other trouble
    could have: it is told beside the others, never below one.
    """

    brief: str
    evidence: str = ""
    cause: str = ""
    remedy: str = ""
    hosts: tuple[str, ...] = ()
    severity: Severity | None = None
    stands_alone: bool = False


Verdict = Ok | Skipped | Finding | tuple[Finding, ...]


def _nothing_for_host(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    del cluster, host
    return frozenset()


def _nothing_for_api(cluster: Cluster) -> frozenset[Probe[Any]]:
    del cluster
    return frozenset()


@dataclass(frozen=True, slots=True)
class Check:
    """One question.

    `id` is `area.what`. A `host` check is put to each host of `roles` and judged with that host's name, a `cluster`
    check once, with ""; its `roles` are those whose machines may be the cause of what it finds. `needs` are the probes
    of a host, `api` those of the API, `plan`: it looks at what `up` would change, `outside`: at what this process could
    reach. `depends_on`: checks that, where they have found something about the same host, are the cause: then this
    one's finding is told below theirs.
    `claims`: resources of the plan (regular expressions over their ids) whose drift is this check's to tell.
    """

    id: str
    title: str
    severity: Severity
    judge: Callable[[View, str], Verdict]
    explanation: str
    scope: Literal["host", "cluster"] = "host"
    roles: frozenset[str] = EVERYBODY
    needs: Callable[[Cluster, Host], frozenset[Probe[Any]]] = _nothing_for_host
    api: Callable[[Cluster], frozenset[Probe[Any]]] = _nothing_for_api
    plan: bool = False
    outside: bool = False
    depends_on: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    advice: bool = False
    needs_answer: bool = True
    """A host that could not be asked is skipped; False for the checks of reachability themselves."""

    @property
    def area(self) -> str:
        return self.id.split(".", maxsplit=1)[0]

    def claims_resource(self, resource: str) -> bool:
        return any(re.search(pattern, resource) for pattern in self.claims)


def asks_api(*probes: Probe[Any]) -> Callable[[Cluster], frozenset[Probe[Any]]]:
    """`Check.api` of what is asked on every cluster."""
    return lambda cluster: frozenset(probes)


def first_of(lines: Sequence[str], number: int) -> str:
    """Evidence of many alike: the first lines, and how many more there are."""
    more = [f"and {len(lines) - number} more"] if len(lines) > number else []
    return "\n".join([*lines[:number], *more])


def on_host(host: str, script: str) -> str:
    """The command line that runs `script` as root on a host."""
    # One word is sh text; several are a command and its arguments, which need no quotes.
    words = script if re.fullmatch(r"[\w@%+=:,./^ -]+", script) else quote(script)
    return f"mlops-infra hosts exec --limit {host} -- {words}"


def kubectl(host: str, words: str) -> str:
    """The command line for one kubectl, on a master."""
    return on_host(host, f"kubectl --kubeconfig /etc/kubernetes/admin.conf {words}")


def named(checks: Iterable[Check]) -> Mapping[str, Check]:
    """By id. Raises ValueError where two have the same, or one depends on a check that does not stand before it."""
    found: dict[str, Check] = {}
    for check in checks:
        if check.id in found:
            raise ValueError(f"two checks are called {check.id}")
        found[check.id] = check
    order = list(found)
    for check in found.values():
        for other in check.depends_on:
            if other not in found or order.index(other) >= order.index(check.id):
                raise ValueError(f"{check.id} depends on {other}, which is no check before it")
    return found

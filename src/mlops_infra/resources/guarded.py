"""A command with a guard: for what no other resource says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops_infra.core import Change, Command, CommandFact, Facts, Handler, Kind, Probe, Shell

__all__ = ["GuardedCommand"]


@dataclass(frozen=True, slots=True)
class GuardedCommand:
    """Runs `script` unless `guard`, a read-only sh script, exits 0. Afterwards the guard must exit 0.

    `reason` is what the plan says when the guard does not hold; what the guard prints is added to it.
    """

    name: str
    guard: str
    script: str
    summary: str = ""
    reason: str = "guard does not hold"
    deadline: int = 120
    guard_timeout: int = 10
    stdin: bytes = b""
    notifies: tuple[Handler, ...] = ()
    disruptive: bool = False

    @property
    def id(self) -> str:
        return f"command:{self.name}"

    @property
    def title(self) -> str:
        return self.summary or self.name

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({self._probe})

    @property
    def _probe(self) -> Command:
        return Command(self.id, self.guard, self.guard_timeout)

    def diff(self, facts: Facts) -> Change | None:
        fact = facts.answer(self._probe)
        known = isinstance(fact, CommandFact)
        if isinstance(fact, CommandFact) and fact.rc == 0:
            return None
        said = fact.stdout.strip() if isinstance(fact, CommandFact) else ""
        action = Shell(self.title, self.script, self.deadline, self.stdin)
        return Change(
            self.id, self.title, Kind.RUN, self.reason if known else "state not known", (action,),
            said, self.notifies, self.disruptive,
        )  # fmt: skip

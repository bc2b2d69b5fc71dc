"""Handlers that an earlier batch made necessary and did not live to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops_infra.core import Change, Command, CommandFact, Facts, Kind, Probe, Shell

__all__ = ["PENDING_DIR", "PendingHandlers"]

PENDING_DIR = "/var/lib/mlops-infra/pending"
"""A batch writes a handler here when a change makes it necessary and removes it when it has run. So a host that lost
power (or whose batch failed) between a change and its restart is found out by the next observation."""


@dataclass(frozen=True, slots=True)
class PendingHandlers:
    """No handler is left over.

    Belongs last into the last step of a host: a restart may be owed because a file was wrong, so that the right file
    must come first.
    """

    deadline: int = 300

    @property
    def id(self) -> str:
        return "pending-handlers"

    @property
    def title(self) -> str:
        return "restarts left over from an earlier run"

    @property
    def _probe(self) -> Command:
        return Command(self.id, f"ls {PENDING_DIR}\n", files=(f"{PENDING_DIR}/*",))

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({self._probe})

    def diff(self, facts: Facts) -> Change | None:
        fact = facts.answer(self._probe)
        names = fact.stdout.split() if isinstance(fact, CommandFact) else []
        if not names:
            return None
        script = (
            f'for f in {PENDING_DIR}/*; do\n  [ -f "$f" ] || continue\n'
            '  sh -eu "$f" || { echo "still owed: $f (remove it when it is not needed any more)"; exit 1; }\n'
            '  rm -f "$f"\ndone\n'
        )
        said = "\n".join(name.split("-", 1)[-1] for name in names)
        return Change(
            self.id,
            self.title,
            Kind.RUN,
            "an earlier run ended before them",
            (Shell(self.title, script, self.deadline),),
            said,
        )

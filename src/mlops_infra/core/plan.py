"""The plan: what `up` would do, as a value. Nothing reaches a write except through one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from mlops_infra.core.change import Change, PutFile
from mlops_infra.core.phase import StepId

__all__ = ["HostProblem", "Plan", "PlannedOperation", "PlannedStep"]


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    id: str
    title: str
    reason: str
    disruptive: bool = False


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """The changes and operations of one step; empty steps are not in the plan."""

    id: StepId
    changes: tuple[Change, ...] = ()
    operations: tuple[PlannedOperation, ...] = ()


@dataclass(frozen=True, slots=True)
class HostProblem:
    """Why nothing can be said or done about a host (unreachable, wrong key, half-joined …), with the remedy."""

    host: str
    brief: str
    cause: str = ""
    remedy: str = ""
    unreachable: bool = False
    kind: str = ""
    """Name of the error that it came from (`TimedOut`, `HostKeyChanged` …), where it came from one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps` in the order of the phases; `notes` are advice (end of life, orphans …), never part of the exit code."""

    cluster: str
    steps: tuple[PlannedStep, ...]
    problems: tuple[HostProblem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.steps

    def digest(self) -> str:
        """Hex sha256 over what would be done: a saved plan is refused when the world has moved (architecture.md 4)."""
        said = [
            [
                *step.id,
                [[c.resource, c.kind, c.reason, _fingerprint(c)] for c in step.changes],
                [[o.id, o.reason] for o in step.operations],
            ]
            for step in self.steps
        ]
        return hashlib.sha256(json.dumps([self.cluster, said]).encode()).hexdigest()


def _fingerprint(change: Change) -> str:
    said = [
        (a.path, a.content, a.mode, a.owner, a.group) if isinstance(a, PutFile) else (a.script, a.stdin)
        for a in change.actions
    ]
    return hashlib.sha256(repr(said).encode()).hexdigest()

"""Whether etcd survives what a step is about to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlops_infra.core import Change, Operation, Step, StepId
from mlops_infra.engine.errors import QuorumAtRisk
from mlops_infra.engine.world import World

__all__ = ["Quorum", "check_quorum"]


def check_quorum(members: frozenset[str], healthy: frozenset[str], disturbed: str) -> bool:
    """Whether a majority of `members` is left while `disturbed` is away. A single member has no majority to lose."""
    if len(members) <= 1:
        return True
    return len((healthy & members) - {disturbed}) >= len(members) // 2 + 1


@dataclass(frozen=True, slots=True)
class Quorum:
    """`phases` are the names of those that ask for it; `masters` are all masters of the file."""

    phases: frozenset[str]
    masters: tuple[str, ...]

    def check_changes(self, steps: Sequence[Step], wanted: Mapping[StepId, Sequence[Change]], world: World) -> None:
        for step in steps:
            for change in wanted.get(step.id, ()):
                if change.disruptive:
                    self._check(step, change.title, world)

    def check_operation(self, step: Step, operation: Operation, world: World) -> None:
        if operation.disruptive:
            self._check(step, operation.title, world)

    def _check(self, step: Step, title: str, world: World) -> None:
        """Raises QuorumAtRisk. A master that cannot be reached counts as a member that is down."""
        if step.phase not in self.phases:
            return
        seen = world.observation
        healthy = seen.etcd_members(self.masters)
        silent = frozenset(m for m in self.masters if m not in seen.facts)
        members = healthy | silent if healthy else frozenset()
        if not check_quorum(members, healthy, step.host):
            raise QuorumAtRisk(
                f"{title}: etcd would lose its majority",
                host=step.host,
                details=f"{len(healthy)} of {len(members)} members answer: {', '.join(sorted(healthy))}",
                cause="Another master is down, and this step takes one more away for a while.",
                remedy="Bring the missing masters back first (`mlops-infra masters status`).",
            )

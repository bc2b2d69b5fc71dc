"""`--limit` and a group's `apply`: a filter over steps, and what those steps take for granted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlops_infra.core import API, Phase, Step, StepId
from mlops_infra.engine.errors import SelectionRefused
from mlops_infra.engine.observation import Observation
from mlops_infra.engine.planner import is_settled
from mlops_infra.errors import UsageError

__all__ = ["Selected", "Selection", "check_required", "select"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Names of hosts and phases; None takes all of them.

    With hosts named, steps that speak to the API are left out unless `API` is among the hosts.
    """

    hosts: frozenset[str] | None = None
    phases: frozenset[str] | None = None

    def takes(self, step: StepId) -> bool:
        return (self.hosts is None or step.host in self.hosts) and (self.phases is None or step.phase in self.phases)


@dataclass(frozen=True, slots=True)
class Selected:
    """`chosen` may be changed; `required` is needed by them, must be seen to be done, and is not touched."""

    chosen: frozenset[StepId]
    required: frozenset[StepId]


def select(phases: Iterable[Phase], selection: Selection) -> Selected:
    """Raises UsageError where a name is not there."""
    steps = {step.id: step for phase in phases for step in phase.steps}
    _refuse_strangers("host", selection.hosts, {s.host for s in steps} | {API})
    _refuse_strangers("phase", selection.phases, {s.phase for s in steps})
    chosen = frozenset(s for s in steps if selection.takes(s))
    required = {need for s in chosen for need in steps[s].needs} - chosen
    return Selected(chosen, frozenset(required))


def check_required(steps: Iterable[Step], selected: Selected, observation: Observation) -> None:
    """Raises SelectionRefused where a chosen step that has work to do needs a step that is not done."""
    by_id = {step.id: step for step in steps}
    for chosen in sorted(selected.chosen):
        step = by_id[chosen]
        missing = [
            need
            for need in sorted(step.needs & selected.required)
            if not is_settled(by_id[need], observation.of(need.host))
        ]
        if missing and not is_settled(step, observation.of(step.host)):
            first = missing[0]
            raise SelectionRefused(
                f"{chosen.phase} on {chosen.host} needs {first.phase} on {first.host}, which is not done",
                host=chosen.host,
                cause="Only a part of the platform was selected, and what it stands on is not there yet.",
                remedy="Run `mlops-infra up` without `--limit`, or select what is missing too.",
            )


def _refuse_strangers(what: str, asked: frozenset[str] | None, there: set[str]) -> None:
    for name in sorted((asked or frozenset()) - there):
        names = ", ".join(sorted(n for n in there if n != API))
        raise UsageError(f"There is no {what} named {name!r}", remedy=f"Choose among: {names}.")

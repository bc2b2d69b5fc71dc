"""From facts to a plan. Pure: no session, no clock, no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_infra.core import (
    API,
    Change,
    Facts,
    HostProblem,
    Operation,
    OperationState,
    Phase,
    Plan,
    PlannedOperation,
    PlannedStep,
    Probe,
    Standing,
    Step,
    StepId,
)
from mlops_infra.engine.observation import Observation

__all__ = ["StepView", "broken_steps", "drift_text", "is_settled", "plan_steps", "view", "wanted"]


@dataclass(frozen=True, slots=True)
class StepView:
    """One step judged by facts: the changes it would make, and where its operations stand."""

    changes: tuple[Change, ...]
    standings: tuple[tuple[Operation, Standing], ...]

    @property
    def broken(self) -> tuple[Operation, Standing] | None:
        """The first operation that stands half-done, if any."""
        for operation, standing in self.standings:
            if standing.state is OperationState.BROKEN:
                return operation, standing
        return None

    @property
    def settled(self) -> bool:
        """Nothing to change and nothing to run."""
        return not self.changes and all(s.state is OperationState.DONE for _, s in self.standings)


def view(step: Step, facts: Facts) -> StepView:
    """Diff a step's resources and ask its operations where they stand."""
    changes = tuple(change for r in step.resources if (change := r.diff(facts)) is not None)
    return StepView(changes, tuple((o, o.standing(facts)) for o in step.operations))


def is_settled(step: Step, facts: Facts) -> bool:
    return view(step, facts).settled


def plan_steps(
    phases: Iterable[Phase],
    observation: Observation,
    *,
    cluster: str = "",
    chosen: frozenset[StepId] | None = None,
    notes: tuple[str, ...] = (),
) -> Plan:
    """What a run over `phases` would do, judged by `observation`; `chosen` limits it to those steps.

    A host that could not be asked has its problem in the plan and no steps. A half-done operation becomes a problem,
    and that host's later steps are left out: nobody can say what they would do.
    """
    phases = tuple(phases)
    halves = broken_steps(phases, observation, chosen=chosen)
    problems = (*observation.problems, *halves.values())
    stopped = {problem.host for problem in observation.problems}
    planned: list[PlannedStep] = []
    for phase in phases:
        for step in phase.steps:
            if step.id in halves:
                stopped.add(step.host)
            if (chosen is not None and step.id not in chosen) or step.host in stopped:
                continue
            seen = view(step, observation.of(step.host))
            operations = tuple(_planned(o, s, step) for o, s in seen.standings if s.state is not OperationState.DONE)
            if seen.changes or operations:
                planned.append(PlannedStep(step.id, seen.changes, operations))
    return Plan(cluster, tuple(planned), problems, notes)


def broken_steps(
    phases: Iterable[Phase], observation: Observation, *, chosen: frozenset[StepId] | None = None
) -> Mapping[StepId, HostProblem]:
    """The first step of each host that has a half-done operation, and what to do about it."""
    silent = {problem.host for problem in observation.problems}
    found: dict[StepId, HostProblem] = {}
    for phase in phases:
        for step in phase.steps:
            if (chosen is not None and step.id not in chosen) or step.host in silent:
                continue
            if step.operations and (broken := view(step, observation.of(step.host)).broken) is not None:
                found[step.id] = _broken_problem(step.host, *broken)
                silent.add(step.host)
    return found


def wanted(plan: Plan, observation: Observation) -> Mapping[str, frozenset[Probe[Any]]]:
    """Questions whose answers would make the plan's diffs better, by host, as far as they were not asked yet."""
    by_host: dict[str, set[Probe[Any]]] = {}
    for step in plan.steps:
        facts = observation.of(step.id.host)
        for change in step.changes:
            fresh = {p for p in change.wants if p not in facts}
            if fresh:
                by_host.setdefault(step.id.host, set()).update(fresh)
    return {host: frozenset(probes) for host, probes in by_host.items()}


def drift_text(changes: Iterable[Change]) -> str:
    """The differences that are left, for a person: title, reason and diff of each."""
    said = []
    for change in changes:
        said.append(f"{change.title}: {change.reason}")
        said.extend(f"    {line}" for line in change.diff.splitlines())
    return "\n".join(said)


def _planned(operation: Operation, standing: Standing, step: Step) -> PlannedOperation:
    reason = standing.reason
    if standing.state is OperationState.UNKNOWN:
        reason = f"known after {_known_after(step)}" + (f" ({reason})" if reason else "")
    return PlannedOperation(operation.id, operation.title, reason, operation.disruptive)


def _known_after(step: Step) -> str:
    first = sorted(step.needs | step.after)
    return ", ".join(f"{s.phase} on {'the API' if s.host == API else s.host}" for s in first) or "it is tried"


def _broken_problem(host: str, operation: Operation, standing: Standing) -> HostProblem:
    return HostProblem(host, f"{operation.title}: half-done", cause=standing.reason, remedy=standing.remedy)

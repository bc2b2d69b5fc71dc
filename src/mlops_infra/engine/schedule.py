"""Which steps may run now. Pure bookkeeping: no thread, no clock, no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from math import floor

from mlops_infra.core import API, HostProblem, Outcome, Phase, Step, StepId, StepResult

__all__ = ["Schedule", "may_fail"]

GOOD = frozenset({Outcome.OK, Outcome.CHANGED})
_COUNTED = frozenset({Outcome.FAILED, Outcome.IN_DOUBT})


def may_fail(share: float, hosts: int) -> int:
    """How many of `hosts` may fail: the share of them, rounded down."""
    return floor(share * hosts + 1e-9)


class Schedule:
    """Steps by what they wait for.

    `settled` says of a step, by the latest facts, that nothing is left to do: such a step is never blocked, and its
    operations do not end a batch. Steps of one host never run side by side; an unbroken row of them that may all run
    is handed out as one group, which becomes one exchange. A step with operations left ends its group. Steps of the API
    are handed out one by one, in the order of their phases: they share a master, and one that fails ends no other.
    """

    def __init__(
        self, phases: Iterable[Phase], *, chosen: frozenset[StepId] | None = None, settled: Callable[[Step], bool]
    ) -> None:
        self._phases = {phase.name: phase for phase in phases}
        steps = [step for phase in self._phases.values() for step in phase.steps]
        _check_graph(steps)
        self._steps: dict[StepId, Step] = {s.id: s for s in steps if chosen is None or s.id in chosen}
        self._pending: dict[StepId, Step] = dict(self._steps)
        self._running: set[StepId] = set()
        self._settled = settled
        self._stopped: str | None = None
        self.results: dict[StepId, StepResult] = {}

    @property
    def done(self) -> bool:
        return not self._pending and not self._running

    @property
    def running(self) -> frozenset[StepId]:
        return frozenset(self._running)

    def ordered_results(self) -> tuple[StepResult, ...]:
        return tuple(self.results[s] for s in self._steps if s in self.results)

    def pending_on(self, host: str) -> tuple[Step, ...]:
        """Steps of a host that have not ended: the running ones too."""
        return tuple(s for s in self._steps.values() if s.host == host and s.id not in self.results)

    def give_up(self, hosts: Mapping[str, HostProblem]) -> None:
        """End the steps of hosts that could not be asked."""
        for step in list(self._pending.values()):
            problem = hosts.get(step.host)
            if problem is not None:
                self._end(_told(step, Outcome.UNREACHABLE, problem))

    def broken(self, steps: Mapping[StepId, HostProblem]) -> None:
        """End steps whose operation stands half-done; what follows them on their host is blocked."""
        for step in list(self._pending.values()):
            if (problem := steps.get(step.id)) is not None:
                self._end(_told(step, Outcome.FAILED, problem))

    def stop(self, why: str) -> None:
        """Nothing more is begun; what runs may end."""
        self._stopped = why
        for step in list(self._pending.values()):
            self._end(StepResult(step.id, Outcome.CANCELLED, brief=why))

    def ready(self) -> list[tuple[Step, ...]]:
        """Groups that may start now, at most one a host; they count as running from here on."""
        self._sweep()
        groups: dict[str, list[Step]] = {}
        closed = {s.host for s in self._running}
        for step in list(self._pending.values()):
            if step.host in closed:
                continue
            group = groups.get(step.host, [])
            if group and step.knocks and not self._settled(step):
                closed.add(step.host)  # what it is the proof of has to have ended
                continue
            if self._free(step, frozenset(s.id for s in group)):
                groups.setdefault(step.host, []).append(step)
                if step.host == API or (step.operations and not self._settled(step)):
                    closed.add(step.host)
        for group in groups.values():
            for step in group:
                del self._pending[step.id]
                self._running.add(step.id)
        return [tuple(group) for group in groups.values()]

    def finish(self, results: Iterable[StepResult]) -> None:
        for result in results:
            self._running.discard(result.id)
            self._end(result)

    # ------------------------------------------------------------------------------------------------------------

    def _end(self, result: StepResult) -> None:
        self._pending.pop(result.id, None)
        self.results[result.id] = result

    def _free(self, step: Step, group: frozenset[StepId]) -> bool:
        """Needs done well, `after` ended. What is not part of this run was checked before it began."""
        for need in step.needs:
            if need in self._steps and need not in group and not self._went_well(need):
                return self._ended_all(step.needs - group) and self._settled(step)
        return all(s in group or s not in self._steps or s in self.results for s in step.after)

    def _went_well(self, step: StepId) -> bool:
        return step in self.results and self.results[step].outcome in GOOD

    def _ended_all(self, steps: Iterable[StepId]) -> bool:
        return all(s in self.results for s in steps if s in self._steps)

    def _sweep(self) -> None:
        """Block and skip what can no longer run, until nothing changes."""
        moved = True
        while moved:
            moved = False
            for step in list(self._pending.values()):
                verdict = self._hopeless(step)
                if verdict is not None:
                    self._end(verdict)
                    moved = True

    def _hopeless(self, step: Step) -> StepResult | None:
        failed_need = next((n for n in sorted(step.needs) if n in self.results and not self._went_well(n)), None)
        failed_here = None if step.host == API else self._first_failure_on(step.host)
        failed = failed_need or failed_here
        over = self._over_budget(step.phase)
        if failed is None and over is None:
            return None
        if self._settled(step):
            return StepResult(step.id, Outcome.OK)
        if failed is not None:
            where = "the API" if failed.host == API else failed.host
            brief = f"{failed.phase} on {where}: {self.results[failed].outcome}"
            return StepResult(step.id, Outcome.BLOCKED, brief=brief)
        return StepResult(step.id, Outcome.SKIPPED, brief=f"{step.phase}: more hosts failed than may ({over})")

    def _first_failure_on(self, host: str) -> StepId | None:
        bad = _COUNTED | {Outcome.UNREACHABLE}
        return next((s for s, r in self.results.items() if s.host == host and r.outcome in bad), None)

    def _over_budget(self, phase: str) -> str | None:
        named = self._phases[phase]
        ids = [s.id for s in named.steps if s.id in self._steps]
        failed = sum(1 for s in ids if s in self.results and self.results[s].outcome in _COUNTED)
        allowed = may_fail(named.failure.tolerated_share, len(ids))
        return f"{failed} of {len(ids)}, {allowed} allowed" if failed > allowed else None


def _told(step: Step, outcome: Outcome, problem: HostProblem) -> StepResult:
    return StepResult(step.id, outcome, brief=problem.brief, cause=problem.cause, remedy=problem.remedy)


def _check_graph(steps: list[Step]) -> None:
    """A platform whose steps name a step that is not there, or wait for one another, is a mistake in the program."""
    ids = {step.id for step in steps}
    if len(ids) != len(steps):
        raise ValueError("two steps have the same phase and host")
    sorter: TopologicalSorter[StepId] = TopologicalSorter()
    for step in steps:
        strangers = (step.needs | step.after) - ids
        if strangers:
            raise ValueError(f"{step.id} waits for steps that do not exist: {sorted(strangers)}")
        sorter.add(step.id, *step.needs, *step.after)
    try:
        sorter.prepare()
    except CycleError as error:
        raise ValueError(f"steps wait for one another: {error.args[1]}") from error

"""The engine: observe, plan, lock, observe again, apply what is left to do, and keep a record of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_infra.core import (
    API,
    Emit,
    Event,
    Outcome,
    Phase,
    Plan,
    Probe,
    StepResult,
    Unknown,
)
from mlops_infra.engine.apply import Program
from mlops_infra.engine.connect import Connections, Master, observe_all
from mlops_infra.engine.errors import PlanMoved
from mlops_infra.engine.exchange import Exchanges
from mlops_infra.engine.journal import Journal, new_run_id, prune
from mlops_infra.engine.leftovers import with_leftovers
from mlops_infra.engine.lock import RunLock, this_holder
from mlops_infra.engine.observation import Observation, Questions, all_steps, questions
from mlops_infra.engine.plan_json import plan_to_json
from mlops_infra.engine.planner import broken_steps, is_settled, plan_steps, wanted
from mlops_infra.engine.quorum import Quorum
from mlops_infra.engine.relook import lock_and_observe
from mlops_infra.engine.result import RunResult
from mlops_infra.engine.running import run_schedule
from mlops_infra.engine.schedule import Schedule
from mlops_infra.engine.selection import Selected, Selection, check_required, select
from mlops_infra.engine.wire import ShWire, Wire
from mlops_infra.engine.world import World
from mlops_infra.errors import InfraError
from mlops_infra.transport import Target, Transport

__all__ = ["Engine", "Settings"]


def _silent(event: Event) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an engine is told besides the phases. `runs` is where records of runs go."""

    cluster: str
    masters: tuple[Master, ...]
    runs: Path
    selection: Selection = field(default_factory=Selection)
    notes: tuple[str, ...] = ()


class Engine:
    """One run over one platform. `plan()` reads only; `apply()` is the only way to a write.

    Made for one use: observe or plan any number of times, apply at most once, then `close()` (it is a context manager).
    """

    def __init__(
        self,
        transport: Transport,
        targets: Mapping[str, Target],
        phases: Sequence[Phase],
        settings: Settings,
        *,
        emit: Emit = _silent,
        wire: Wire | None = None,
    ) -> None:
        self.settings = settings
        self.observation: Observation | None = None
        self._emit = emit
        self._wire = wire or ShWire()
        self._connections = Connections(transport, targets, emit)
        self._selected: Selected = select(phases, settings.selection)
        self.phases = with_leftovers(phases, self._selected.chosen)
        self._steps = all_steps(self.phases)
        self._asked = self._questions(targets)
        self._interrupts = 0
        self._stop_reason = ""
        self._wake = threading.Event()

    # ---- reading -----------------------------------------------------------------------------------------------

    def observe(self, more: Mapping[str, frozenset[Probe[Any]]] | None = None) -> Observation:
        """Connect to every host of the selection and ask everything, in one channel each.

        `more` adds questions by host (`API` for those about the API), e.g. a doctor's.
        """
        asked = self._asked
        if more:
            hosts = {h: asked.hosts.get(h, frozenset()) | more.get(h, frozenset()) for h in asked.hosts}
            asked = Questions(hosts, asked.api | more.get(API, frozenset()))
        self.observation = observe_all(self._connections, self._wire, asked, self.settings.masters, self._emit)
        return self.observation

    def plan(self, *, diffs: bool = True, more: Mapping[str, frozenset[Probe[Any]]] | None = None) -> Plan:
        """What `apply` would do. With `diffs`, hosts whose changes show better with more answers are asked once more.

        `more` as in `observe`: questions beside those of the phases, in the same exchange. Raises SelectionRefused
        where the selection needs what is not done.
        """
        seen = self.observe(more)
        check_required(self._steps, self._selected, seen)
        plan = self._plan(seen)
        if diffs and (better := wanted(plan, seen)):
            seen = self._second_look(seen, better)
            self.observation = seen
            plan = self._plan(seen)
            if wanted(plan, seen):
                raise AssertionError("a resource asked a third time")
        return plan

    # ---- writing -----------------------------------------------------------------------------------------------

    def apply(self, *, expected: str | None = None) -> RunResult:
        """Bring the platform to what is declared. `expected` is the digest of the plan that was agreed to.

        Takes the run lock, observes again and applies what that shows. Nothing to do: no lock, no further channel.
        Raises LockBusy, NoMajority, PlanMoved before anything was written; failures after that are in the result.
        """
        seen = self.observation or self.observe()
        check_required(self._steps, self._selected, seen)
        plan = self._plan(seen)
        _check_expected(plan, expected)
        began, run_id = time.monotonic(), new_run_id()
        journal = Journal(self.settings.runs, run_id)
        journal.record("run_started", sync=True, cluster=self.settings.cluster, plan=plan.digest())
        try:
            if plan.is_empty:
                results = self._nothing_to_do(seen)
            else:
                plan, results = self._locked_run(plan, seen, journal, expected)
            journal.save("plan.json", plan_to_json(plan))
            outcome = RunResult(
                run_id,
                plan,
                results,
                journal.directory,
                interrupted=self._interrupts > 0,
                seconds=time.monotonic() - began,
                stopped=self._stop_reason,
            )
            journal.record("run_ended", sync=True, exit_code=int(outcome.exit_code), stopped=self._stop_reason)
            return outcome
        except InfraError as error:
            journal.record("run_ended", sync=True, error=error.brief)
            raise
        finally:
            journal.close()
            prune(self.settings.runs)

    def interrupt(self) -> None:
        """Ctrl-C or SIGTERM. Once: begin nothing more, let what flies end. Twice: close the sockets."""
        self._interrupts += 1
        self.stop("interrupted")
        if self._interrupts > 1:
            self._connections.close()

    def stop(self, why: str) -> None:
        """Begin nothing more."""
        self._stop_reason = self._stop_reason or why
        self._wake.set()

    @property
    def channels(self) -> int:
        return self._connections.channels

    def close(self) -> None:
        self._connections.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------------

    def _questions(self, targets: Mapping[str, Target]) -> Questions:
        """Only hosts that the selection touches or needs; all masters where the API or the quorum matters."""
        taken = self._selected.chosen | self._selected.required
        steps = [s for s in self._steps if s.id in taken]
        masters = [m.name for m in self.settings.masters]
        hosts = {s.host for s in steps} | {i.host for s in steps for o in s.operations for i in o.inputs}
        careful = {p.name for p in self.phases if p.quorum} & {s.phase for s in steps}
        if questions(steps, (), ()).api or careful:
            hosts |= set(masters)
        return questions(steps, [h for h in targets if h in hosts], masters)

    def _plan(self, seen: Observation) -> Plan:
        told = self.settings
        return plan_steps(self.phases, seen, cluster=told.cluster, chosen=self._selected.chosen, notes=told.notes)

    def _second_look(self, seen: Observation, more: Mapping[str, frozenset[Probe[Any]]]) -> Observation:
        """Ask what makes the diffs better; a host that is lost meanwhile keeps its poorer diff."""
        hosts = {h: probes for h, probes in more.items() if h != API}
        api = more.get(API, frozenset())
        if api and seen.api_host:
            hosts[seen.api_host] = hosts.get(seen.api_host, frozenset())
        again = observe_all(self._connections, self._wire, Questions(hosts, api), self.settings.masters, _silent)
        for host, facts in again.facts.items():
            seen = seen.with_facts(host, facts)
        seen = seen.with_facts(API, again.api)
        for host, probes in more.items():
            silent = {p: Unknown("not answered") for p in probes if p not in seen.of(host)}
            seen = seen.with_facts(host, silent)
        return seen

    def _nothing_to_do(self, seen: Observation) -> tuple[StepResult, ...]:
        schedule = Schedule(self.phases, chosen=self._selected.chosen, settled=lambda step: True)
        schedule.give_up({p.host: p for p in seen.problems})
        schedule.broken(broken_steps(self.phases, seen, chosen=self._selected.chosen))
        while groups := schedule.ready():
            for group in groups:
                schedule.finish(StepResult(step.id, Outcome.OK) for step in group)
        return schedule.ordered_results()

    def _locked_run(
        self, plan: Plan, seen: Observation, journal: Journal, expected: str | None
    ) -> tuple[Plan, tuple[StepResult, ...]]:
        lock = RunLock(self._connections, self._wire, this_holder(journal.run_id), self.stop)
        try:
            seen = lock_and_observe(
                lock, self._connections, self._wire, self._asked, self.settings.masters, plan=plan, seen=seen
            )
            self.observation = seen
            plan = self._plan(seen)
            _check_expected(plan, expected)
            journal.record("locked", hosts=lock.hosts, plan=plan.digest())
            return plan, self._run_steps(seen, journal)
        finally:
            lock.release()

    def _run_steps(self, seen: Observation, journal: Journal) -> tuple[StepResult, ...]:
        masters = {m.name: m for m in self.settings.masters}
        world = World(seen)
        exchanges = Exchanges(self._connections, self._wire, world, masters, journal, self._emit)
        program = Program(
            journal.run_id,
            self.settings.cluster,
            self._asked,
            {h: tuple(r for s in self._steps if s.host == h for r in s.resources) for h in self._asked.hosts},
            Quorum(frozenset(p.name for p in self.phases if p.quorum), tuple(masters)),
        )
        schedule = Schedule(
            self.phases,
            chosen=self._selected.chosen,
            settled=lambda step: (
                (step.host == API or step.host in seen.facts) and is_settled(step, world.of(step.host))
            ),
        )
        schedule.give_up({p.host: p for p in seen.problems})
        schedule.broken(broken_steps(self.phases, seen, chosen=self._selected.chosen))
        try:
            return run_schedule(schedule, program, exchanges, stopped=lambda: self._stop_reason)
        finally:
            self.observation = world.observation


def _check_expected(plan: Plan, expected: str | None) -> None:
    if expected is not None and plan.digest() != expected:
        raise PlanMoved(
            "The platform is not as it was when the plan was made",
            cause="Somebody or something changed a host, or cluster.yaml was edited, since then.",
            remedy="Look at the new plan (`mlops-infra plan`) and agree to that one.",
        )

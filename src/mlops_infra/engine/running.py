"""A schedule at work: groups of steps in threads, until none is left or the run is stopped."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from mlops_infra.core import API, Event, EventKind, Step, StepId, StepResult
from mlops_infra.engine.apply import Group, GroupRun, Program
from mlops_infra.engine.connect import MAX_THREADS
from mlops_infra.engine.exchange import Exchanges
from mlops_infra.engine.observation import ADMIN_KUBECONFIG
from mlops_infra.engine.operations_run import OperationsRun
from mlops_infra.engine.planner import is_settled
from mlops_infra.engine.redact import redact
from mlops_infra.engine.schedule import Schedule
from mlops_infra.errors import InfraError

__all__ = ["run_schedule"]


def run_schedule(
    schedule: Schedule, program: Program, exchanges: Exchanges, *, stopped: Callable[[], str]
) -> tuple[StepResult, ...]:
    """Run until nothing is left. Once `stopped` says why, nothing more is begun and what flies may end."""
    threads = min(MAX_THREADS, len(program.asked.hosts) + 1)  # a group for each host, and one for the API
    with ThreadPoolExecutor(threads, thread_name_prefix="step") as pool:
        flying: dict[Future[list[StepResult]], tuple[Step, ...]] = {}
        told: set[StepId] = set()
        while not schedule.done:
            if why := stopped():
                schedule.stop(why)
            for group in schedule.ready():
                unfinished = schedule.pending_on(group[0].host)
                flying[pool.submit(_run_group, group, unfinished, program, exchanges)] = group
            _tell(schedule, told, exchanges)
            if not flying:
                if not schedule.done:
                    raise AssertionError("steps are left that nothing will ever free")
                break
            ended, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in ended:
                flying.pop(future)
                schedule.finish(future.result())
            _tell(schedule, told, exchanges)
    return schedule.ordered_results()


def _run_group(
    steps: tuple[Step, ...], unfinished: tuple[Step, ...], program: Program, exchanges: Exchanges
) -> list[StepResult]:
    """One group in its own thread. Every way out gives each of its steps a result."""
    world = exchanges.world
    if all(is_settled(s, world.of(s.host)) for s in steps):
        group = Group(steps, steps[0].host)
        group.end_rest()
        return group.ordered_results()
    host = _machine(steps[0], exchanges)
    group = Group(steps, host or steps[0].host, unfinished)
    if host is None:
        cause = "No API server is up, or none can be reached."
        group.fail(steps[0], InfraError("no master answers for the API", cause=cause, remedy="mlops-infra status"))
        return group.ordered_results()
    for step in steps:
        exchanges.emit(Event(time.time(), EventKind.STEP_STARTED, host, step.id))
    run = GroupRun(program, exchanges, group)
    try:
        run.apply_resources()
        for step in steps:
            if step.operations and not group.failed:
                OperationsRun(run, step).run_all()
    except Exception as error:  # a fault of the program on one host must not take the others with it
        exchanges.journal.output(host, redact("".join(traceback.format_exception(error))))
        group.fail(_current(group), _our_fault(error, exchanges))
    group.end_rest()
    return group.ordered_results()


def _current(group: Group) -> Step:
    return next((s for s in group.steps if s.id not in group.results), group.steps[-1])


def _our_fault(error: Exception, exchanges: Exchanges) -> InfraError:
    return InfraError(
        f"a fault in mlops-infra itself: {type(error).__name__}",
        cause="This is not your mistake. What was begun on the host is found and finished by the next run.",
        remedy=f"Please report it with {exchanges.journal.directory / 'output.log'}.",
    )


def _machine(step: Step, exchanges: Exchanges) -> str | None:
    """Where a step runs: its host; for the API the master that answers, else one that has a kubeconfig."""
    if step.host != API:
        return step.host
    world = exchanges.world
    able = [m for m in exchanges.masters if world.of(m).value(ADMIN_KUBECONFIG) is not None]
    known = [m for m in able if m == world.api_host]
    for master in [*known, *able]:
        try:
            exchanges.connections.session(master)
            return master
        except InfraError:
            continue
    return None


def _tell(schedule: Schedule, told: set[StepId], exchanges: Exchanges) -> None:
    """Say of each step once how it ended: those that never began, too."""
    for result in [r for r in schedule.results.values() if r.id not in told]:
        told.add(result.id)
        exchanges.journal.record(
            "step_ended",
            phase=result.id.phase,
            host=result.id.host,
            outcome=result.outcome,
            changed=result.changed,
            brief=result.brief,
        )
        now = time.time()
        exchanges.emit(Event(now, EventKind.STEP_ENDED, result.id.host, result.id, result.brief, result.outcome))

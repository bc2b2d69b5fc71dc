"""What may run when: pure bookkeeping, a row a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlops_infra.core import (
    API,
    FailurePolicy,
    HostProblem,
    Operation,
    OperationState,
    Outcome,
    Phase,
    Script,
    Standing,
    Step,
    StepId,
    StepResult,
)
from mlops_infra.engine.schedule import Schedule, may_fail

OPERATION = Operation("op", "op", frozenset(), lambda facts: Standing(OperationState.PENDING), lambda i: Script(""))


def ids(*names: str) -> frozenset[StepId]:
    return frozenset(
        StepId(*name.split("@", 1)) if not name.endswith(API) else StepId(name[: -len(API)], API) for name in names
    )


def step(name: str, *, needs: str = "", after: str = "", operation: bool = False, knocks: bool = False) -> Step:
    (own,) = ids(name)
    operations = (OPERATION,) if operation else ()
    return Step(own.phase, own.host, (), operations, ids(*needs.split()), ids(*after.split()), knocks)


def schedule(*steps: Step, settled: Callable[[Step], bool] = lambda s: False, share: float = 0.0) -> Schedule:
    names = dict.fromkeys(s.phase for s in steps)
    phases = [Phase(n, n, tuple(s for s in steps if s.phase == n), FailurePolicy(share)) for n in names]
    return Schedule(phases, settled=settled)


def names(groups: list[tuple[Step, ...]]) -> list[list[str]]:
    return [[f"{s.phase}@{s.host}" for s in group] for group in groups]


def end(plan: Schedule, name: str, outcome: Outcome = Outcome.CHANGED) -> None:
    (own,) = ids(name)
    plan.finish([StepResult(own, outcome)])


def test_a_row_of_steps_on_one_host_is_one_group_and_hosts_run_side_by_side() -> None:
    plan = schedule(step("one@a"), step("one@b"), step("two@a", needs="one@a"), step("two@b", needs="one@b"))
    assert names(plan.ready()) == [["one@a", "two@a"], ["one@b", "two@b"]]
    assert plan.ready() == []


def test_a_step_with_an_operation_ends_its_group_and_a_settled_one_does_not() -> None:
    steps = (step("one@a"), step("join@a", operation=True), step("two@a"))
    assert names(schedule(*steps).ready()) == [["one@a", "join@a"]]
    done = schedule(*steps, settled=lambda s: s.phase == "join")
    assert names(done.ready()) == [["one@a", "join@a", "two@a"]]


def test_a_step_that_waits_for_another_host_is_overtaken_by_what_nothing_orders() -> None:
    plan = schedule(step("init@a"), step("join@b", needs="init@a"), step("pull@b"))
    assert names(plan.ready()) == [["init@a"], ["pull@b"]]
    end(plan, "init@a")
    assert plan.ready() == []
    end(plan, "pull@b")
    assert names(plan.ready()) == [["join@b"]]


def test_after_waits_for_an_end_good_or_bad_and_needs_for_a_good_one() -> None:
    plan = schedule(step("p@a"), step("q@b", after="p@a"), step("r@c", needs="p@a"))
    assert names(plan.ready()) == [["p@a"]]
    end(plan, "p@a", Outcome.FAILED)
    assert names(plan.ready()) == [["q@b"]]
    assert plan.results[StepId("r", "c")].outcome is Outcome.BLOCKED
    assert plan.results[StepId("r", "c")].brief == "p on a: failed"


def test_a_step_with_nothing_to_do_is_never_blocked() -> None:
    plan = schedule(step("p@a"), step("r@c", needs="p@a"), settled=lambda s: s.phase == "r")
    plan.ready()
    end(plan, "p@a", Outcome.FAILED)
    plan.ready()
    assert plan.results[StepId("r", "c")].outcome is Outcome.OK
    assert plan.done


def test_steps_of_the_api_run_in_order_and_do_not_stop_one_another() -> None:
    """They were handed out together and took a master in whatever order: monitoring once came before its volumes."""
    plan = schedule(step(f"net{API}"), step(f"vol{API}"), step(f"mon{API}"))
    assert names(plan.ready()) == [[f"net@{API}"]]
    assert names(plan.ready()) == []
    end(plan, f"net{API}", Outcome.FAILED)
    assert names(plan.ready()) == [[f"vol@{API}"]]
    end(plan, f"vol{API}")
    assert names(plan.ready()) == [[f"mon@{API}"]]
    end(plan, f"mon{API}")
    assert plan.done


def test_the_first_failure_on_a_host_ends_its_chain_also_without_needs() -> None:
    plan = schedule(step("join@a", operation=True), step("two@a"))
    plan.ready()
    end(plan, "join@a", Outcome.FAILED)
    plan.ready()
    assert plan.results[StepId("two", "a")].outcome is Outcome.BLOCKED


@pytest.mark.parametrize(
    ("share", "hosts", "allowed"), [(0.0, 9, 0), (0.1, 9, 0), (0.1, 10, 1), (0.3, 10, 3), (1, 4, 4)]
)
def test_shares_are_rounded_down(share: float, hosts: int, allowed: int) -> None:
    assert may_fail(share, hosts) == allowed


def test_what_has_not_begun_is_skipped_once_more_failed_than_may() -> None:
    steps = [step("p@a"), *(step(f"p@{h}", after="p@a") for h in "bcd")]
    for share, expected in ((0.0, Outcome.SKIPPED), (0.25, None)):
        plan = schedule(*steps, share=share)
        plan.ready()
        end(plan, "p@a", Outcome.FAILED)
        begun = plan.ready()
        assert (len(begun) == 0) is (expected is Outcome.SKIPPED)


def test_hosts_that_cannot_be_reached_do_not_count_as_failures_of_their_phase() -> None:
    plan = schedule(step("p@a"), step("p@b"))
    plan.give_up({"a": HostProblem("a", "refused", unreachable=True)})
    assert names(plan.ready()) == [["p@b"]]
    assert plan.results[StepId("p", "a")].outcome is Outcome.UNREACHABLE


def test_a_stopped_schedule_begins_nothing_more_and_lets_what_runs_end() -> None:
    plan = schedule(step("p@a"), step("q@a", needs="p@a"), step("p@b", needs="p@a"))
    assert names(plan.ready()) == [["p@a", "q@a"]]
    plan.stop("interrupted")
    assert plan.ready() == [] and not plan.done
    end(plan, "p@a")
    end(plan, "q@a")
    assert plan.done
    assert plan.results[StepId("p", "b")].outcome is Outcome.CANCELLED


def test_a_program_that_waits_for_itself_or_for_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="wait for one another"):
        schedule(step("p@a", needs="p@b"), step("p@b", needs="p@a"))
    with pytest.raises(ValueError, match="do not exist"):
        schedule(step("p@a", needs="q@a"))
    with pytest.raises(ValueError, match="same phase and host"):
        schedule(step("p@a"), step("p@a"))


def test_a_step_that_knocks_begins_a_batch_of_its_own_and_others_may_follow_in_it() -> None:
    plan = schedule(step("a@h1"), step("proof@h1", needs="a@h1", knocks=True), step("z@h1"))
    assert names(plan.ready()) == [["a@h1"]]
    end(plan, "a@h1")
    assert names(plan.ready()) == [["proof@h1", "z@h1"]]


def test_a_step_that_knocks_and_has_nothing_to_do_parts_nothing() -> None:
    plan = schedule(step("a@h1"), step("proof@h1", knocks=True), step("z@h1"), settled=lambda s: s.knocks)
    assert names(plan.ready()) == [["a@h1", "proof@h1", "z@h1"]]

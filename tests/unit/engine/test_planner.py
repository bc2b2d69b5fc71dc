"""Plans from facts: pure, a few rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mlops_infra.core import (
    ABSENT,
    API,
    ApiObject,
    Change,
    Facts,
    HostProblem,
    Kind,
    Operation,
    OperationState,
    Phase,
    Probe,
    ReadText,
    Script,
    Sha256,
    Standing,
    Stat,
    Step,
    StepId,
)
from mlops_infra.engine.observation import ADMIN_KUBECONFIG, ETCD_MANIFEST, MANIFEST, Observation, questions
from mlops_infra.engine.planner import broken_steps, plan_steps, wanted
from mlops_infra.engine.quorum import check_quorum
from mlops_infra.engine.selection import Selection, select
from mlops_infra.errors import UsageError


@dataclass(frozen=True, slots=True)
class Shown:
    """A file whose diff is better once its text is known."""

    path: str

    @property
    def id(self) -> str:
        return f"file:{self.path}"

    @property
    def title(self) -> str:
        return self.path

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset({Sha256(self.path)})

    def diff(self, facts: Facts) -> Change | None:
        if facts.value(Sha256(self.path)) == "good":
            return None
        text = facts.value(ReadText(self.path))
        wants = frozenset({ReadText(self.path)}) if facts.value(Sha256(self.path)) else frozenset()
        return Change(self.id, self.path, Kind.UPDATE, "content differs", (), diff=f"-{text or ''}", wants=wants)


def operation(state: OperationState) -> Operation:
    return Operation(
        "op", "join it", frozenset(), lambda f: Standing(state, "because", "mend it"), lambda i: Script("")
    )


def phase(*steps: Step) -> Phase:
    return Phase(steps[0].phase, "title", steps)


def test_what_is_as_declared_is_not_in_the_plan() -> None:
    steps = phase(Step("p", "a", (Shown("/x"),)), Step("p", "b", (Shown("/x"),)))
    seen = Observation({"a": Facts({Sha256("/x"): "good"}), "b": Facts({Sha256("/x"): "bad"})})
    plan = plan_steps([steps], seen, cluster="demo")
    assert [s.id for s in plan.steps] == [StepId("p", "b")]
    assert plan.cluster == "demo" and not plan.is_empty


def test_better_diffs_are_asked_for_once_and_the_digest_does_not_hang_on_them() -> None:
    steps = phase(Step("p", "a", (Shown("/x"), Shown("/new"))))
    seen = Observation({"a": Facts({Sha256("/x"): "bad", Sha256("/new"): ABSENT})})
    plain = plan_steps([steps], seen)
    assert wanted(plain, seen) == {"a": {ReadText("/x")}}
    seen = seen.with_facts("a", {ReadText("/x"): "old text"})
    shown = plan_steps([steps], seen)
    assert shown.steps[0].changes[0].diff == "-old text"
    assert wanted(shown, seen) == {}
    assert shown.digest() == plain.digest()


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (OperationState.DONE, None),
        (OperationState.PENDING, "because"),
        (OperationState.UNKNOWN, "known after init on m1 (because)"),
    ],
)
def test_an_operation_is_planned_by_where_it_stands(state: OperationState, reason: str | None) -> None:
    waits = Step("p", "a", (), (operation(state),), needs=frozenset({StepId("init", "m1")}))
    plan = plan_steps([Phase("p", "p", (waits,))], Observation({"a": Facts()}))
    assert [o.reason for s in plan.steps for o in s.operations] == ([reason] if reason else [])


def test_a_half_done_operation_hides_what_comes_after_it_on_its_host_only() -> None:
    phases = [
        phase(Step("p", "a", (Shown("/x"),)), Step("p", "b", (Shown("/x"),))),
        phase(Step("q", "a", (), (operation(OperationState.BROKEN),))),
        phase(Step("r", "a", (Shown("/y"),)), Step("r", "b", (Shown("/y"),))),
    ]
    seen = Observation({"a": Facts(), "b": Facts()})
    plan = plan_steps(phases, seen)
    assert [tuple(s.id) for s in plan.steps] == [("p", "a"), ("p", "b"), ("r", "b")]
    assert [(p.host, p.cause, p.remedy, p.unreachable) for p in plan.problems] == [("a", "because", "mend it", False)]
    assert list(broken_steps(phases, seen)) == [StepId("q", "a")]


def test_a_host_that_could_not_be_asked_has_a_problem_and_no_steps() -> None:
    problem = HostProblem("a", "refused", unreachable=True)
    plan = plan_steps([phase(Step("p", "a", (Shown("/x"),)))], Observation({}, problems=(problem,)))
    assert plan.is_empty and plan.problems == (problem,)


def test_questions_go_to_who_can_answer_them() -> None:
    node = ApiObject("v1", "Node", "w")

    def asks(*probes: Probe[Any]) -> Operation:
        return Operation("o", "o", frozenset(probes), lambda f: Standing(OperationState.DONE), lambda i: Script(""))

    steps = [Step("p", "w", (), (asks(node, Stat("/w")),)), Step("n", API, (), (asks(Stat("/on-master")),))]
    asked = questions(steps, ["w", "m"], ["m"])
    assert asked.hosts["w"] == {Stat("/w"), MANIFEST}
    assert asked.hosts["m"] == {ADMIN_KUBECONFIG, ETCD_MANIFEST, MANIFEST}
    assert asked.api == {node, Stat("/on-master")}
    seen = Observation({"w": Facts({Stat("/w"): ABSENT})}, Facts({node: {"kind": "Node"}, Stat("/on-master"): ABSENT}))
    assert seen.of("w").value(node) == {"kind": "Node"}
    assert Stat("/on-master") not in seen.of("w")


@pytest.mark.parametrize(
    ("members", "healthy", "disturbed", "allowed"),
    [
        ("abc", "abc", "a", True),
        ("abc", "ab", "a", False),
        ("abc", "ab", "c", True),
        ("abcde", "abcd", "a", True),
        ("abcde", "abc", "a", False),
        ("ab", "ab", "a", False),
        ("a", "a", "a", True),
        ("", "", "a", True),
    ],
)
def test_a_majority_must_remain(members: str, healthy: str, disturbed: str, allowed: bool) -> None:
    assert check_quorum(frozenset(members), frozenset(healthy), disturbed) is allowed


def test_a_selection_takes_what_it_names_and_knows_what_that_stands_on() -> None:
    base, api = Step("base", "a"), Step("net", API, needs=frozenset({StepId("base", "a")}))
    top = Step("top", "b", needs=frozenset({StepId("base", "a")}))
    phases = [phase(base), phase(api), phase(top)]
    chosen = select(phases, Selection(hosts=frozenset({"b"})))
    assert chosen.chosen == {StepId("top", "b")} and chosen.required == {StepId("base", "a")}
    assert select(phases, Selection(phases=frozenset({"net"}))).chosen == {StepId("net", API)}
    assert len(select(phases, Selection()).chosen) == 3
    with pytest.raises(UsageError, match="no host named 'c'"):
        select(phases, Selection(hosts=frozenset({"c"})))
    with pytest.raises(UsageError, match="no phase named 'tpo'"):
        select(phases, Selection(phases=frozenset({"tpo"})))

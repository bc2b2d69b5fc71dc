"""The plan as people read it."""

from __future__ import annotations

from mlops_infra.core import API, Change, HostProblem, Kind, Plan, PlannedOperation, PlannedStep, StepId
from mlops_infra.ui.console import Style
from mlops_infra.ui.plan import hosts_text, overview_text, plan_text, problems_text, summary

PLAIN = Style()


def change(name: str = "/etc/a", diff: str = "", kind: Kind = Kind.UPDATE, disruptive: bool = False) -> Change:
    return Change(f"file:{name}", name, kind, "content differs", (), diff=diff, disruptive=disruptive)


def step(phase: str, host: str, *changes: Change, operations: tuple[PlannedOperation, ...] = ()) -> PlannedStep:
    return PlannedStep(StepId(phase, host), changes, operations)


def test_what_several_hosts_share_is_shown_once_with_all_their_names() -> None:
    plan = Plan("c", tuple(step("hosts", h, change(diff="-a\n+b")) for h in ("m1", "m2", "w1")))
    assert plan_text(plan, PLAIN) == (
        "hosts · m1 m2 w1\n  ~ /etc/a  content differs\n      -a\n      +b\n\nPlan: 3 changes on 3 hosts."
    )


def test_what_differs_on_one_host_stands_apart() -> None:
    plan = Plan("c", (step("hosts", "m1", change()), step("hosts", "m2", change(), change("/etc/b", kind=Kind.CREATE))))
    shown = plan_text(plan, PLAIN)
    assert shown.index("hosts · m1 m2\n  ~ /etc/a") < shown.index("hosts · m2\n  + /etc/b")
    assert shown.count("/etc/a") == 1


def test_a_long_diff_is_cut_unless_all_of_it_is_wanted() -> None:
    plan = Plan("c", (step("hosts", "m1", change(diff="\n".join(f"+{i}" for i in range(100)))),))
    assert "… 86 more lines" in plan_text(plan, PLAIN)
    assert "+99" not in plan_text(plan, PLAIN)
    assert "+99" in plan_text(plan, PLAIN, all_lines=True)


def test_operations_and_disruption_are_named() -> None:
    operation = PlannedOperation("init", "kubeadm init", "there is no cluster", disruptive=True)
    plan = Plan("c", (step("control-plane", "m1", operations=(operation,)), step("network", API, change())))
    shown = plan_text(plan, PLAIN)
    assert "» kubeadm init  there is no cluster  disruptive" in shown
    assert "network · the Kubernetes API" in shown
    assert summary(plan) == "Plan: 1 change and 1 operation on 1 host, 1 disruptive."


def test_an_empty_plan_says_that_there_is_nothing_to_do_and_does_not_hide_problems() -> None:
    assert summary(Plan("c", ())) == "Nothing to do."
    silent = HostProblem("m1", "does not answer", unreachable=True)
    assert "as far as can be seen" in summary(Plan("c", (), (silent,)))


def test_hosts_with_the_same_problem_share_one_message() -> None:
    problems = [HostProblem(f"w{i}", "timed out", "a firewall", "open port 22") for i in range(137)]
    lines = problems_text(problems, PLAIN)
    assert len(lines) == 3
    assert "(137 hosts)" in lines[0]


def test_many_hosts_are_cut_with_their_number() -> None:
    assert hosts_text([f"w{i}" for i in range(20)]).endswith("… (20 hosts)")
    assert hosts_text(["a", "b"]) == "a b"


def test_who_has_said_yes_beforehand_sees_a_line_a_phase_of_a_long_plan() -> None:
    many = tuple(change(f"/etc/{i}") for i in range(60))
    operation = PlannedOperation("init", "kubeadm init", "there is no cluster", disruptive=True)
    steps = (
        step("hosts", "m1", *many),
        step("hosts", "w1", *many),
        step("control-plane", "m1", operations=(operation,)),
    )
    problem = HostProblem("w2", "does not answer", unreachable=True)
    shown = overview_text(Plan("c", steps, (problem,), ("old release",)), PLAIN)
    assert shown.splitlines() == [
        "hosts          120 changes              m1 w1",
        "control-plane  1 operation, disruptive  m1",
        "",
        "problem: w2: does not answer",
        "note: old release",
        "Plan: 120 changes and 1 operation on 2 hosts, 1 disruptive. "
        "`mlops-infra plan` shows all of it, as does -v here.",
    ]


def test_a_short_plan_is_shown_whole_to_everybody() -> None:
    plan = Plan("c", (step("hosts", "m1", change(diff="-a\n+b")),))
    assert overview_text(plan, PLAIN) == plan_text(plan, PLAIN)

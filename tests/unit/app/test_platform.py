"""How much of a platform a command means, and what its look at it amounts to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlops_infra.app import platform as module
from mlops_infra.app.context import open_site
from mlops_infra.app.judgement import problems_of, refuse, remarks_of
from mlops_infra.app.platform import Asked, Platform, exit_code_of_plan, scope
from mlops_infra.core import (
    ABSENT,
    API,
    Facts,
    HostProblem,
    Operation,
    Phase,
    Plan,
    PlannedStep,
    Stat,
    StatFact,
    Step,
    StepId,
)
from mlops_infra.engine.observation import Observation
from mlops_infra.errors import ExitCode, InfraError
from mlops_infra.operations.kubeadm import kubeadm_init
from mlops_infra.phases.preflight import Finding

FILE = Path("cluster.yaml")
PHASES = (
    Phase("hosts", "", tuple(Step("hosts", h) for h in ("lb", "m1", "m2", "w1"))),
    Phase("lb", "", (Step("lb", "lb", needs=frozenset({StepId("hosts", "lb")})),)),
    Phase(
        "control-plane",
        "",
        (
            Step(
                "control-plane", "m1", needs=frozenset({StepId("hosts", "m1")}), after=frozenset({StepId("lb", "lb")})
            ),
            Step("control-plane", "m2", needs=frozenset({StepId("control-plane", "m1")})),
        ),
    ),
    Phase("network", "", (Step("network", API, needs=frozenset({StepId("control-plane", "m1")})),)),
    Phase(
        "workers",
        "",
        (Step("workers", "w1", needs=frozenset({StepId("hosts", "w1"), StepId("control-plane", "m1")})),),
    ),
)
ALL = {step.id for phase in PHASES for step in phase.steps}


def taken(asked: Asked) -> set[StepId]:
    selection = scope(PHASES, asked)
    return {s for s in ALL if selection.takes(s)}


def test_up_means_everything() -> None:
    assert taken(Asked(FILE)) == ALL


def test_limit_means_the_steps_of_that_host() -> None:
    assert taken(Asked(FILE, limit=("m2",))) == {StepId("hosts", "m2"), StepId("control-plane", "m2")}


def test_a_part_brings_what_it_needs_and_no_other_part() -> None:
    assert taken(Asked(FILE, phases=frozenset({"lb"}))) == {StepId("hosts", "lb"), StepId("lb", "lb")}
    assert taken(Asked(FILE, phases=frozenset({"network"}))) == {
        StepId("hosts", "m1"),
        StepId("control-plane", "m1"),
        StepId("network", API),
    }


def test_a_part_on_one_host_is_that_host_alone() -> None:
    assert taken(Asked(FILE, limit=("w1",), phases=frozenset({"workers"}))) == {
        StepId("hosts", "w1"),
        StepId("workers", "w1"),
    }


SITE = """\
name: site
ssh: {user: ops}
hosts:
  lb: [{name: lb, address: 10.0.0.2}]
  masters: [{name: m1, address: 10.0.0.11}]
  workers: [{name: w1, address: 10.0.0.21}]
"""


def looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: Operation, facts: Facts) -> list[frozenset[str]]:
    """The hosts of each look that `workers apply` takes, where m1 says this."""
    taken: list[frozenset[str]] = []
    control = next(p for p in PHASES if p.name == "control-plane")
    made = replace(control, steps=(replace(control.steps[0], operations=(init,)), *control.steps[1:]))

    def engine(*args: Any, **_: Any) -> Any:
        def look(**_: Any) -> Plan:
            taken.append(args[3].selection.hosts)
            return Plan("site", ())

        return SimpleNamespace(settings=args[3], observation=Observation({"m1": facts}), plan=look, close=lambda: None)

    monkeypatch.setattr(module, "Engine", engine)
    monkeypatch.setattr(module, "phase_context", lambda *_: None)
    monkeypatch.setattr(module, "phases_for", lambda *_: [made if p is control else p for p in PHASES])
    config = tmp_path / "cluster.yaml"
    config.write_text(SITE)
    transport: Any = SimpleNamespace()
    asked = Asked(config, phases=frozenset({"workers"}))
    Platform(open_site(config, lab=False), asked, transport, lambda event: None).plan()
    return taken


def test_a_load_balancer_is_looked_at_for_a_part_only_where_the_cluster_is_still_to_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = kubeadm_init("m1", "10.0.0.11", "", endpoint="10.0.0.2", endpoint_port=6443)
    files = {p for p in init.probes if isinstance(p, Stat)}
    first = frozenset({"m1", "w1", API})
    bare = Facts(dict.fromkeys(files, ABSENT))
    assert looks(tmp_path, monkeypatch, init, bare) == [first, first | {"lb"}]
    made = Facts({p: ABSENT if "mlops-infra" in p.path else StatFact("file", 0o600, "root", "root", 1) for p in files})
    assert looks(tmp_path, monkeypatch, init, made) == [first]


def plan(*problems: HostProblem, empty: bool = True) -> Plan:
    return Plan("c", () if empty else (PlannedStep(StepId("hosts", "m1")),), problems)


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (plan(), ExitCode.DONE),
        (plan(empty=False), ExitCode.CHANGES),
        (plan(HostProblem("m1", "half-done")), ExitCode.PARTLY),
        (plan(HostProblem("m1", "silent", unreachable=True), empty=False), ExitCode.PARTLY),
        (plan(*(HostProblem(h, "silent", unreachable=True) for h in "ab")), ExitCode.UNREACHABLE),
    ],
)
def test_the_worst_news_of_a_plan_is_its_exit_code(made: Plan, code: ExitCode) -> None:
    assert exit_code_of_plan(made, hosts=2) is code


REFUSAL = Finding("m1", "refuse", "1 CPU, a master needs 2", "", "give the machine more CPUs")
WARNING = Finding("w1", "warn", "its clock is 2 s behind the others", "", "chronyc tracking")


def test_refusals_are_problems_and_warnings_are_notes() -> None:
    findings = (REFUSAL, WARNING, Finding("w2", "warn", WARNING.brief, "", WARNING.remedy))
    assert problems_of(findings) == (HostProblem("m1", REFUSAL.brief, "", REFUSAL.remedy),)
    assert remarks_of(findings) == ("w1, w2: its clock is 2 s behind the others (chronyc tracking)",)


def test_nothing_is_written_while_preflight_refuses() -> None:
    refuse((WARNING,))
    with pytest.raises(InfraError, match="preflight refuses m1") as refused:
        refuse((WARNING, REFUSAL))
    assert refused.value.details == "m1: 1 CPU, a master needs 2\n  try: give the machine more CPUs"


def test_a_refusal_says_what_several_hosts_have_once_with_the_cause() -> None:
    found = [Finding(host, "refuse", "port 80 is taken", "another program", "ss -ltnp") for host in ("lb1", "lb2")]
    with pytest.raises(InfraError, match="preflight refuses lb1, lb2") as refused:
        refuse(found)
    assert refused.value.details == "lb1, lb2: port 80 is taken\n  why: another program\n  try: ss -ltnp"

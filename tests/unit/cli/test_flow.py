"""Look, show, ask, apply, report: `plan`, `up` and `status` over a platform that answers as told."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.app import platform as platform_module
from mlops_infra.app import up as up_module
from mlops_infra.app.platform import Asked
from mlops_infra.app.smoke import Smoke
from mlops_infra.app.smoke_checks import Check, Result
from mlops_infra.app.status import Status
from mlops_infra.app.up import Converged
from mlops_infra.cli import main as cli
from mlops_infra.core import Change, HostProblem, Kind, Outcome, Plan, PlannedStep, StepId, StepResult
from mlops_infra.engine.result import RunResult
from mlops_infra.errors import InfraError
from mlops_infra.phases import control_plane, hosts, lb, network, runtime, workers
from mlops_infra.phases.preflight import Finding

STATUS = Status("c", "api.c.internal:6443", "10.0.0.20", {"kubernetes": "1.31.4"}, (), (), ())
STEP = StepId("hosts", "m1")
FULL = Plan("c", (PlannedStep(STEP, (Change("file:/etc/a", "/etc/a", Kind.CREATE, "not there", ()),)),))
EMPTY = Plan("c", ())


class FakePlatform:
    """Stands in for an opened platform; `agreed` are the plans that were applied."""

    def __init__(self) -> None:
        self.made = FULL
        self.findings: tuple[Finding, ...] = ()
        self.results: tuple[StepResult, ...] = (StepResult(STEP, Outcome.CHANGED, ("file:/etc/a",)),)
        self.asked: list[Asked] = []
        self.agreed: list[Plan | None] = []
        self.shown = ()
        self.hosts_meant = 1
        self.context = None
        self.smoke: Smoke | InfraError = Smoke("ns", (Check("dns", "DNS", Result.OK),), 1.0)
        self.smoked = 0

    def plan(self) -> Plan:
        return self.made

    def look(self) -> None:
        """Nothing to see."""

    def status(self) -> Status:
        return STATUS

    def try_out(self, *_: Any) -> Smoke:
        self.smoked += 1
        if isinstance(self.smoke, InfraError):
            raise self.smoke
        return self.smoke

    def apply(self, _: Any, agreed: Plan | None) -> Converged:
        self.agreed.append(agreed)
        # Preflight's part is not in the engine's plan.
        plan = replace(agreed or self.made, problems=(), notes=())
        results = () if plan.is_empty else self.results
        return Converged(RunResult("run-1", plan, results, Path("runs/run-1")), STATUS)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> FakePlatform:
    fake = FakePlatform()

    @contextmanager
    def opened(asked: Asked, **_: Any) -> Iterator[FakePlatform]:
        fake.asked.append(asked)
        yield fake

    monkeypatch.setattr(platform_module, "open_platform", opened)
    monkeypatch.setattr(up_module, "apply", fake.apply)
    monkeypatch.setattr("mlops_infra.cli.smoke.run", fake.try_out)
    return fake


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_plan_with_changes_exits_2_and_an_empty_one_0(there: FakePlatform) -> None:
    assert cli.run(["plan"]) == 2
    there.made = EMPTY
    assert cli.run(["plan"]) == 0
    assert there.agreed == [], "a plan never writes"


def test_up_without_a_terminal_and_without_yes_is_refused(
    there: FakePlatform, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert cli.run(["up"]) == 64
    assert "Add --yes" in capsys.readouterr().err
    assert there.agreed == []


@pytest.mark.parametrize(("answer", "code", "applied"), [("y\n", 0, 1), ("yes\n", 0, 1), ("\n", 1, 0), ("", 1, 0)])
def test_up_asks_once_and_takes_anything_but_yes_for_a_no(
    there: FakePlatform, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, applied: int
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard(answer))
    assert cli.run(["up"]) == code
    assert there.agreed == [FULL] * applied


def test_up_does_not_ask_when_there_is_nothing_to_do(
    there: FakePlatform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    there.made = EMPTY
    assert cli.run(["up"]) == 0
    assert "Nothing to do: c is as declared." in capsys.readouterr().out


def test_up_with_nothing_to_write_tells_what_plan_tells_and_exits_as_it_does(
    there: FakePlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clock that is wrong stops no run that writes nothing, and is not kept back either."""
    clock = HostProblem("w1", "its clock is 60 s behind the others", "no time server", "chronyc tracking")
    there.made = replace(EMPTY, problems=(clock,), notes=("kube-proxy's configuration differs",))
    assert cli.run(["plan"]) == 3
    capsys.readouterr()
    assert cli.run(["up", "--yes"]) == 3
    shown = capsys.readouterr().out
    assert "problem: w1: its clock is 60 s behind the others\n  why: no time server\n  try: chronyc tracking" in shown
    assert "note: kube-proxy's configuration differs" in shown
    assert "as declared" not in shown
    assert cli.run(["up", "--yes", "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert (answer["exit_code"], answer["plan"]["notes"]) == (3, ["kube-proxy's configuration differs"])
    assert [p["brief"] for p in answer["plan"]["problems"]] == [clock.brief]


def test_a_note_is_told_once_and_leaves_nothing_to_do(there: FakePlatform, capsys: pytest.CaptureFixture[str]) -> None:
    there.made = replace(EMPTY, notes=("w9 is a node",))
    assert cli.run(["up", "--yes"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("w9 is a node") == 1
    assert "Nothing to do: c is as declared." in shown
    there.made = replace(FULL, notes=("w9 is a node",))
    assert cli.run(["up", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["notes"] == ["w9 is a node"]


def test_up_writes_nothing_while_preflight_refuses(there: FakePlatform, capsys: pytest.CaptureFixture[str]) -> None:
    there.findings = (Finding("m1", "refuse", "1 CPU, a master needs 2"),)
    assert cli.run(["up", "--yes"]) == 1
    assert there.agreed == []
    assert "preflight refuses m1" in capsys.readouterr().err
    assert cli.run(["up", "--yes", "--json"]) == 1
    assert "1 CPU, a master needs 2" in json.loads(capsys.readouterr().out)["error"]["details"]


def test_a_saved_plan_is_applied_unasked_while_the_world_is_the_same(
    there: FakePlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    saved = tmp_path / "plan.json"
    assert cli.run(["plan", "--out", str(saved)]) == 2
    assert saved.stat().st_mode & 0o777 == 0o600
    assert cli.run(["up", str(saved)]) == 0
    assert there.agreed == [FULL]


def test_a_saved_plan_is_refused_when_the_world_has_moved(
    there: FakePlatform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "plan.json"
    cli.run(["plan", "--out", str(saved)])
    there.made = EMPTY
    assert cli.run(["up", str(saved), "--yes"]) == 1
    assert "no longer fits" in capsys.readouterr().err
    saved.write_text("{}")
    assert cli.run(["up", str(saved), "--yes"]) == 5
    assert there.agreed == []


def test_a_failure_is_told_with_its_remedy_and_where_the_log_is(
    there: FakePlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    there.results = (
        StepResult(STEP, Outcome.FAILED, brief="apt failed", details="E: no space", remedy="make room"),
        StepResult(StepId("runtime", "m1"), Outcome.BLOCKED, brief="hosts on m1: failed"),
        StepResult(StepId("hosts", "w1"), Outcome.CHANGED, ("file:/etc/a",)),
    )
    assert cli.run(["up", "--yes"]) == 3
    shown = capsys.readouterr()
    assert "failed: hosts on m1: apt failed\n    E: no space\n  try: make room" in shown.out
    assert "not done: runtime blocked: hosts on m1: failed (m1)" in shown.out
    assert "Changed 1 thing on 1 host." in shown.out
    assert "full log: runs/run-1" in shown.err


def test_a_host_that_does_not_answer_is_told_once_whatever_was_wanted_there(
    there: FakePlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    there.results = tuple(
        StepResult(StepId(phase, "m1"), Outcome.UNREACHABLE, brief="no answer", remedy="power it on")
        for phase in ("hosts", "runtime", "record")
    )
    assert cli.run(["up", "--yes"]) == 4
    shown = capsys.readouterr().out
    assert "unreachable: m1: no answer\n  try: power it on\n" in shown
    assert shown.count("no answer") == 1


def test_up_in_json_is_one_object_with_the_documented_shape(
    there: FakePlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["up", "--yes", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"run", "exit_code", "plan", "results", "status", "smoke"}
    assert answer["results"] == [
        {"phase": "hosts", "host": "m1", "outcome": "changed", "changed": ["file:/etc/a"], "seconds": 0.0}
    ]


def test_plan_in_json_is_one_object_with_the_documented_shape(
    there: FakePlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["plan", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"format", "tool", "cluster", "digest", "empty", "steps", "problems", "notes"}
    assert answer["digest"] == FULL.digest()
    (change,) = answer["steps"][0]["changes"]
    assert set(change) == {"resource", "title", "kind", "reason", "diff", "disruptive", "handlers"}


def test_a_parts_status_in_json_has_the_documented_shape(
    there: FakePlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["lb", "status", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {
        *("cluster", "endpoint", "endpoint_address", "versions", "nodes", "lb", "etcd", "orphans"),
        *("kubeconfig", "stats_user", "stats_password_in", "grafana_url", "prometheus_url", "problems", "notes"),
    }


@pytest.mark.parametrize(
    ("line", "phases"),
    [
        (["lb", "apply"], {"lb"}),
        (["masters", "apply"], {"masters", "control-plane"}),
        (["workers", "apply"], {"workers"}),
        (["network", "apply"], {"network"}),
        (["hosts", "apply"], {"hosts", "runtime"}),
        (["up"], None),
    ],
)
def test_a_groups_apply_means_its_phases(there: FakePlatform, line: list[str], phases: set[str] | None) -> None:
    names = {p.NAME for p in (control_plane, hosts, lb, network, runtime, workers)} | {control_plane.MASTERS}
    assert (phases or set()) <= names
    assert cli.run([*line, "--yes", "--limit", "m1", "-c", "x.yaml"]) == 0
    assert there.asked == [Asked(Path("x.yaml"), limit=("m1",), phases=frozenset(phases) if phases else None)]


def test_who_asks_nothing_agrees_to_what_the_locked_hosts_show(there: FakePlatform) -> None:
    """A killed run's batch may still end between the look and the lock (seen in the lab): not a reason to refuse."""
    assert cli.run(["up", "--yes"]) == 0
    assert there.agreed == [None]


def test_up_that_changed_something_ends_with_a_smoke_test(
    there: FakePlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["up", "--yes", "--json"]) == 0
    assert there.smoked == 1
    assert json.loads(capsys.readouterr().out)["smoke"]["ok"] is True


def test_up_without_a_change_with_no_smoke_or_of_a_part_is_not_tried_out(there: FakePlatform) -> None:
    assert cli.run(["up", "--yes", "--no-smoke"]) == 0
    assert cli.run(["workers", "apply", "--yes"]) == 0
    there.made = EMPTY
    assert cli.run(["up"]) == 0
    assert there.smoked == 0


def test_up_that_failed_is_not_tried_out(there: FakePlatform) -> None:
    there.results = (StepResult(STEP, Outcome.FAILED, brief="no"),)
    assert cli.run(["up", "--yes"]) != 0
    assert there.smoked == 0


def test_a_smoke_test_that_fails_or_cannot_be_begun_is_exit_2(
    there: FakePlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    there.smoke = Smoke("ns", (Check("dns", "DNS", Result.FAILED, remedy="look there"),), 1.0)
    assert cli.run(["up", "--yes"]) == 2
    assert "look there" in capsys.readouterr().out
    there.smoke = InfraError("could not be begun")
    assert cli.run(["up", "--yes", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert (said["exit_code"], said["smoke"]["error"]["brief"]) == (2, "could not be begun")

"""`doctor`, `explain`, `status`, `logs` and `events` on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlops_infra.app import doctor as use
from mlops_infra.app import picture as picture_module
from mlops_infra.app import platform as platform_module
from mlops_infra.app.doctor_fix import Repairs
from mlops_infra.app.metallb_state import MetallbState
from mlops_infra.app.picture import Picture
from mlops_infra.app.status import Status
from mlops_infra.cli import main as cli
from mlops_infra.core import Change, Kind, Outcome, Plan, PlannedStep, Shell, StepId, StepResult
from mlops_infra.core.secret import MASK
from mlops_infra.doctor.check import Finding, Severity
from mlops_infra.doctor.diagnosis import Diagnosed, Diagnosis
from mlops_infra.engine.result import RunResult
from mlops_infra.errors import InfraError
from mlops_infra.model.site import Site

BEGIN_KEY = "-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----"
SICK = Diagnosed("cri.up", Severity.ERROR, "m2", Finding("containerd is stopped", BEGIN_KEY, "why", "do it"))
START = Change("unit:x", "unit x", Kind.UPDATE, "not running", (Shell("unit x", "systemctl start x"),))
ADVICE = Diagnosed("backup.none", Severity.WARNING, "", Finding("there is no backup yet"))


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    asked: list[Any] = []
    platform = SimpleNamespace(shown=(), context=SimpleNamespace(site=Site(tmp_path / "cluster.yaml")))

    @contextmanager
    def open_platform(what: Any, **_: Any) -> Iterator[object]:
        asked.append(what)
        yield platform

    monkeypatch.setattr(platform_module, "open_platform", open_platform)
    return asked


def found(monkeypatch: pytest.MonkeyPatch, diagnosis: Diagnosis) -> list[Any]:
    wanted: list[Any] = []

    def examine(_: object, only: Any) -> Diagnosis:
        wanted.append(only)
        return diagnosis

    monkeypatch.setattr(use, "examine", examine)
    return wanted


@pytest.mark.parametrize(
    ("diagnosis", "code"),
    [
        (Diagnosis((), hosts=2), 0),
        (Diagnosis((), (ADVICE,), hosts=2), 0),
        (Diagnosis((SICK,), hosts=2), 2),
        (Diagnosis((SICK,), hosts=2, unreachable=("a",)), 3),
        (Diagnosis((), hosts=2, unreachable=("a", "b")), 4),
    ],
)
def test_the_exit_code_is_the_diagnosis(monkeypatch: pytest.MonkeyPatch, diagnosis: Diagnosis, code: int) -> None:
    found(monkeypatch, diagnosis)
    assert cli.run(["doctor"]) == code


def test_json_has_findings_first_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(monkeypatch, Diagnosis((SICK,), (ADVICE,), hosts=2))
    assert cli.run(["doctor", "--json"]) == 2
    text = capsys.readouterr().out
    answer = json.loads(text)
    assert answer["findings"][0]["check"] == "cri.up"
    assert answer["findings"][0]["evidence"] == MASK
    assert answer["advice"][0]["brief"] == "there is no backup yet"
    assert "EC PRIVATE" not in text


def test_only_and_limit_reach_the_examination(monkeypatch: pytest.MonkeyPatch, opened: list[Any]) -> None:
    wanted = found(monkeypatch, Diagnosis((), hosts=1))
    assert cli.run(["doctor", "--only", "etcd", "--limit", "m1"]) == 0
    assert all(i.startswith("etcd.") for i in wanted[0])
    assert opened[0].limit == ("m1",)


def test_only_of_what_is_not_there_is_wrong_usage(opened: list[Any]) -> None:
    assert cli.run(["doctor", "--only", "moon"]) == 64
    assert opened == []


def test_since_last_tells_what_is_new_once_and_its_exit_code_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(monkeypatch, Diagnosis((SICK,), hosts=2))
    assert cli.run(["doctor", "--since-last"]) == 2
    assert "containerd is stopped" in capsys.readouterr().out
    assert cli.run(["doctor", "--since-last"]) == 0
    assert "nothing new since" in capsys.readouterr().out
    assert cli.run(["doctor"]) == 2, "a look of its own tells everything"
    assert "containerd is stopped" in capsys.readouterr().out
    assert cli.run(["doctor", "--since-last", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["findings"], answer["known"], answer["exit_code"]) == ([], 1, 0)
    assert answer["last"]


def test_a_look_at_a_part_is_compared_and_not_remembered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(monkeypatch, Diagnosis((SICK,), hosts=2))
    for _ in range(2):
        assert cli.run(["doctor", "--since-last", "--only", "cri"]) == 2
    assert cli.run(["doctor", "--limit", "m2"]) == 2
    found(monkeypatch, Diagnosis((), hosts=2))
    assert cli.run(["doctor", "--since-last"]) == 0
    assert "no earlier look is remembered" in capsys.readouterr().out


def test_hosts_that_are_silent_keep_their_exit_code_though_nothing_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, Diagnosis((SICK,), hosts=2, unreachable=("a",)))
    assert [cli.run(["doctor", "--since-last"]) for _ in range(2)] == [3, 3]


def test_watching_looks_again_and_goes_on_over_a_look_that_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([Diagnosis((), hosts=2), InfraError("cluster.yaml is being edited"), Diagnosis((SICK,), hosts=2)])
    waits: list[float] = []

    def examine(_: object, only: Any) -> Diagnosis:
        one = next(looks, None)
        if one is None:
            raise KeyboardInterrupt
        if isinstance(one, InfraError):
            raise one
        return one

    monkeypatch.setattr(use, "examine", examine)
    monkeypatch.setattr("mlops_infra.cli.doctor.time.sleep", waits.append)
    assert cli.run(["doctor", "--watch", "--interval", "7"]) == 130
    shown = capsys.readouterr().out
    assert shown.index("healthy") < shown.index("being edited") < shown.index("came  m2: containerd is stopped")
    assert waits == [7.0] * 3


def test_watching_goes_without_what_is_told_once() -> None:
    assert cli.run(["doctor", "--watch", "--since-last"]) == 64
    assert cli.run(["doctor", "--fix", "--watch"]) == 64


def test_in_the_lab_the_doctor_joins_the_labs_network(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[bool] = []
    monkeypatch.setattr("mlops_infra.lab.enter.enter_lab_network", lambda: entered.append(True))
    found(monkeypatch, Diagnosis((), hosts=2))
    assert cli.run(["--lab", "doctor"]) == 0
    assert entered == [True]


def test_fix_shows_and_asks_and_mends_and_looks_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([Diagnosis((SICK,), hosts=2), Diagnosis((), hosts=2)])
    monkeypatch.setattr(use, "examine", lambda _, only: next(looks))
    plan = Plan("c", (PlannedStep(StepId("repair", "m2"), (START,)),))
    repairs = Repairs((), (SICK,), (ADVICE,))
    monkeypatch.setattr("mlops_infra.app.doctor_fix.planned", lambda platform, found: (repairs, plan))
    agreed: list[Any] = []

    def mend(platform: object, expected: Any) -> RunResult:
        agreed.append(expected)
        return RunResult("r", plan, (StepResult(StepId("repair", "m2"), Outcome.CHANGED, ("unit:x",)),), Path())

    monkeypatch.setattr("mlops_infra.app.doctor_fix.mend", mend)
    assert cli.run(["doctor", "--fix"]) == 64, "there is no terminal to ask on"
    assert agreed == []
    assert "unit x" in capsys.readouterr().out
    looks = iter([Diagnosis((SICK,), hosts=2), Diagnosis((), hosts=2)])
    assert cli.run(["doctor", "--fix", "--yes"]) == 0
    said = capsys.readouterr().out
    assert said.index("to mend: m2: containerd is stopped") < said.index("unit x") < said.index("healthy")
    assert "left to you: there is no backup yet" in said
    assert agreed == [None]


def test_fix_of_what_nobody_can_mend_changes_nothing_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(monkeypatch, Diagnosis((SICK,), hosts=2))
    monkeypatch.setattr("mlops_infra.app.doctor_fix.planned", lambda platform, _: (Repairs((), (), (SICK,)), None))
    assert cli.run(["doctor", "--fix", "--yes", "--json"]) == 2
    captured = capsys.readouterr()
    assert "without a person" in captured.err
    assert json.loads(captured.out)["repaired"] is None


def test_explain_lists_and_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain"]) == 0
    assert "etcd.quorum" in capsys.readouterr().out
    assert cli.run(["explain", "etcd.quorum", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["title"].endswith("?")
    assert cli.run(["explain", "etcd.moon"]) == 64


@pytest.mark.parametrize(("unreachable", "code"), [((), 0), (("a",), 3), (("a", "b"), 4)])
def test_status_tells_silent_hosts_by_its_code_and_leaves_findings_to_the_doctor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unreachable: tuple[str, ...], code: int
) -> None:
    status = Status("c", "api.c.internal:6443", "10.0.0.20", {}, (), (), ())
    diagnosis = Diagnosis((SICK,), hosts=2, unreachable=unreachable)
    made = Picture(datetime.now(UTC), status, diagnosis, (), MetallbState(known=False, speakers={}))
    monkeypatch.setattr(picture_module, "picture_of", lambda platform: made)
    assert cli.run(["status"]) == code
    assert "error m2: containerd is stopped" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line", [["status", "--watch", "--json"], ["doctor", "-w", "--json"], ["logs", "etcd", "-f", "--json"]]
)
def test_what_never_ends_has_no_json(line: list[str]) -> None:
    assert cli.run(line) == 64


@pytest.mark.parametrize("line", [["logs", "../x"], ["logs", "etcd", "--since", "soon"]])
def test_wrong_words_are_wrong_usage(line: list[str]) -> None:
    assert cli.run(line) == 64

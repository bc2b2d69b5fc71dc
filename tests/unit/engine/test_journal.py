"""What a run leaves behind on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_infra.core import (
    Change,
    Facts,
    HostProblem,
    Kind,
    Outcome,
    Plan,
    PlannedOperation,
    PlannedStep,
    PutFile,
    ReadText,
    Shell,
    StepId,
    StepResult,
)
from mlops_infra.engine.journal import Journal, change_digest, new_run_id, prune
from mlops_infra.engine.manifest import manifest_change, read_manifest
from mlops_infra.engine.plan_json import load_saved_plan, plan_to_dict, plan_to_json
from mlops_infra.engine.result import exit_code_of
from mlops_infra.errors import ConfigError, ExitCode


def change(content: bytes, *, sensitive: bool = False, resource: str = "file:/a") -> Change:
    actions = (PutFile("/a", content, sensitive=sensitive), Shell("s", "true", stdin=b"hunter2"))
    return Change(resource, "/a", Kind.UPDATE, "content differs", actions, diff="-a\n+b")


def test_a_journal_is_private_and_one_object_a_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "runs", new_run_id())
    journal.record("run_started", cluster="demo")
    journal.batch_sent("a", "r-1", [change(b"top secret")])
    journal.output("a", "hello")
    journal.close()
    journal.record("too late")
    assert journal.directory.stat().st_mode & 0o777 == 0o700
    assert (journal.directory / "journal.jsonl").stat().st_mode & 0o777 == 0o600
    said = [json.loads(line) for line in (journal.directory / "journal.jsonl").read_text().splitlines()]
    assert [s["what"] for s in said] == ["run_started", "batch_sent"]
    assert said[1]["resources"][0][0] == "file:/a"
    assert (journal.directory / "output.log").read_text().endswith("a: hello\n")


def test_digests_tell_contents_apart_but_say_nothing_about_sensitive_ones() -> None:
    assert change_digest(change(b"1")) != change_digest(change(b"2"))
    assert change_digest(change(b"1", sensitive=True)) == change_digest(change(b"2", sensitive=True))
    assert change_digest(change(b"1")) != change_digest(change(b"1", resource="file:/b"))


def test_only_the_newest_runs_are_kept(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"2026010{number}T000000Z-0").mkdir()
    prune(tmp_path, keep=3)
    assert sorted(p.name[:8] for p in tmp_path.iterdir()) == ["20260104", "20260105", "20260106"]
    prune(tmp_path / "missing")


def plan() -> Plan:
    step = PlannedStep(StepId("p", "a"), (change(b"1"),), (PlannedOperation("join", "join it", "not joined"),))
    return Plan("demo", (step,), (HostProblem("b", "refused", unreachable=True),), ("a note",))


def test_a_plan_as_json_keeps_its_shape_and_holds_no_content(tmp_path: Path) -> None:
    said = plan_to_dict(plan())
    assert list(said) == ["format", "tool", "cluster", "digest", "empty", "steps", "problems", "notes"]
    assert list(said["steps"][0]) == ["phase", "host", "changes", "operations"]
    assert said["steps"][0]["changes"][0]["diff"] == "-a\n+b"
    assert "hunter2" not in plan_to_json(plan())
    path = tmp_path / "plan.json"
    path.write_text(plan_to_json(plan()))
    assert load_saved_plan(path).digest == plan().digest()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1}'])
def test_what_is_no_plan_is_refused_with_a_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_saved_plan(path)
    assert "plan --out" in caught.value.remedy
    with pytest.raises(ConfigError, match="no such plan"):
        load_saved_plan(tmp_path / "none")


def test_a_manifest_remembers_what_was_ours_before() -> None:
    first = manifest_change(Facts(), ["file:/a"], run_id="r1", cluster="demo")
    (put,) = first.actions
    assert isinstance(put, PutFile) and put.mode == 0o600
    facts = Facts({ReadText(put.path): put.content.decode()})
    second = manifest_change(facts, ["file:/b"], run_id="r2", cluster="demo")
    (put,) = second.actions
    assert isinstance(put, PutFile)
    after = read_manifest(Facts({ReadText(put.path): put.content.decode()}))
    assert after is not None and after.owned == {"file:/a", "file:/b"} and after.last_run == "r2"


@pytest.mark.parametrize("text", ["", "[1]", '{"owned": 3}', "{"])
def test_a_manifest_of_somebody_else_is_none(text: str) -> None:
    assert read_manifest(Facts({ReadText("/var/lib/mlops-infra/manifest.json"): text})) is None


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ({"a": Outcome.CHANGED, "b": Outcome.OK}, ExitCode.DONE),
        ({"a": Outcome.FAILED, "b": Outcome.OK}, ExitCode.PARTLY),
        ({"a": Outcome.FAILED, "b": Outcome.BLOCKED}, ExitCode.FAILED),
        ({"a": Outcome.UNREACHABLE, "b": Outcome.UNREACHABLE}, ExitCode.UNREACHABLE),
        ({"a": Outcome.UNREACHABLE, "b": Outcome.OK}, ExitCode.PARTLY),
        ({}, ExitCode.DONE),
    ],
)
def test_exit_codes(ends: dict[str, Outcome], code: ExitCode) -> None:
    results = [StepResult(StepId("p", host), outcome) for host, outcome in ends.items()]
    assert exit_code_of(results) is code
    assert exit_code_of(results, interrupted=True) is ExitCode.INTERRUPTED

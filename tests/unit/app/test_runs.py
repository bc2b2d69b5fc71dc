"""Earlier runs, from their journals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_infra.app.runs import list_runs, read_run
from mlops_infra.errors import UsageError


def run(runs: Path, run_id: str, *records: dict[str, object], torn: str = "") -> None:
    (runs / run_id).mkdir(parents=True)
    text = "".join(json.dumps(r) + "\n" for r in records)
    (runs / run_id / "journal.jsonl").write_text(text + torn)


def test_there_may_be_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "runs") == ()


def test_runs_are_listed_newest_first_with_their_ends(tmp_path: Path) -> None:
    started = {"what": "run_started"}
    run(tmp_path, "20260101T000000Z-aa", started, {"what": "run_ended", "exit_code": 0})
    run(tmp_path, "20260102T000000Z-bb", started, {"what": "run_ended", "exit_code": 3})
    run(tmp_path, "20260103T000000Z-cc", started, {"what": "run_ended", "error": "Another run is at work"})
    run(tmp_path, "20260104T000000Z-dd", started, {"what": "run_ended", "exit_code": 130})
    assert [(r.id[-2:], r.outcome) for r in list_runs(tmp_path)] == [
        ("dd", "interrupted"),
        ("cc", "refused: Another run is at work"),
        ("bb", "done on some hosts"),
        ("aa", "done"),
    ]
    assert list_runs(tmp_path)[0].started == "2026-01-04 00:00:00"


def test_a_journal_that_breaks_off_says_so_and_keeps_what_is_whole(tmp_path: Path) -> None:
    run(tmp_path, "20260101T000000Z-aa", {"what": "run_started"}, torn='{"what": "batch_se')
    (found,) = list_runs(tmp_path)
    assert found.outcome == "did not end"
    assert [r["what"] for r in found.records] == ["run_started"]


def test_a_run_is_found_by_its_beginning_and_the_newest_by_its_name(tmp_path: Path) -> None:
    for name in ("20260101T000000Z-aa", "20260102T000000Z-bb", "20260102T000000Z-bbb"):
        run(tmp_path, name)
    assert read_run(tmp_path, "20260101").id == "20260101T000000Z-aa"
    assert read_run(tmp_path, "20260102T000000Z-bb").id == "20260102T000000Z-bb"
    assert read_run(tmp_path, "last").id == "20260102T000000Z-bbb"


@pytest.mark.parametrize("wanted", ["2026", "1999", "last"])
def test_an_id_that_fits_none_or_several_is_wrong_usage(tmp_path: Path, wanted: str) -> None:
    if wanted != "last":
        run(tmp_path, "20260101T000000Z-aa")
        run(tmp_path, "20260102T000000Z-bb")
    with pytest.raises(UsageError, match="run"):
        read_run(tmp_path, wanted)

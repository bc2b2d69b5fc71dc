"""The page of faults says of each what the run said, and hides no failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fault_record import FaultRecord
from faults import page


def line(
    *faults: str, correct: bool = True, mended: float | None = 7.2, load: float = 3.0, **more: Any
) -> dict[str, Any]:
    first = [("cri.up", "worker-1", "containerd is stopped")]
    return {
        "faults": list(faults), "first": first, "correct": correct, "findings": 1, "folded": 4, "run": 4.26,
        "told": 5.0, "mended": mended, "taken_back": [], "at": "2026-11-23 10:00", "load": load, **more,
    }  # fmt: skip


def test_a_row_has_the_finding_with_its_page_and_the_times() -> None:
    assert (
        "| containerd stopped | [cri.up](checks/cri.up.md) worker-1: containerd is stopped | yes | 4.3 | 5 | 7 | 4, 0 |"
    ) in page([line("containerd stopped")], "a machine", "")


def test_what_went_wrong_is_counted_and_told() -> None:
    text = page([line("a"), line("b", correct=False, mended=None)], "a machine", "")
    assert "2 in all; the cause told first: 1. Healthy again: 1, of these 1 by what was printed and 0 after" in text
    assert "| **no** | 4.3 | 5 | **not** |" in text


def test_what_the_test_had_to_undo_itself_is_not_counted_as_mended_by_the_remedy() -> None:
    text = page([line("a"), line("a power cut", taken_back=["a power cut"])], "a machine", "")
    assert "Healthy again: 2, of these 1 by what was printed and 1 after the test had taken a fault back" in text
    assert "| 7 * |" in text


def test_the_newest_run_of_a_fault_counts_and_pairs_stand_apart() -> None:
    text = page([line("a", correct=False), line("a"), line("a", "b")], "a machine", "")
    assert "**no**" not in text
    assert text.index("| a |") < text.index("## Two at once") < text.index("| a<br>b |")


def test_the_machine_the_load_and_what_else_it_did_are_said() -> None:
    text = page([line("a", load=1.5), line("b", load=20.0)], "2 × a CPU", "another lab was up")
    assert "2 × a CPU; 2026-11-23; load averages 1.5 to 20; another lab was up." in text


def test_a_record_is_kept_as_a_line_where_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = FaultRecord(["a"])
    record.looked([{"check": "cri.up", "host": "w1", "brief": "stopped", "follows": [{}, {}]}, {}], 1.0, correct=True)
    record.healthy()
    monkeypatch.delenv("MLOPS_INFRA_FAULTS", raising=False)
    record.keep()
    monkeypatch.setenv("MLOPS_INFRA_FAULTS", str(tmp_path / "lines"))
    record.keep()
    (kept,) = (tmp_path / "lines").read_text().splitlines()
    assert '"first": [["cri.up", "w1", "stopped"]]' in kept
    assert '"findings": 2, "folded": 2' in kept

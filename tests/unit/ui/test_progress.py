"""Live progress, as rows and as plain lines."""

from __future__ import annotations

import io

from mlops_infra.core import Event, EventKind, Outcome, Phase, Step, StepId
from mlops_infra.ui.console import Style
from mlops_infra.ui.progress import ROWS, Board, Progress

PLAIN = Style()


def phase(name: str, hosts: int) -> Phase:
    return Phase(name, name.title(), tuple(Step(name, f"h{i}") for i in range(hosts)))


def started(name: str, host: str, at: float = 0.0) -> Event:
    return Event(at, EventKind.STEP_STARTED, host, StepId(name, host))


def ended(name: str, host: str, outcome: Outcome = Outcome.OK, text: str = "") -> Event:
    return Event(0.0, EventKind.STEP_ENDED, host, StepId(name, host), text, outcome)


def test_a_phase_is_one_row_that_counts_its_hosts() -> None:
    board = Board.of([phase("runtime", 3)])
    board.take(started("runtime", "h0"))
    board.take(ended("runtime", "h0"))
    board.take(started("runtime", "h1"))
    assert board.rows(0, PLAIN)[0].split() == ["▸", "Runtime", "1/3,", "1", "running"]


def test_two_hundred_running_and_failing_hosts_stay_within_twenty_rows() -> None:
    board = Board.of([phase(f"phase{i}", 200) for i in range(9)])
    for i in range(200):
        board.take(started("phase1", f"h{i}", at=i))
        board.take(ended("phase2", f"h{i}", Outcome.FAILED, "no space"))
    rows = board.rows(1000, PLAIN)
    assert len(rows) <= ROWS
    assert any("no space" in row for row in rows)
    assert any("1000 s  phase1 h0" in row for row in rows), "the slowest host is named first"


def test_more_phases_than_rows_leave_room_for_what_went_wrong() -> None:
    board = Board.of([phase(f"phase{i}", 1) for i in range(40)])
    board.take(Event(0, EventKind.HOST_FAILED, "h0", text="gone"))
    rows = board.rows(0, PLAIN)
    assert len(rows) <= ROWS
    assert any("h0: gone" in row for row in rows)


def test_off_a_terminal_there_are_plain_lines_without_colours() -> None:
    out = io.StringIO()
    with Progress([phase("runtime", 2)], out) as progress:
        progress(started("runtime", "h0"))
        progress(ended("runtime", "h0", Outcome.CHANGED, "3 changes"))
        progress(ended("runtime", "h1", Outcome.FAILED, "apt failed"))
    lines = [line[9:] for line in out.getvalue().splitlines()]
    assert lines == ["runtime h0: changed (3 changes)", "runtime h1: failed (apt failed)"]


def test_a_secret_that_slipped_into_an_event_is_masked() -> None:
    out = io.StringIO()
    with Progress([], out) as progress:
        progress(Event(0, EventKind.NOTE, "m1", text="token abcdef.0123456789abcdef"))
    assert "0123456789abcdef" not in out.getvalue()
    assert "********" in out.getvalue()

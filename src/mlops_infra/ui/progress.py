"""Live progress: a line per phase, what failed, who is slow. Plain lines where there is no terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from mlops_infra.core import API, Event, EventKind, Outcome, Phase, StepId
from mlops_infra.ui.console import Style, is_terminal, style_for
from mlops_infra.ui.redact import redact

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FRAMES_PER_SECOND", "ROWS", "Board", "Progress"]

FRAMES_PER_SECOND = 4
ROWS = 20
_SLOWEST = 5
_BAD = (Outcome.FAILED, Outcome.UNREACHABLE, Outcome.IN_DOUBT)


@dataclass(slots=True)
class _PhaseState:
    title: str
    total: int
    ended: int = 0
    changed: int = 0
    bad: int = 0


@dataclass(slots=True)
class Board:
    """What has happened so far, and how it is shown in at most `ROWS` rows. Knows no terminal and no clock."""

    phases: dict[str, _PhaseState] = field(default_factory=dict)
    running: dict[StepId, tuple[float, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, phases: Sequence[Phase]) -> Board:
        return cls({phase.name: _PhaseState(phase.title, len(phase.steps)) for phase in phases if phase.steps})

    def take(self, event: Event) -> None:
        """Takes one event in."""
        if event.kind is EventKind.STEP_STARTED and event.step:
            self.running[event.step] = (event.at, "")
        elif event.kind in (EventKind.ACTION, EventKind.OPERATION_STARTED) and event.step:
            since = self.running.get(event.step, (event.at, ""))[0]
            self.running[event.step] = (since, event.text)
        elif event.kind is EventKind.STEP_ENDED and event.step:
            self._end(event, event.step)
        elif event.kind is EventKind.HOST_FAILED:
            self.failures.append(f"{event.host}: {event.text}")

    def _end(self, event: Event, step: StepId) -> None:
        self.running.pop(step, None)
        state = self.phases.setdefault(step.phase, _PhaseState(step.phase, 1))
        state.ended += 1
        state.changed += event.outcome is Outcome.CHANGED
        if event.outcome in _BAD:
            state.bad += 1
            self.failures.append(f"{where(step)}: {event.text or event.outcome}")

    def rows(self, now: float, style: Style, limit: int = ROWS) -> list[str]:
        """Phases first, then failures, then the longest-running steps, cut to `limit` rows."""
        room = max(limit - len(self.phases), 4)
        rows = [self._phase_row(name, state, style) for name, state in self.phases.items()][: limit - 4]
        slow = sorted(self.running.items(), key=lambda item: item[1][0])[: min(_SLOWEST, room)]
        failures = self.failures[-(room - len(slow)) :] if room > len(slow) else []
        rows += [style.bad(f"  ✗ {failure}") for failure in failures]
        for step, (since, text) in slow:
            rows.append(style.dim(f"  … {now - since:4.0f} s  {where(step)}  {text}".rstrip()))
        return rows[:limit]

    def _phase_row(self, name: str, state: _PhaseState, style: Style) -> str:
        running = sum(1 for step in self.running if step.phase == name)
        total = max(state.total, state.ended)
        if state.bad:
            sign = style.bad("✗")
        elif state.ended >= total:
            sign = style.good("✓")
        else:
            sign = style.note("▸") if running else style.dim("·")
        busy = f", {running} running" if running else ""
        failed = style.bad(f", {state.bad} failed") if state.bad else ""
        return f"{sign} {state.title:<44.44} {state.ended:>3}/{total}{busy}{failed}"


class Progress:
    """Shows events as they come, from any thread; use as a context manager around the run.

    On a terminal a board is redrawn at most four times a second; elsewhere each end of a step is a line.
    """

    def __init__(
        self, phases: Sequence[Phase], stream: TextIO, *, verbose: int = 0, clock: Callable[[], float] = time.time
    ) -> None:
        self._board = Board.of(phases)
        self._stream = stream
        self._style = style_for(stream)
        self._verbose = verbose
        self._clock = clock
        self._lock = threading.Lock()
        self._live: Any = None

    def __enter__(self) -> Progress:
        if is_terminal(self._stream):
            from rich.console import Console  # noqa: PLC0415
            from rich.live import Live  # noqa: PLC0415

            console = Console(file=self._stream, highlight=False)
            self._live = Live(
                get_renderable=self._frame, console=console, refresh_per_second=FRAMES_PER_SECOND, transient=False
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._board.take(event)
            if self._live is None:
                line = self._line(event)
                if line:
                    self._stream.write(redact(line) + "\n")
                    self._stream.flush()

    def _frame(self) -> Any:
        from rich.text import Text  # noqa: PLC0415

        with self._lock:
            rows = self._board.rows(self._clock(), self._style)
        return Text.from_ansi(redact("\n".join(rows)), no_wrap=True, overflow="ellipsis")

    def _line(self, event: Event) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(event.at))
        subject = where(event.step) if event.step else event.host
        if event.kind is EventKind.STEP_ENDED and event.outcome is not Outcome.OK:
            return f"{clock} {subject}: {event.outcome}{f' ({event.text})' if event.text else ''}"
        if event.kind is EventKind.OPERATION_STARTED:
            return f"{clock} {subject}: {event.text} …"
        if event.kind is EventKind.HOST_FAILED:
            return f"{clock} {subject}: failed: {event.text}"
        if event.kind is EventKind.NOTE or self._verbose > (event.kind is EventKind.ACTION):
            return f"{clock} {subject}: {event.kind} {event.text}".rstrip()
        return ""


def where(step: StepId) -> str:
    """`phase host`, as people say it."""
    return f"{step.phase} {'in the API' if step.host == API else step.host}"

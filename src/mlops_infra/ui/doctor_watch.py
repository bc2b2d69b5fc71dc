"""`doctor --watch`: the findings of now, and what came and went since it began."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from mlops_infra.app.doctor_since import News
from mlops_infra.doctor.diagnosis import Diagnosis
from mlops_infra.ui.console import Style
from mlops_infra.ui.doctor import diagnosis_text

__all__ = ["Told", "watched_text"]

_KEPT = 8


class Told:
    """The latest comings and goings, newest first."""

    def __init__(self) -> None:
        self._lines: deque[tuple[datetime, bool, str]] = deque(maxlen=_KEPT)

    def learn(self, news: News) -> None:
        """The first look is where it begins: nothing of it came or went."""
        if news.last is None:
            return
        for gone in news.gone:
            self._lines.appendleft((news.now.at, False, _named(gone.host, gone.brief, gone.check)))
        for new in news.new:
            self._lines.appendleft((news.now.at, True, _named(new.host, new.finding.brief, new.check)))

    def lines(self, style: Style) -> list[str]:
        return [
            f"  {at:%H:%M:%S} {style.bad('came') if came else style.good('went')}  {text}"
            for at, came, text in self._lines
        ]


def watched_text(
    found: Diagnosis, told: Told, style: Style, interval: float, at: datetime, *, all_lines: bool = False
) -> str:
    """Below a line that says of when it is, and how it ends."""
    head = f"{at:%Y-%m-%d %H:%M:%S} UTC, every {interval:g} s, Ctrl-C ends"
    events = told.lines(style)
    lines = [style.dim(head), diagnosis_text(found, style, all_lines=all_lines)]
    return "\n".join([*lines, *(["", style.dim("since it began:"), *events] if events else [])])


def _named(host: str, brief: str, check: str) -> str:
    return f"{host + ': ' if host else ''}{brief} ({check})"

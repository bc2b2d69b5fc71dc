"""Lines of logs and events, for a person."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from mlops_infra.app.events import Folded
from mlops_infra.app.logs import Line
from mlops_infra.ui.console import Style

__all__ = ["events_text", "line_text"]

_OBJECTS = 3


def line_text(line: Line, style: Style) -> str:
    at = f"{line.at:%m-%d %H:%M:%S}" if line.at else " " * 14
    return f"{style.dim(at)} {style.note(line.host)} {style.dim(line.source)} {line.text}"


def events_text(found: Iterable[Folded], now: datetime | None, style: Style) -> str:
    """A line a cause: how long ago, how often, what, to whom; the message below.

    Without `now`, when (UTC): lines that stay on the screen must not say "a minute ago".
    """
    lines = []
    for one in found:
        shown = ", ".join(one.objects[:_OBJECTS])
        rest = len(one.objects) - _OBJECTS
        where = f"{shown} and {rest} more" if rest > 0 else shown
        mark = style.warn if one.warning else style.strong
        times = f" ×{one.count}" if one.count > 1 else ""
        when = _ago(one.last, now) if now else f"{one.last:%H:%M:%S}"
        lines.append(f"{when:>8}  {mark(one.reason)}{times}  {where}")
        lines += [style.dim(f"          {text}") for text in one.message.splitlines()[:3]]
    return "\n".join(lines) or "No events."


def _ago(at: datetime, now: datetime) -> str:
    seconds = max(0, int((now - at).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"

"""A screen that is shown again and again (`--watch`): drawn over itself, cut to the terminal, and left as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from mlops_infra.ui.console import is_terminal

__all__ = ["Screen"]

_ENTER = "\033[?1049h\033[?25l\033[?7l"
"""The terminal's other screen, no cursor, and long lines cut and not folded."""
_LEAVE = "\033[?7h\033[?25h\033[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\033[H", "\033[K", "\033[J"


class Screen:
    """Use with `with`. On a terminal each picture replaces the one before; elsewhere they follow one another.

    The last picture stays to be read after the end.
    """

    def __init__(self, out: TextIO, redact: Callable[[str], str]) -> None:
        self._out = out
        self._redact = redact
        self._live = is_terminal(out)
        self._last = ""

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live and self._last:
            self._out.write(f"{_LEAVE}{self._last}\n")
            self._out.flush()

    def show(self, text: str) -> None:
        """Draws a picture. What does not fit is counted in the last line."""
        text = self._redact(text)
        if not self._live:
            self._out.write(text + "\n\n")
            self._out.flush()
            return
        lines = text.splitlines()
        height = shutil.get_terminal_size().lines
        if len(lines) > height:
            lines = [*lines[: height - 1], f"… {len(lines) - height + 1} more lines: a taller terminal shows them"]
        enter = "" if self._last else _ENTER
        # Overwritten and not cleared first: nothing flickers.
        self._out.write(enter + _HOME + "\n".join(line + _REST_OF_LINE for line in lines) + _REST_OF_SCREEN)
        self._out.flush()
        self._last = text

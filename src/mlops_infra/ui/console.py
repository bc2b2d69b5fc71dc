"""Colours, where they are wanted: a terminal, and NO_COLOR (no-color.org) not set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TextIO

__all__ = ["Style", "is_terminal", "style_for"]


@dataclass(frozen=True, slots=True)
class Style:
    """Marks text for a terminal, or leaves it alone."""

    colour: bool = False

    def _mark(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colour and text else text

    def bad(self, text: str) -> str:
        return self._mark("31", text)

    def good(self, text: str) -> str:
        return self._mark("32", text)

    def warn(self, text: str) -> str:
        return self._mark("33", text)

    def note(self, text: str) -> str:
        return self._mark("36", text)

    def strong(self, text: str) -> str:
        return self._mark("1", text)

    def dim(self, text: str) -> str:
        return self._mark("2", text)


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def style_for(stream: TextIO) -> Style:
    return Style(colour=is_terminal(stream) and not os.environ.get("NO_COLOR"))

"""Ctrl-C and SIGTERM, for as long as an engine is at work."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interruptible"]


@contextmanager
def interruptible(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `interrupt` (an engine's) for every SIGINT and SIGTERM. Only in the main thread; restores what was there."""

    def caught(number: int, frame: FrameType | None) -> None:
        del number, frame
        interrupt()

    before = {number: signal.signal(number, caught) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

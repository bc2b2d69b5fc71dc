"""How building a mirror speaks: one event a line, and one error type."""

from __future__ import annotations

import time

from mlops_infra.core import Emit, Event, EventKind
from mlops_infra.errors import InfraError

__all__ = ["MirrorError", "Say", "say_through", "silent"]


class MirrorError(InfraError):
    """The mirror could not be filled or served."""


class Say:
    """Turns a line of text into an event about the mirror."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def __call__(self, text: str) -> None:
        self._emit(Event(at=time.time(), kind=EventKind.NOTE, host="mirror", text=text))


def silent(_event: Event) -> None:
    """An `Emit` that tells nobody."""


def say_through(emit: Emit | None) -> Say:
    return Say(emit or silent)

"""What stands behind what."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["closure_of"]

T = TypeVar("T")


def closure_of(wanted: Iterable[T], needs: Callable[[T], Iterable[T]]) -> set[T]:
    """These, all that they need, what that needs, and so on."""
    todo = list(wanted)
    found = set(todo)
    while todo:
        for need in needs(todo.pop()):
            if need not in found:
                found.add(need)
                todo.append(need)
    return found

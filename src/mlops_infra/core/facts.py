"""Facts: the answers to probes. 'Not there', 'cannot be read' and 'not known' are three different answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mlops_infra.core.probe import Probe

__all__ = ["ABSENT", "UNKNOWN", "Absent", "Facts", "Unknown", "Unreadable"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Absent:
    """The host says that the thing does not exist."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """It exists, but could not be read."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not asked, or nobody to ask (no API yet, time ran out)."""

    reason: str = ""


ABSENT = Absent()
UNKNOWN = Unknown()


class Facts(Mapping[Probe[Any], Any]):
    """An immutable map from probe to answer. A probe that was not asked answers Unknown in `get_answer`."""

    __slots__ = ("_answers",)

    def __init__(self, answers: Mapping[Probe[Any], Any] | None = None) -> None:
        self._answers = dict(answers or {})

    def answer(self, probe: Probe[T]) -> T | Absent | Unreadable | Unknown:
        """The answer with its type; Unknown when the probe was never asked."""
        found: T | Absent | Unreadable | Unknown = self._answers.get(probe, UNKNOWN)
        return found

    def value(self, probe: Probe[T]) -> T | None:
        """The answer where there is one, else None (absent, unreadable and unknown alike)."""
        found = self._answers.get(probe)
        if found is None or isinstance(found, Absent | Unreadable | Unknown):
            return None
        value: T = found
        return value

    def merged(self, newer: Mapping[Probe[Any], Any]) -> Facts:
        return Facts({**self._answers, **newer})

    def __getitem__(self, probe: Probe[Any]) -> Any:
        return self._answers[probe]

    def __iter__(self) -> Iterator[Probe[Any]]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)

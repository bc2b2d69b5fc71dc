"""Events and outcomes: what a run tells the outside while it goes. `engine` emits, `ui` shows, the journal keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from mlops_infra.core.phase import StepId

__all__ = ["Emit", "Event", "EventKind", "Outcome", "StepResult"]


class Outcome(StrEnum):
    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    BLOCKED = "blocked"
    SKIPPED = "skipped"
    IN_DOUBT = "in doubt"
    CANCELLED = "cancelled"


class EventKind(StrEnum):
    CONNECTED = "connected"
    OBSERVED = "observed"
    STEP_STARTED = "step started"
    ACTION = "action"
    OPERATION_STARTED = "operation started"
    OPERATION_ENDED = "operation ended"
    STEP_ENDED = "step ended"
    HOST_FAILED = "host failed"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is seconds since the epoch; `text` is fit to be shown and holds no secret."""

    at: float
    kind: EventKind
    host: str = ""
    step: StepId | None = None
    text: str = ""
    outcome: Outcome | None = None


Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class StepResult:
    id: StepId
    outcome: Outcome
    changed: tuple[str, ...] = ()
    """Ids of the resources and operations that were changed or run."""
    brief: str = ""
    details: str = ""
    cause: str = ""
    remedy: str = ""
    seconds: float = 0.0

"""The nouns of one exchange that writes: what a batch is, what is framed in it, how it went."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from mlops_infra.core import Change, Command, Facts, Handler, Probe, PutFile, Script, Shell

__all__ = ["Batch", "BatchResult", "Frame", "Work", "batch_works", "merge_handlers"]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one exchange does: the actions of `changes`, their handlers, an operation's script, then the proof.

    `id` names the batch on the host ([A-Za-z0-9._-]); the same id sent again is answered where its operation was
    started before, never run twice. `deadline` is seconds for the operation's script. `api` is handed to
    `compile_observe` for probes of the Kubernetes API.
    """

    id: str
    nonce: str
    changes: tuple[Change, ...] = ()
    script: Script | None = None
    verify: frozenset[Probe[Any]] = frozenset()
    deadline: int = 600
    detached: bool = True
    title: str = ""
    api: Any = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", self.id):
            raise ValueError(f"not a batch id: {self.id!r}")
        if not re.fullmatch(r"[A-Za-z0-9]{4,64}", self.nonce):
            raise ValueError(f"not a nonce: {self.nonce!r}")

    @property
    def handlers(self) -> tuple[Handler, ...]:
        return merge_handlers(self.changes)

    @property
    def total_deadline(self) -> int:
        """Seconds after which the whole exchange has failed, whatever the host does."""
        works = sum(w.deadline + 10 for w in batch_works(self))
        works += sum(p.timeout for p in self.verify if isinstance(p, Command))
        return works + (self.deadline + 30 if self.script else 0) + 90


@dataclass(frozen=True, slots=True)
class Work:
    """One framed piece of a batch: an action or a handler. `resource` is a resource's or handler's id."""

    kind: Literal["action", "handler"]
    resource: str
    title: str
    action: PutFile | Shell

    @property
    def deadline(self) -> int:
        return 60 if isinstance(self.action, PutFile) else self.action.deadline


@dataclass(frozen=True, slots=True)
class Frame:
    """How one action or handler went. `output` is its tail, redacted; `rc` 124 and 137 mean that time ran out."""

    kind: Literal["action", "handler", "operation"]
    resource: str
    title: str
    outcome: Literal["ok", "fail", "skipped"]
    rc: int = 0
    output: str = ""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch did. `facts` are the answers of the verify probes; empty where something failed.

    `in_doubt` means that an operation was started and nobody can say how it ended: judge by `Operation.standing`.
    """

    frames: tuple[Frame, ...]
    facts: Facts = field(default_factory=Facts)
    operation_output: str = ""
    operation_rc: int | None = None
    in_doubt: bool = False

    @property
    def failure(self) -> Frame | None:
        """The frame that failed first."""
        return next((f for f in self.frames if f.outcome == "fail"), None)

    @property
    def ok(self) -> bool:
        return self.failure is None and not self.in_doubt


def merge_handlers(changes: Iterable[Change]) -> tuple[Handler, ...]:
    """The handlers that changes notify: once each, in ascending order; no reload of what is restarted anyway."""
    found = {handler.id: handler for change in changes for handler in change.notifies}
    for name in [i.removeprefix("restart:") for i in found if i.startswith("restart:")]:
        found.pop(f"reload:{name}", None)
    return tuple(sorted(found.values(), key=lambda h: h.order))


def batch_works(batch: Batch) -> tuple[Work, ...]:
    """Everything that is framed, in the order in which it runs: actions, an operation's files, handlers."""
    works = [Work("action", c.resource, _titled(c.title, a), a) for c in batch.changes for a in c.actions]
    files = batch.script.files if batch.script else ()
    works += [Work("action", "operation", f"file {f.path}", f) for f in files]
    works += [Work("handler", h.id, h.title or h.id, Shell(h.id, h.script, h.deadline)) for h in batch.handlers]
    return tuple(works)


def _titled(title: str, action: PutFile | Shell) -> str:
    return action.title if isinstance(action, Shell) else f"{title}: write {action.path}"

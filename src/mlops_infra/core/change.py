"""Changes: what a plan proposes for one resource, why, and the actions that bring it about."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from mlops_infra.core.facts import Facts
from mlops_infra.core.probe import Probe

__all__ = ["Action", "Change", "Handler", "Kind", "PutFile", "Resource", "Shell"]


class Kind(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    REMOVE = "remove"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class PutFile:
    """Bytes that become a file: staged beside the target with final mode and owner, checked, renamed.

    `check` is a sh command in which `{}` is the staged file (e.g. `haproxy -c -q -f {}`); where it fails nothing is
    renamed. Missing parent directories are made 0755 root. `sensitive` content never reaches a diff or a log.
    """

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    sensitive: bool = False
    check: str = ""


@dataclass(frozen=True, slots=True)
class Shell:
    """A POSIX sh fragment, run by the apply script as root under `set -eu`. Seconds for `deadline`.

    `stdin` is handed to it on standard input (so that secrets and manifests are never on a command line).
    """

    title: str
    script: str
    deadline: int = 120
    stdin: bytes = field(default=b"", repr=False)


Action = PutFile | Shell


@dataclass(frozen=True, slots=True)
class Handler:
    """Something to run once at the end of a batch when any of its resources changed (daemon-reload, reload, restart).

    Handlers run in ascending `order`; equal ids merge.
    """

    id: str
    script: str
    order: int = 50
    deadline: int = 120
    title: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What would be done to one resource.

    `reason` is short ("content differs", "not enabled"); `diff` is unified text or `field: old → new` lines, masked
    where sensitive. `wants` names probes that would make the diff better (e.g. the file's present text): the planner
    asks them in at most one second round and diffs again.
    """

    resource: str
    title: str
    kind: Kind
    reason: str
    actions: tuple[Action, ...]
    diff: str = ""
    notifies: tuple[Handler, ...] = ()
    disruptive: bool = False
    wants: frozenset[Probe[Any]] = frozenset()


@runtime_checkable
class Resource(Protocol):
    """What can be declared. A frozen value that does no I/O and never sees a host object.

    `id` is unique on its host, e.g. `file:/etc/haproxy/haproxy.cfg`. After a change was applied `diff` must be None.
    """

    @property
    def id(self) -> str: ...

    @property
    def title(self) -> str: ...

    def probes(self) -> frozenset[Probe[Any]]: ...

    def diff(self, facts: Facts) -> Change | None: ...

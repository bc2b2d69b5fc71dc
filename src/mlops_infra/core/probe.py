"""Probes: the questions that may be put to a host, as data.

A probe is a frozen value; equal probes of several resources merge. `engine.observe` turns any set of them into one
POSIX sh script with one fork per kind, `engine.parse` reads the answers back. A probe's type parameter is the type of
its answer where the thing asked about exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

__all__ = [
    "ApiList",
    "ApiObject",
    "Command",
    "CommandFact",
    "KernelFeature",
    "Package",
    "PackageFact",
    "Probe",
    "ReadLink",
    "ReadText",
    "Sha256",
    "Stat",
    "StatFact",
    "Swaps",
    "Sysctl",
    "System",
    "SystemFact",
    "Unit",
    "UnitFact",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Probe(Generic[T]):
    """Base of all probes."""


@dataclass(frozen=True, slots=True)
class StatFact:
    """What lies at a path. `mode` holds the permission bits only (0o7777); symlinks are not followed."""

    kind: Literal["file", "directory", "symlink", "other"]
    mode: int
    owner: str
    group: str
    size: int


@dataclass(frozen=True, slots=True)
class Stat(Probe[StatFact]):
    path: str


@dataclass(frozen=True, slots=True)
class ReadLink(Probe[str]):
    path: str


@dataclass(frozen=True, slots=True)
class Sha256(Probe[str]):
    """Hex digest of a regular file's content."""

    path: str


@dataclass(frozen=True, slots=True)
class ReadText(Probe[str]):
    """A file's text; Unreadable when larger than `limit` bytes."""

    path: str
    limit: int = 262_144


@dataclass(frozen=True, slots=True)
class UnitFact:
    """`systemctl show` of one unit: LoadState, ActiveState, SubState, UnitFileState, NeedDaemonReload."""

    load: str
    active: str
    sub: str
    enabled: str
    needs_reload: bool


@dataclass(frozen=True, slots=True)
class Unit(Probe[UnitFact]):
    """A systemd unit with its suffix, e.g. `containerd.service`. Absent when LoadState is not-found."""

    name: str


@dataclass(frozen=True, slots=True)
class PackageFact:
    version: str
    held: bool


@dataclass(frozen=True, slots=True)
class Package(Probe[PackageFact]):
    """A Debian package; Absent unless fully installed."""

    name: str


@dataclass(frozen=True, slots=True)
class Sysctl(Probe[str]):
    """Running value of a dotted key; tabs folded to single spaces."""

    key: str


@dataclass(frozen=True, slots=True)
class KernelFeature(Probe[bool]):
    """True when a module's feature is there, loaded or built in (domain.md 1.2); False when not."""

    module: str


@dataclass(frozen=True, slots=True)
class Swaps(Probe[tuple[str, ...]]):
    """Names of active swap areas, from /proc/swaps."""


@dataclass(frozen=True, slots=True)
class SystemFact:
    """What kind of machine a host is. Memory and disk in bytes, clock in seconds since the epoch.

    `addresses`: all IPv4 addresses of its own but loopback's, bridges' and virtual interfaces' too.
    """

    os_id: str
    os_version: str
    codename: str
    arch: str
    kernel: str
    hostname: str
    machine_id: str
    cpus: int
    memory: int
    clock: float
    cgroup_version: int
    addresses: tuple[str, ...]
    virtualization: str


@dataclass(frozen=True, slots=True)
class System(Probe[SystemFact]):
    """The host itself."""


@dataclass(frozen=True, slots=True)
class CommandFact:
    rc: int
    stdout: str


@dataclass(frozen=True, slots=True)
class Command(Probe[CommandFact]):
    """Anything else: a read-only POSIX sh script with an id, run in a subshell under `timeout`; stderr is dropped.

    Answer Unknown when the time ran out. `files`: patterns of sh(1); where no file that matches one has anything in
    it, nothing is started, and the answer is status 0 without output. Five processes less for what is usually absent.
    """

    id: str
    script: str
    timeout: int = 10
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiObject(Probe[Mapping[str, Any]]):
    """One object of the Kubernetes API, as its JSON. All of a run are read by one program on one master.

    Absent when the API says so; Unknown when there is no API to ask.
    """

    api_version: str
    kind: str
    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class ApiList(Probe[tuple[Mapping[str, Any], ...]]):
    """All objects of a kind, e.g. `nodes`, in all namespaces; `selector` is a label selector.

    With an `api_version` (`v1`) it is read beside the objects, without a kubectl of its own, which costs 0.2 s.
    """

    resource: str
    selector: str = ""
    api_version: str = ""

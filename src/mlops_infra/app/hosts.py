"""Reaching the hosts: ping them, pin their keys, run a command everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from shlex import join
from typing import TypeVar

from mlops_infra.app.context import SiteContext
from mlops_infra.app.reach import bastion_target, targets, transport_of
from mlops_infra.errors import ExitCode, InfraError, UsageError
from mlops_infra.transport import Target
from mlops_infra.transport.errors import HostKeyChanged, TransportError
from mlops_infra.transport.known_hosts import HostKey, read_known_hosts, same_fingerprint, write_known_hosts
from mlops_infra.transport.session import Reply
from mlops_infra.transport.ssh import SshTransport

__all__ = [
    "KeyState",
    "Pinged",
    "Ran",
    "Shown",
    "changed_problem",
    "chosen",
    "exit_code",
    "pin",
    "ping",
    "run_everywhere",
    "show_keys",
    "transport_of",
]

PING_DEADLINE = 30.0


@dataclass(frozen=True, slots=True)
class Pinged:
    """`way`: how it becomes root (root, nopasswd, password). Times in milliseconds; `problem` where it failed."""

    target: Target
    way: str = ""
    connect_ms: float = 0.0
    round_trip_ms: float = 0.0
    problem: InfraError | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """A command's reply from one host, or why there is none."""

    target: Target
    reply: Reply | None = None
    problem: InfraError | None = None

    @property
    def ok(self) -> bool:
        return self.reply is not None and self.reply.rc == 0


class KeyState(StrEnum):
    PINNED = "pinned"
    """The known one."""
    CONFIRMED = "confirmed"
    """New, and its fingerprint is the one that cluster.yaml or --fingerprint names."""
    NEW = "new"
    CHANGED = "changed"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Shown:
    """The host key that a host shows, compared with what is pinned."""

    target: Target
    state: KeyState
    key: HostKey | None = None
    expected: str = ""
    sure: bool = False
    """Its fingerprint was named by the person or the file: no question is needed."""
    problem: InfraError | None = None


def chosen(context: SiteContext, names: Iterable[str], *, bastion: bool = False) -> dict[str, Target]:
    """The targets of the named hosts, all where none is named; with `bastion` also the bastion, first.

    Raises UsageError for a name that is not in the file.
    """
    base = context.site.config.parent
    known = targets(context.cluster, base)
    jump = bastion_target(context.cluster.ssh, base)
    if bastion and jump is not None:
        known = {jump.name: jump, **known}
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in known:
            raise UsageError(f"there is no host {name}", remedy=f"There are {', '.join(known)}.")
    return {name: target for name, target in known.items() if not wanted or name in wanted}


def ping(transport: SshTransport, hosts: Mapping[str, Target]) -> list[Pinged]:
    """Log in everywhere at once and become root; in file order."""

    def one(target: Target) -> Pinged:
        begun = time.monotonic()
        try:
            session = transport.connect(target)
            connected = time.monotonic()
            session.exchange("true", b"", deadline=PING_DEADLINE)
            ended = time.monotonic()
        except InfraError as error:
            return Pinged(target, problem=error)
        way = "password" if session.way == "ask" else session.way
        return Pinged(target, way, (connected - begun) * 1000, (ended - connected) * 1000)

    return _everywhere(one, hosts.values())


def run_everywhere(
    transport: SshTransport,
    hosts: Mapping[str, Target],
    words: Sequence[str],
    *,
    deadline: float,
    on_line: Callable[[str, str], None] | None = None,
) -> list[Ran]:
    """Run a command as root everywhere at once. One word is sh text, several are a command and its arguments.

    `on_line` is given host and line as they come.
    """
    command = words[0] if len(words) == 1 else join(words)

    def one(target: Target) -> Ran:
        try:
            say = partial(on_line, target.name) if on_line else None
            return Ran(target, transport.connect(target).exchange(command, b"", deadline=deadline, on_line=say))
        except InfraError as error:
            return Ran(target, problem=error)

    return _everywhere(one, hosts.values())


def show_keys(
    transport: SshTransport, context: SiteContext, hosts: Iterable[Target], given: Iterable[str]
) -> list[Shown]:
    """Ask each host for its key, without logging in, and compare. `given`: fingerprints known from elsewhere."""
    known = read_known_hosts(context.site.known_hosts)
    confirmed = tuple(given)

    def one(target: Target) -> Shown:
        pinned = known.get(target.key_name, ())
        try:
            key = transport.scan(target)
            if pinned and key not in pinned and key.kind not in {p.kind for p in pinned}:
                key = transport.scan(target, pinned[0].kind)
        except TransportError as error:
            return Shown(target, KeyState.UNREACHABLE, problem=error)
        return _compare(target, key, pinned, confirmed)

    return _everywhere(one, hosts)


def _compare(target: Target, key: HostKey, pinned: Sequence[HostKey], confirmed: Sequence[str]) -> Shown:
    if target.host_key:
        if not same_fingerprint(target.host_key, key.fingerprint):
            return Shown(target, KeyState.CHANGED, key, f"{target.host_key} (cluster.yaml)")
        return Shown(target, KeyState.PINNED if key in pinned else KeyState.CONFIRMED, key, sure=True)
    if key in pinned:
        return Shown(target, KeyState.PINNED, key)
    sure = any(same_fingerprint(f, key.fingerprint) for f in confirmed)
    if pinned:
        return Shown(target, KeyState.CHANGED, key, pinned[0].fingerprint, sure)
    return Shown(target, KeyState.CONFIRMED if sure else KeyState.NEW, key, sure=sure)


def pin(context: SiteContext, shown: Iterable[Shown], *, replace_changed: bool = False) -> list[Shown]:
    """Write the keys to known_hosts; changed ones only with `replace_changed` and never against cluster.yaml.

    Returns what was written.
    """
    path = context.site.known_hosts
    known: dict[str, tuple[HostKey, ...]] = read_known_hosts(path)
    written = []
    for one in shown:
        allowed = one.state in (KeyState.NEW, KeyState.CONFIRMED) or (
            one.state is KeyState.CHANGED and replace_changed and not one.target.host_key
        )
        if allowed and one.key is not None:
            known[one.target.key_name] = (one.key,)
            written.append(replace(one, state=KeyState.PINNED))
    if written:
        context.site.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_known_hosts(path, known)
    return written


def changed_problem(shown: Shown) -> HostKeyChanged:
    """Why a changed key is not taken, with the command that takes it."""
    assert shown.key is not None
    in_file = bool(shown.target.host_key)
    return HostKeyChanged(
        f"{shown.target.name} shows another host key than the pinned one",
        host=shown.target.name,
        details=f"Pinned: {shown.expected}. It shows: {shown.key.kind} {shown.key.fingerprint}.",
        cause="The machine was installed anew, or another one answers at its address: find out which.",
        remedy=f"Only if you know why: correct host_key of {shown.target.name} in cluster.yaml"
        if in_file
        else f"Only if you know why: mlops-infra hosts trust --replace {shown.target.name}",
        exit_code=ExitCode.FAILED,
    )


def exit_code(good: int, unreachable: int, total: int) -> ExitCode:
    """0 all, 4 nothing answered, 3 some, 1 none although they answered."""
    if good == total:
        return ExitCode.DONE
    if unreachable == total:
        return ExitCode.UNREACHABLE
    return ExitCode.PARTLY if good else ExitCode.FAILED


T = TypeVar("T")


def _everywhere(one: Callable[[Target], T], hosts: Iterable[Target]) -> list[T]:
    found = list(hosts)
    if not found:
        return []
    with ThreadPoolExecutor(min(256, len(found)), thread_name_prefix="host") as pool:
        return list(pool.map(one, found))

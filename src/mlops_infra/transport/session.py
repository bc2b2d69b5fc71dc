"""What the rest of the program sees of a connection: exchanges, and channels that are held."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Held", "Reply", "Session"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a remote command said. `stderr` is its bounded tail, for diagnostics only; 255 is a death by signal."""

    rc: int
    stdout: bytes = field(repr=False)
    stderr: str


class Held(Protocol):
    """A channel that stays open, e.g. for a lock which must die with the run."""

    def line(self, timeout: float) -> str | None:
        """The next line of stdout without its newline; None when none came within `timeout` seconds, or at the end."""
        ...

    def lines(self) -> Iterator[str]:
        """Lines of stdout until the channel ends."""
        ...

    def send(self, data: bytes) -> None:
        """Write to the command's stdin. Raises LinkLost when it is gone."""
        ...

    def alive(self) -> bool:
        """False as soon as the command or the connection is known to have ended."""
        ...

    def close(self) -> None:
        """Close the channel: the command sees the end of its stdin."""
        ...


class Session(Protocol):
    """A connection to one host, as root. Several threads may use it; sshd allows ten channels at once (MaxSessions)."""

    name: str
    channels: int
    """Channels opened so far, held ones included: what round-trip budgets count."""

    def exchange(
        self,
        command: str,
        stdin: bytes,
        *,
        deadline: float,
        on_line: Callable[[str], None] | None = None,
        sink: Callable[[bytes], None] | None = None,
    ) -> Reply:
        """Run `command` (POSIX sh, a constant free of secrets) as root on one channel with `stdin`, and wait for it.

        `deadline` is in seconds, enforced here and on the host (`timeout`). `on_line` is given each line of stdout as
        it comes, without its newline. `sink` takes stdout itself, piece by piece as it comes, for answers too large to
        hold: `Reply.stdout` is empty then, and what it raises ends the exchange. A non-zero exit is a `Reply`, not an
        error: `transport.errors.explain` knows what it may mean. Raises TimedOut, LinkLost, SudoDenied, MissingTool.
        """
        ...

    def hold(self, command: str, stdin: bytes) -> Held:
        """Start `command` as root on a channel that stays open. `stdin` is written first and stays open."""
        ...

    def close(self) -> None: ...

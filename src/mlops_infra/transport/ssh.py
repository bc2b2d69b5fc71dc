"""The transport of production: SSH. Imports paramiko and Fabric when it is first used (`preload` does so early)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_infra.core.secret import Secret
from mlops_infra.errors import InfraError
from mlops_infra.transport.ahead import Ahead
from mlops_infra.transport.errors import LinkLost, Refused, TimedOut, TransportError
from mlops_infra.transport.known_hosts import HostKey
from mlops_infra.transport.privilege import Way, Wrapped, denial, no_password, way_of, wrap, wrong_password
from mlops_infra.transport.session import Held, Reply
from mlops_infra.transport.target import Target

if TYPE_CHECKING:
    from mlops_infra.transport.channel import Running
    from mlops_infra.transport.link import Links

__all__ = ["USER_SSH_CONFIG", "SshSession", "SshTransport"]

USER_SSH_CONFIG = Path("~/.ssh/config").expanduser()
GRACE = 2.0
"""Seconds by which the local deadline is later than the host's own, so that its last words still arrive."""

HANDSHAKE = 30.0
"""Seconds that sudo and the login shell may take before our command starts."""


class SshTransport:
    """Sessions over SSH, host keys from `known_hosts` only.

    `sudo_password` is called at most once, when the first host wants one, and its answer kept in memory. `ssh_config`:
    None leaves ~/.ssh/config out (the lab's hosts have the addresses of real ones).
    """

    def __init__(
        self,
        known_hosts: Path,
        sudo_password: Callable[[], Secret] | None = None,
        *,
        ssh_config: Path | None = USER_SSH_CONFIG,
    ) -> None:
        self._known_hosts = known_hosts
        self._ssh_config = ssh_config
        self._password = _AskedOnce(sudo_password)
        self._lock = threading.Lock()
        self._made: Links | None = None
        self._sessions: list[SshSession] = []
        self._ahead = Ahead()

    def preload(self) -> None:
        """Import what connecting needs (0.1 s), e.g. in a thread while the plan is still being made."""
        self._links()

    def expect(self, targets: Iterable[Target]) -> None:
        """Begin to connect to hosts that are about to be asked; `connect` then waits only for what is left of that."""
        self._ahead.expect(targets, lambda target: self._links().open(target))

    def connect(self, target: Target) -> SshSession:
        """See `Transport.connect`."""
        session = SshSession(target, self._ahead.take(target) or self._links().open(target), self._password)
        with self._lock:
            self._sessions.append(session)
        return session

    def scan(self, target: Target, kind: str | None = None) -> HostKey:
        """The key that the host shows, without logging in and without trusting it. Raises a TransportError.

        Its ed25519 key where it has one; `kind` asks for another type first. A bastion in between must be trusted.
        """
        return self._links().scan(target, kind)

    def close(self) -> None:
        self._ahead.close(_end)
        with self._lock:
            sessions, self._sessions = self._sessions, []
        for session in sessions:
            session.close()
        if self._made is not None:
            self._made.close()

    def _links(self) -> Links:
        with self._lock:
            if self._made is None:
                from mlops_infra.transport.link import Links  # noqa: PLC0415  # 0.1 s that --help must not pay

                self._made = Links(self._known_hosts, self._ssh_config)
            return self._made


def _end(connection: Any) -> None:
    from mlops_infra.transport.link import close_quietly  # noqa: PLC0415

    close_quietly(connection)


class _AskedOnce:
    """A password that is asked for once, whichever host wants it first."""

    def __init__(self, ask: Callable[[], Secret] | None) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._known: Secret | None = None

    def get(self) -> Secret | None:
        with self._lock:
            if self._known is None and self._ask is not None:
                self._known = self._ask()
            return self._known


class SshSession:
    """One connection; implements `Session`. Several threads may exchange at once, each on a channel of its own."""

    def __init__(self, target: Target, connection: Any, password: _AskedOnce) -> None:
        self.name = target.name
        self.channels = 0
        self._counting = threading.Lock()
        self._target = target
        self._connection = connection
        self._password = password
        self._way: Way = way_of(target)

    @property
    def way(self) -> str:
        """How it becomes root: `root`, `nopasswd` or `ask` (learned by the first exchange where sudo is `auto`)."""
        return self._way

    def exchange(
        self,
        command: str,
        stdin: bytes,
        *,
        deadline: float,
        on_line: Callable[[str], None] | None = None,
        sink: Callable[[bytes], None] | None = None,
    ) -> Reply:
        """See `Session.exchange`."""
        # The host's clock starts before we see READY, so that its end may come a little before ours.
        started = time.monotonic()
        running, first = self._begin(command, deadline)
        try:
            until = time.monotonic() + deadline + GRACE
            kept = _Sink(on_line)
            give = sink or kept.give
            give(first)
            running.write(stdin, last=True, until=until)
            if not running.collect(give, until):
                raise self._too_late(deadline, running)
            kept.end()
            rc = self._ended(running)
            if rc in (124, 137) and time.monotonic() - started >= deadline:
                raise self._too_late(deadline, running)
            return Reply(rc, bytes(kept.all), running.stderr.text())
        finally:
            running.close()

    def hold(self, command: str, stdin: bytes) -> Held:
        """See `Session.hold`."""
        running, first = self._begin(command, None)
        held = SshHeld(self.name, running, first)
        if stdin:
            held.send(stdin)
        return held

    def close(self) -> None:
        _end(self._connection)

    def _begin(self, command: str, deadline: float | None) -> tuple[Running, bytes]:
        """Open a channel and see the command started as root. Returns it with what stdout said first."""
        from mlops_infra.transport.channel import start  # noqa: PLC0415

        way = self._way
        words = wrap(command, way, deadline)
        running = start(self._channel(), words.line)
        try:
            first = self._await_ready(running, words, way)
        except BaseException:
            running.close()
            raise
        return running, first

    def _channel(self) -> Any:
        transport = self._connection.transport
        with self._counting:
            self.channels += 1
        try:
            return transport.open_session(timeout=HANDSHAKE)
        except Exception as error:
            if not transport.is_active():
                raise self._lost("the connection had ended") from error
            if "imeout" in str(error):
                raise TimedOut(
                    f"{self.name} opens no channel within {HANDSHAKE:g} s",
                    host=self.name,
                    cause="The host hangs: no memory, no disk, or frozen.",
                ) from error
            raise Refused(
                f"{self.name} opens no further channel",
                host=self.name,
                details=str(error),
                cause="MaxSessions in sshd_config is lower than 2.",
            ) from error

    def _await_ready(self, running: Running, words: Wrapped, way: Way) -> bytes:
        """Wait for READY, answering sudo's prompt at most once. Whatever the login shell printed before is dropped."""
        out = bytearray()
        answered = False
        until = time.monotonic() + HANDSHAKE
        mark = words.ready + b"\n"
        while mark not in out:
            if running.finished:
                out += running.read(0)
                if mark in out:
                    break
                raise self._denied(running, way, answered=answered)
            if time.monotonic() > until:
                raise TimedOut(
                    f"no shell on {self.name} within {HANDSHAKE:g} s",
                    host=self.name,
                    details=running.stderr.text()[-400:],
                    cause="sudo or the login shell waits for something (a directory service, a full disk).",
                )
            out += running.read(min(1.0, until - time.monotonic()))
            prompts = bytes(running.stderr).count(words.prompt) if words.prompt else 0
            if mark in out or not prompts:
                continue
            if prompts > 1:
                raise wrong_password(self._target)
            if not answered:
                password = self._given_password()
                answered = True
                until = time.monotonic() + HANDSHAKE
                running.write(password.reveal().encode() + b"\n", last=False, until=until)
        if way == "ask" and not answered and self._target.sudo == "auto":
            self._way = "nopasswd"
        if words.prompt:
            running.stderr.cut(words.prompt)
        return bytes(out[out.index(mark) + len(mark) :])

    def _given_password(self) -> Secret:
        """What keeps the password from us (no terminal to ask on, no such file) is this host's trouble, not the run's:
        others may let us become root without one. Raises SudoDenied."""
        try:
            password = self._password.get()
        except InfraError as error:
            raise no_password(self._target, f"{error.brief}.") from error
        if password is None:
            raise no_password(self._target)
        return password

    def _denied(self, running: Running, way: Way, *, answered: bool) -> TransportError:
        rc = self._ended(running)
        said = running.stderr.text()
        if answered and "not allowed" not in said and "not in the sudoers" not in said and "may not run" not in said:
            return wrong_password(self._target)
        return denial(self._target, said, rc, way)

    def _ended(self, running: Running) -> int:
        """The exit status; 255 where the command died of a signal. Raises LinkLost when it was the connection."""
        transport = self._connection.transport
        rc = running.channel.exit_status if running.exited else -1
        if rc >= 0:
            return rc
        # paramiko closes the channels of a dead connection before it calls the connection dead.
        for _ in range(20):
            if not transport.is_active():
                raise self._lost("it ended before the command did")
            time.sleep(0.01)
        return 255

    def _lost(self, how: str) -> LinkLost:
        return LinkLost(
            f"the connection to {self.name} broke",
            host=self.name,
            details=how,
            cause="The host lost power or its network, was restarted, or its sshd was.",
            remedy="Run again: what was done is recognised, and what was not is done.",
        )

    def _too_late(self, deadline: float, running: Running) -> TimedOut:
        return TimedOut(
            f"{self.name} did not finish within {deadline:g} s",
            host=self.name,
            details=running.stderr.text()[-1000:],
            cause="The host is slow or hangs; what was running there has been ended.",
            remedy=f"mlops-infra hosts exec --limit {self.name} -- uptime",
        )


class SshHeld:
    """A held channel; implements `Held`. One reader at a time; `send` and `close` from any thread."""

    def __init__(self, name: str, running: Running, first: bytes) -> None:
        self._name = name
        self._running = running
        self._buffer = bytearray(first)

    def line(self, timeout: float) -> str | None:
        """See `Held.line`."""
        until = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            if self._running.finished or left <= 0:
                self._buffer += self._running.read(0)
                break
            self._buffer += self._running.read(min(left, 1.0))
        if b"\n" not in self._buffer:
            return None
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        return line.decode("utf-8", "replace")

    def lines(self) -> Iterator[str]:
        """See `Held.lines`."""
        while True:
            line = self.line(3600.0)
            if line is not None:
                yield line
            elif self._running.finished:
                return

    def send(self, data: bytes) -> None:
        """See `Held.send`."""
        try:
            self._running.channel.settimeout(HANDSHAKE)
            self._running.channel.sendall(data)
        except (OSError, EOFError) as error:
            raise LinkLost(f"the held channel to {self._name} is gone", host=self._name, details=str(error)) from error

    def alive(self) -> bool:
        """See `Held.alive`."""
        return not (self._running.channel.closed or self._running.exited)

    def close(self) -> None:
        self._running.close()


class _Sink:
    """Collects stdout and gives out its lines as they come."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self.all = bytearray()
        self._on_line = on_line
        self._begun = 0

    def give(self, data: bytes) -> None:
        self.all += data
        if self._on_line is None:
            return
        while (end := self.all.find(b"\n", self._begun)) >= 0:
            self._on_line(self.all[self._begun : end].decode("utf-8", "replace"))
            self._begun = end + 1

    def end(self) -> None:
        if self._on_line is not None and self._begun < len(self.all):
            self._on_line(self.all[self._begun :].decode("utf-8", "replace"))
            self._begun = len(self.all)

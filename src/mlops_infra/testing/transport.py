"""Hosts without SSH: scripted, or this machine's own sh. Both count their channels."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from mlops_infra.transport.errors import LinkLost, TransportError
from mlops_infra.transport.session import Reply
from mlops_infra.transport.target import Target

__all__ = ["Answer", "FakeHeld", "FakeSession", "FakeTransport", "local_shell"]

Answer = Callable[[str, bytes], Reply | TransportError]
"""Given the command and its stdin: what the host replies, or the error that the exchange ends with."""


def local_shell(shell: str = "sh", environment: Mapping[str, str] | None = None) -> Answer:
    """An Answer that runs the command on this machine; only for scripts that keep to a temporary directory."""

    def run(command: str, stdin: bytes) -> Reply:
        line = command.replace("sh ", f"{shell} ", 1) if command.startswith("sh ") else command
        env = dict(environment) if environment is not None else None
        # The point of it is to run the script that the product generates, as a host would.
        done = subprocess.run(line, shell=True, input=stdin, capture_output=True, env=env, check=False)  # noqa: S602
        return Reply(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))

    return run


@dataclass
class FakeHeld:
    """A held channel: says `said`, keeps what was sent, ends when `end` or `close` is called."""

    said: list[str] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    ended: bool = False

    def line(self, timeout: float) -> str | None:
        return self.said.pop(0) if self.said else None

    def lines(self) -> Iterator[str]:
        while self.said:
            yield self.said.pop(0)

    def send(self, data: bytes) -> None:
        if self.ended:
            raise LinkLost("the held channel is gone")
        self.sent.append(data)

    def alive(self) -> bool:
        return not self.ended

    def end(self) -> None:
        """As if the host had ended it."""
        self.ended = True

    def close(self) -> None:
        self.ended = True


@dataclass
class FakeSession:
    """A session whose replies come from `answer`. `calls` has every command with its stdin, in order."""

    name: str
    answer: Answer
    held: Callable[[str, bytes], FakeHeld] = lambda command, stdin: FakeHeld()
    channels: int = 0
    calls: list[tuple[str, bytes]] = field(default_factory=list)
    holds: list[FakeHeld] = field(default_factory=list)
    closed: bool = False

    def exchange(
        self,
        command: str,
        stdin: bytes,
        *,
        deadline: float,
        on_line: Callable[[str], None] | None = None,
        sink: Callable[[bytes], None] | None = None,
    ) -> Reply:
        if self.closed:
            raise LinkLost("the session is closed", host=self.name)
        self.channels += 1
        self.calls.append((command, stdin))
        reply = self.answer(command, stdin)
        if isinstance(reply, TransportError):
            reply.host = reply.host or self.name
            raise reply
        if sink is not None:
            sink(reply.stdout)
            return Reply(reply.rc, b"", reply.stderr)
        if on_line is not None:
            for line in reply.stdout.decode("utf-8", "replace").splitlines():
                on_line(line)
        return reply

    def hold(self, command: str, stdin: bytes) -> FakeHeld:
        self.channels += 1
        self.calls.append((command, stdin))
        held = self.held(command, stdin)
        self.holds.append(held)
        return held

    def close(self) -> None:
        self.closed = True


class FakeTransport:
    """A transport to scripted hosts.

    `answers` by host name, `default` for the others: see `Answer`; `testing.facts.scripted` makes one of facts,
    `local_shell` one of this machine's sh. `unreachable` by host name: the error that connecting ends with.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer] | None = None,
        *,
        unreachable: Mapping[str, TransportError] | None = None,
        default: Answer | None = None,
        held: Callable[[str, bytes], FakeHeld] = lambda command, stdin: FakeHeld(),
    ) -> None:
        self.answers = dict(answers or {})
        self.unreachable = dict(unreachable or {})
        self.default = default
        self.held = held
        self.sessions: dict[str, list[FakeSession]] = {}
        self.closed = False

    def connect(self, target: Target) -> FakeSession:
        if target.name in self.unreachable:
            error = self.unreachable[target.name]
            error.host = error.host or target.name
            raise error
        answer = self.answers.get(target.name, self.default)
        if answer is None:
            raise KeyError(f"no answer was scripted for {target.name}")
        session = FakeSession(target.name, answer, self.held)
        self.sessions.setdefault(target.name, []).append(session)
        return session

    def close(self) -> None:
        self.closed = True
        for sessions in self.sessions.values():
            for session in sessions:
                session.close()

    @property
    def channels(self) -> dict[str, int]:
        """Channels opened so far, by host: what round-trip budgets are asserted on."""
        return {name: sum(s.channels for s in found) for name, found in self.sessions.items()}

"""A stand-in platform in memory: hosts that hold files and answers, for tests of phases and of the engine.

It speaks the engine's `Wire` instead of sh, counts channels as a real connection does, and can be told to fail: hosts
that are down, links that break, actions that end badly. What it does not do is run any sh: that is for tests/shell.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core import (
    ABSENT,
    UNKNOWN,
    ApiList,
    ApiObject,
    Facts,
    Input,
    Probe,
    PutFile,
    ReadText,
    Secret,
    Sha256,
    Stat,
    StatFact,
)
from mlops_infra.engine.observe import ApiEndpoint
from mlops_infra.engine.payload import Batch, BatchBusy, BatchResult, Frame, batch_works
from mlops_infra.engine.wire import Look
from mlops_infra.transport import Reply, Session, Target
from mlops_infra.transport.errors import LinkLost, Refused

__all__ = ["FakeHost", "FakePlatform", "FakeWire", "ScriptFailed"]


class ScriptFailed(Exception):  # noqa: N818 -- says what happened
    """Raised by a stand-in script that ends with `rc`."""

    def __init__(self, rc: int = 1, output: str = "") -> None:
        super().__init__(output)
        self.rc, self.output = rc, output


@dataclass(slots=True)
class FakeHost:
    """`files` by path; `answers` to other probes; `down` refuses connections; `locked` new ones alone."""

    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[Probe[Any], Any] = field(default_factory=dict)
    down: bool = False
    locked: bool = False
    cut: list[str] = field(default_factory=list)
    """How the next sends end: "before" (lost, nothing done), "after" (done, then lost), "busy", "" (well)."""
    when_idle: Callable[[], object] | None = None
    """What the batch that keeps it "busy" has done by its end."""
    channels: int = 0
    connections: int = 0

    def answer(self, probe: Probe[Any]) -> Any:
        if probe in self.answers:
            return self.answers[probe]
        if isinstance(probe, Stat | Sha256 | ReadText):
            if probe.path not in self.files:
                return ABSENT
            content = self.files[probe.path]
            if isinstance(probe, Stat):
                return StatFact("file", 0o644, "root", "root", len(content))
            return hashlib.sha256(content).hexdigest() if isinstance(probe, Sha256) else content.decode()
        return UNKNOWN


class FakePlatform:
    """Implements `Transport`. `scripts` gives the effect of a script, by its exact text; others do nothing.

    `api` is what the API server of each serving master answers; a master serves when its name is in `serving`.
    """

    def __init__(self, *names: str) -> None:
        self.hosts = {name: FakeHost(name) for name in names}
        self.scripts: dict[str, Callable[[FakeHost], str | None]] = {}
        self.api: dict[Probe[Any], Any] = {}
        self.serving: set[str] = set()
        self.holders: dict[str, str] = {}
        """Lock holders by host, as another run would have left them."""
        self.helds: list[_FakeHeld] = []
        self.sent: list[tuple[str, Batch]] = []
        self.lock = threading.Lock()

    def targets(self) -> dict[str, Target]:
        return {name: Target(name, "192.0.2.1") for name in self.hosts}

    def connect(self, target: Target) -> Session:
        host = self.hosts[target.name]
        host.connections += 1
        if host.down or host.locked:
            raise Refused(f"{target.name} refused the connection", host=target.name, remedy="Switch it on.")
        return _FakeSession(self, host)

    def close(self) -> None:
        """Nothing to close."""

    @property
    def channels(self) -> dict[str, int]:
        return {name: host.channels for name, host in self.hosts.items()}


class _FakeSession:
    def __init__(self, platform: FakePlatform, host: FakeHost) -> None:
        self.platform, self.host, self.name = platform, host, host.name
        self.channels = 0
        self.closed = False

    def open(self) -> None:
        if self.closed or self.host.down:
            raise LinkLost(f"the link to {self.name} broke", host=self.name)
        self.channels += 1
        self.host.channels += 1

    def exchange(
        self,
        command: str,
        stdin: bytes,
        *,
        deadline: float,
        on_line: Callable[[str], None] | None = None,
        sink: Callable[[bytes], None] | None = None,
    ) -> Reply:
        raise NotImplementedError("the stand-in platform is spoken to through FakeWire")

    def hold(self, command: str, stdin: bytes) -> _FakeHeld:
        self.open()
        held = _FakeHeld(self)
        self.platform.helds.append(held)
        return held

    def close(self) -> None:
        self.closed = True


class _FakeHeld:
    def __init__(self, session: _FakeSession) -> None:
        self.session = session
        self.beats = 0
        self.open = True
        holder = session.platform.holders.get(session.name)
        said = (
            [f"mlops-infra-lock busy {holder}"]
            if holder
            else ["mlops-infra-lock held", "", "mlops-infra-lock observed"]
        )
        self._said = iter(said)

    def line(self, timeout: float) -> str | None:
        del timeout
        return next(self._said, None)

    def lines(self) -> Iterator[str]:
        return self._said

    def send(self, data: bytes) -> None:
        if not self.alive():
            raise LinkLost("the link broke", host=self.session.name)
        self.beats += len(data)

    def alive(self) -> bool:
        return self.open and not self.session.closed and not self.session.host.down

    def close(self) -> None:
        self.open = False


class FakeWire:
    """Implements the engine's `Wire` on a FakePlatform."""

    def __init__(self, platform: FakePlatform) -> None:
        self.platform = platform

    def observe(self, session: Any, probes: frozenset[Probe[Any]], api: ApiEndpoint | None) -> Facts:
        session.open()
        return self._facts(session.host, probes, through_api=api is not None)

    def send(self, session: Any, batch: Batch, on_line: Callable[[str], None] | None) -> BatchResult:
        host: FakeHost = session.host
        session.open()
        end = host.cut.pop(0) if host.cut else ""
        if end == "busy":
            raise BatchBusy("another batch is at work on the host", host=host.name)
        if end == "before":
            session.closed = True
            raise LinkLost(f"the link to {host.name} broke", host=host.name)
        with self.platform.lock:
            self.platform.sent.append((host.name, batch))
        result = self._run(host, batch, on_line)
        if end == "after":
            session.closed = True
            raise LinkLost(f"the link to {host.name} broke", host=host.name)
        return result

    def result(self, session: Any, batch: Batch) -> BatchResult:
        session.open()
        if (session.name, batch) not in self.platform.sent:
            return BatchResult((), in_doubt=True)
        facts = self._facts(session.host, batch.verify, through_api=batch.api is not None)
        return BatchResult((), facts, operation_rc=0)

    def mint(self, session: Any, wanted: Input) -> Mapping[str, Secret]:
        session.open()
        said = self._script(session.host, wanted.script)
        return {n: Secret(v) for n, _, v in (line.partition("=") for line in said.splitlines())}

    def wait_until_idle(self, session: Any, deadline: float) -> None:
        session.open()
        if session.host.when_idle is not None:
            session.host.when_idle()

    def look_script(self, look: Look) -> bytes:
        return b""

    def read_look(self, host: str, look: Look, answer: bytes) -> Facts:
        return self._facts(self.platform.hosts[host], look.probes, through_api=look.api is not None)

    # ------------------------------------------------------------------------------------------------------------

    def _facts(self, host: FakeHost, probes: frozenset[Probe[Any]], *, through_api: bool) -> Facts:
        serves = through_api and host.name in self.platform.serving
        found: dict[Probe[Any], Any] = {}
        for probe in probes:
            if isinstance(probe, ApiObject | ApiList):
                found[probe] = self.platform.api.get(probe, ABSENT) if serves else UNKNOWN
            else:
                found[probe] = host.answer(probe)
        return Facts(found)

    def _script(self, host: FakeHost, text: str) -> str:
        with self.platform.lock:
            script = self.platform.scripts.get(text)
        return (script(host) if script else None) or ""

    def _run(self, host: FakeHost, batch: Batch, on_line: Callable[[str], None] | None) -> BatchResult:
        frames: list[Frame] = []
        for number, work in enumerate(batch_works(batch)):
            if frames and any(f.outcome == "fail" for f in frames):
                frames.append(Frame(work.kind, work.resource, work.title, "skipped"))
                continue
            if on_line:
                on_line(f"{'A' if work.kind == 'action' else 'H'} {number} start")
            try:
                output = self._act(host, work.action)
                frames.append(Frame(work.kind, work.resource, work.title, "ok", 0, output))
            except ScriptFailed as failed:
                frames.append(Frame(work.kind, work.resource, work.title, "fail", failed.rc, failed.output))
        if any(f.outcome == "fail" for f in frames):
            return BatchResult(tuple(frames))
        output = ""
        if batch.script:
            try:
                output = self._script(host, batch.script.text)
            except ScriptFailed as failed:
                frames.append(Frame("operation", batch.id, batch.title, "fail", failed.rc, failed.output))
                return BatchResult(tuple(frames), operation_output=failed.output, operation_rc=failed.rc)
        facts = self._facts(host, batch.verify, through_api=batch.api is not None)
        return BatchResult(tuple(frames), facts, output, 0 if batch.script else None)

    def _act(self, host: FakeHost, action: Any) -> str:
        if isinstance(action, PutFile):
            host.files[action.path] = action.content
            return ""
        return self._script(host, action.script)

"""Sending a batch and getting to know what became of it, whatever happens to the link."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_infra.core import API, Emit, Event, EventKind, Facts, Input, Probe, Secret, StepId
from mlops_infra.engine.connect import Connections, Master, split_answers
from mlops_infra.engine.errors import InDoubt
from mlops_infra.engine.journal import Journal
from mlops_infra.engine.observation import known
from mlops_infra.engine.payload import Batch, BatchResult, progress
from mlops_infra.engine.wire import Wire
from mlops_infra.engine.world import World
from mlops_infra.errors import InfraError
from mlops_infra.transport.errors import LinkLost, TimedOut, TransportError, TruncatedAnswer

__all__ = ["Exchanges"]

RECONNECTS = 5
IDLE_DEADLINE = 900.0
"""Seconds that an earlier batch is waited for: as long as the longest operation may take."""
PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class Exchanges:
    """What the threads of a run say to hosts. The caller holds the host's guard while it works there."""

    connections: Connections
    wire: Wire
    world: World
    masters: Mapping[str, Master]
    journal: Journal
    emit: Emit
    pause: float = PAUSE

    def send(self, host: str, batch: Batch, step: StepId) -> BatchResult:
        """One exchange. Where the link breaks, a detached batch's result is asked for; else LinkLost is raised.

        Raises BatchBusy while a batch of before is at work there: what it leaves behind has to be looked at first.
        """
        with self.connections.guard(host):
            self.journal.batch_sent(host, batch.id, batch.changes)
            try:
                heard = self._listener(host, batch, step)
                result = self.wire.send(self.connections.session(host), batch, heard)
            except (LinkLost, TimedOut, TruncatedAnswer) as error:
                self.journal.record("link_lost", host=host, batch=batch.id, error=error.brief, sync=True)
                if not batch.detached:
                    raise
                result = self._result_of(host, batch, error)
            self._record(host, batch, result)
            return result

    def observe(self, host: str, probes: frozenset[Probe[Any]], *, api: bool = False) -> Facts:
        """Ask one host again (with `api`: through its own API server), and keep the answers."""
        endpoint = self.masters[host].endpoint if api else None
        with self.connections.desk(host):
            found = split_answers(self.wire.observe(self.connections.session(host), probes, endpoint), probes)
        self.world.learn(API if api else host, found)
        if api:
            self.world.api_answered(host if known(found, probes) else None)
        return found

    def mint(self, wanted: Input) -> Mapping[str, Secret]:
        """What a host tells another, e.g. a token: asked beside whatever batch it is working on."""
        with self.connections.desk(wanted.host):
            return self.wire.mint(self.connections.session(wanted.host), wanted)

    # ------------------------------------------------------------------------------------------------------------

    def wait_until_idle(self, host: str, step: StepId) -> None:
        """A batch of before may still be at work on the host: it is waited for there, in one exchange."""
        self.emit(
            Event(time.time(), EventKind.NOTE, host, step, "waiting for what an earlier batch may still be doing")
        )
        self.wire.wait_until_idle(self.connections.session(host), IDLE_DEADLINE)

    def _result_of(self, host: str, batch: Batch, error: InfraError) -> BatchResult:
        try:
            session = self.connections.again(host, attempts=RECONNECTS, pause=self.pause)
            return self.wire.result(session, batch)
        except TransportError as later:
            raise InDoubt(
                f"the link broke while “{batch.title}” ran, and {host} could not be reached again",
                host=host,
                details=f"{error.brief}; then {later.brief}",
                cause="The host went down or its network did. What was begun goes on there if the host lives.",
                remedy="Run again when the host answers: the run looks first at what became of it.",
            ) from later

    def _record(self, host: str, batch: Batch, result: BatchResult) -> None:
        failed = result.failure
        self.journal.record(
            "batch_done",
            sync=True,
            host=host,
            batch=batch.id,
            ok=result.ok,
            frames=len(result.frames),
            failed=failed.title if failed else None,
            rc=failed.rc if failed else 0,
        )
        for line in result.operation_output.splitlines():
            self.journal.output(host, f"{batch.title}: {line}")
        for frame in (f for f in result.frames if f.kind != "operation"):
            for line in frame.output.splitlines():
                self.journal.output(host, f"{frame.title}: {line}")

    def _listener(self, host: str, batch: Batch, step: StepId) -> Callable[[str], None]:
        def heard(line: str) -> None:
            if (text := progress(line, batch)) is not None:
                self.emit(Event(time.time(), EventKind.ACTION, host, step, text))

        return heard

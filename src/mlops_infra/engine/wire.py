"""The engine's few sentences over a session: observe, send a batch, ask for a result, mint inputs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mlops_infra.core import Command, Facts, Input, Probe, Secret
from mlops_infra.engine.observe import OBSERVE_COMMAND, ApiEndpoint, compile_observe
from mlops_infra.engine.parse import parse_answers
from mlops_infra.engine.payload import (
    BATCH_COMMAND,
    RESULT_COMMAND,
    Batch,
    BatchResult,
    compile_batch,
    compile_result_query,
    parse_batch,
)
from mlops_infra.errors import InfraError
from mlops_infra.transport.errors import explain
from mlops_infra.transport.session import Session

__all__ = ["Look", "ShWire", "Wire", "new_nonce", "observe_deadline"]

ASK_COMMAND = "umask 077; exec sh -eus"
"""Runs an input's script on its standard input; what it prints stays in memory."""


IDLE_COMMAND = "read -r t; exec flock -w $t /run/mlops-infra/batch.lock true"


def new_nonce() -> str:
    return secrets.token_hex(8)


def observe_deadline(probes: Iterable[Probe[Any]]) -> float:
    """Seconds that an observation may take: a base, and what its commands ask for; at most five minutes."""
    return min(300.0, 45.0 + sum(p.timeout for p in probes if isinstance(p, Command)))


@dataclass(frozen=True, slots=True)
class Look:
    """What a lock channel observes on its way: the same questions again, now that nobody else writes."""

    probes: frozenset[Probe[Any]]
    api: ApiEndpoint | None = None
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))


class Wire(Protocol):
    """What the engine says to a host; one call is one channel."""

    def observe(self, session: Session, probes: frozenset[Probe[Any]], api: ApiEndpoint | None) -> Facts: ...

    def send(self, session: Session, batch: Batch, on_line: Callable[[str], None] | None) -> BatchResult: ...

    def result(self, session: Session, batch: Batch) -> BatchResult: ...

    def mint(self, session: Session, wanted: Input) -> Mapping[str, Secret]: ...

    def wait_until_idle(self, session: Session, deadline: float) -> None: ...

    def look_script(self, look: Look) -> bytes: ...

    def read_look(self, host: str, look: Look, answer: bytes) -> Facts: ...


class ShWire:
    """The real one: generated POSIX sh on standard input."""

    def observe(self, session: Session, probes: frozenset[Probe[Any]], api: ApiEndpoint | None) -> Facts:
        """Raises TransportError (TruncatedAnswer among them)."""
        nonce = new_nonce()
        script = compile_observe(probes, nonce, api)
        reply = session.exchange(OBSERVE_COMMAND, script, deadline=observe_deadline(probes))
        if reply.rc != 0 and (error := explain(reply, session.name)) is not None:
            raise error
        return parse_answers(reply.stdout, probes, nonce)

    def send(self, session: Session, batch: Batch, on_line: Callable[[str], None] | None) -> BatchResult:
        reply = session.exchange(BATCH_COMMAND, compile_batch(batch), deadline=batch.total_deadline, on_line=on_line)
        if reply.rc != 0 and (error := explain(reply, session.name)) is not None:
            raise error
        return parse_batch(reply, batch)

    def result(self, session: Session, batch: Batch) -> BatchResult:
        """What became of a detached batch after a broken link: waits for it to end where it still runs."""
        reply = session.exchange(RESULT_COMMAND, compile_result_query(batch), deadline=batch.total_deadline)
        return parse_batch(reply, batch)

    def mint(self, session: Session, wanted: Input) -> Mapping[str, Secret]:
        """Raises InfraError when the host could not say."""
        reply = session.exchange(ASK_COMMAND, wanted.script.encode(), deadline=wanted.deadline)
        if reply.rc != 0:
            raise InfraError(
                f"{session.name} could not give what another host needs from it",
                host=session.name,
                details=reply.stderr,
                cause="A join needs a token and a certificate key from a running master.",
                remedy=f"Look at the API server on {session.name} (`mlops-infra status`), then run again.",
            )
        pairs = (line.partition("=") for line in reply.stdout.decode().splitlines() if "=" in line)
        return {name: Secret(value) for name, _, value in pairs}

    def wait_until_idle(self, session: Session, deadline: float) -> None:
        """Until the host's batch lock is free, or the time is over: then the next batch says who holds it."""
        session.exchange(IDLE_COMMAND, f"{int(deadline)}\n".encode(), deadline=deadline + 15)

    def look_script(self, look: Look) -> bytes:
        return compile_observe(look.probes, look.nonce, look.api)

    def read_look(self, host: str, look: Look, answer: bytes) -> Facts:
        return parse_answers(answer, look.probes, look.nonce)

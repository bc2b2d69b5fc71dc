"""Connections of a run, and observing: every host in its own thread, each asked once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mlops_infra.core import Emit, Event, EventKind, Facts, HostProblem, Probe, Unknown, https_url
from mlops_infra.engine.errors import LockedOut
from mlops_infra.engine.observation import ADMIN_KUBECONFIG, Observation, Questions, known
from mlops_infra.engine.observe import ApiEndpoint
from mlops_infra.engine.wire import Wire
from mlops_infra.errors import InfraError
from mlops_infra.transport import Session, Target, Transport
from mlops_infra.transport.errors import LinkLost, TransportError, TruncatedAnswer

__all__ = ["ApiClaim", "Connections", "Master", "in_threads", "observe_all", "problem_of", "split_answers"]

MAX_THREADS = 256
ASKED_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class Master:
    """A control-plane host in file order. `address` and `port` are where its own API server listens."""

    name: str
    address: str
    port: int = 6443

    @property
    def endpoint(self) -> ApiEndpoint:
        return ApiEndpoint(server=https_url(self.address, self.port))


def problem_of(error: InfraError, host: str) -> HostProblem:
    return HostProblem(
        host,
        error.brief,
        cause=error.cause or error.details,
        remedy=error.remedy,
        unreachable=isinstance(error, TransportError),
        kind=type(error).__name__,
    )


class Connections:
    """One session a host, made when first asked for. A host that failed is not tried again by the same run."""

    def __init__(self, transport: Transport, targets: Mapping[str, Target], emit: Emit) -> None:
        self._transport = transport
        self._targets = targets
        self._emit = emit
        self._sessions: dict[str, Session] = {}
        self._failed: dict[str, InfraError] = {}
        self._doors = {name: threading.RLock() for name in targets}
        self._guards = {name: threading.Lock() for name in targets}
        self._desks = {name: threading.BoundedSemaphore(ASKED_AT_ONCE) for name in targets}
        self._closed = False

    def guard(self, host: str) -> threading.Lock:
        """Held for as long as a batch lasts: a host works on one at a time."""
        return self._guards[host]

    def desk(self, host: str) -> threading.BoundedSemaphore:
        """Held while a host is asked beside its batch: sshd allows ten channels (MaxSessions), we take a few."""
        return self._desks[host]

    def session(self, host: str) -> Session:
        """Raises InfraError: the same one again, without another wait, where the host failed before."""
        with self._doors[host]:
            if self._closed:
                raise LinkLost("the run was stopped", host=host)
            if host in self._failed:
                raise self._failed[host]
            if host not in self._sessions:
                try:
                    self._sessions[host] = self._transport.connect(self._targets[host])
                except InfraError as error:
                    self._failed[host] = error
                    raise
                self._emit(Event(time.time(), EventKind.CONNECTED, host))
            return self._sessions[host]

    def again(self, host: str, *, attempts: int = 1, pause: float = 1.0) -> Session:
        """Replace a session whose link broke. Raises InfraError when that fails too; then the host is given up."""
        with self._doors[host]:
            if (old := self._sessions.pop(host, None)) is not None:
                old.close()
            for left in reversed(range(attempts)):
                try:
                    return self.session(host)
                except TransportError:
                    if left == 0 or self._closed:
                        raise
                    self._failed.pop(host, None)
                    time.sleep(pause)
            raise AssertionError("at least one attempt")

    def knock(self, host: str) -> None:
        """A new connection to the host, up to being logged in, and closed again; the run's own is left alone.

        Raises LockedOut where none is let in.
        """
        try:
            self._transport.connect(self._targets[host]).close()
        except TransportError as error:
            raise LockedOut(
                "no new connection is let in any more",
                host=host,
                details=f"{error.brief} {error.details}".strip(),
                cause="What this run did to the host's network keeps connections out.",
                remedy="Wait half a minute: the host takes it back by itself. Then: mlops-infra plan",
            ) from error

    @property
    def channels(self) -> int:
        """Channels opened on the sessions that are there now."""
        return sum(s.channels for s in self._sessions.values())

    def close(self) -> None:
        """Close every socket. Exchanges in flight end with LinkLost."""
        self._closed = True
        for session in list(self._sessions.values()):
            session.close()


class ApiClaim:
    """Who is asked about the API: the first master that comes; if it cannot answer, the others, all at once."""

    def __init__(self, masters: Iterable[Master], probes: frozenset[Probe[Any]]) -> None:
        self._masters = {m.name: m for m in masters}
        self._probes = probes
        self._lock = threading.Lock()
        self._first = ""
        self.host: str | None = None
        self.facts = Facts({p: Unknown("no API server answers") for p in probes})

    def take(self, host: str) -> Master | None:
        """The right to ask, for a master that may; None for everybody else."""
        with self._lock:
            if self._first or not self._probes or host not in self._masters:
                return None
            self._first = host
            return self._masters[host]

    def others(self) -> tuple[Master, ...]:
        """Who may be asked when the first could not answer: empty where one did, or where there is nothing to ask."""
        with self._lock:
            if self.host is not None or not self._probes:
                return ()
            return tuple(m for name, m in self._masters.items() if name != self._first)

    def settle(self, host: str, facts: Facts | None) -> None:
        """The claimant's answers; None where it was lost."""
        with self._lock:
            if self.host is None and facts is not None and known(facts, self._probes):
                self.host = host
                self.facts = Facts({p: facts.answer(p) for p in self._probes})


def split_answers(facts: Facts, probes: frozenset[Probe[Any]]) -> Facts:
    return Facts({p: a for p, a in facts.items() if p in probes})


def observe_all(
    connections: Connections, wire: Wire, asked: Questions, masters: Iterable[Master], emit: Emit
) -> Observation:
    """Connect to and ask every host at once; one channel each. Failures become problems, never exceptions."""
    claim = ApiClaim(masters, asked.api)
    facts: dict[str, Facts] = {}
    problems: dict[str, HostProblem] = {}

    def look(host: str) -> None:
        try:
            facts[host] = _observe_host(connections, wire, host, asked.hosts[host], claim)
            emit(Event(time.time(), EventKind.OBSERVED, host))
        except InfraError as error:
            problems[host] = problem_of(error, host)
            emit(Event(time.time(), EventKind.HOST_FAILED, host, text=error.brief))

    in_threads(look, asked.hosts)
    _ask_the_others(connections, wire, claim, facts, asked.api)
    return Observation(
        {h: facts[h] for h in asked.hosts if h in facts},
        claim.facts,
        claim.host,
        tuple(problems[h] for h in asked.hosts if h in problems),
    )


def in_threads(work: Callable[[str], None], hosts: Iterable[str]) -> None:
    """One thread a host. The first exception is raised when all have ended."""
    names = list(hosts)
    if names:
        with ThreadPoolExecutor(min(MAX_THREADS, len(names)), thread_name_prefix="host") as pool:
            for future in [pool.submit(work, name) for name in names]:
                future.result()


def _observe_host(
    connections: Connections, wire: Wire, host: str, probes: frozenset[Probe[Any]], claim: ApiClaim
) -> Facts:
    session = connections.session(host)
    master = claim.take(host)
    api = master.endpoint if master else None
    everything = frozenset(probes | claim.facts.keys()) if master else probes
    try:
        try:
            found = wire.observe(session, everything, api)
        except (LinkLost, TruncatedAnswer):
            # A look changes nothing, so a broken link is mended once.
            found = wire.observe(connections.again(host), everything, api)
    except InfraError:
        if master:
            claim.settle(host, None)
        raise
    if master:
        claim.settle(host, found)
    return split_answers(found, probes)


def _ask_the_others(
    connections: Connections, wire: Wire, claim: ApiClaim, facts: Mapping[str, Facts], probes: frozenset[Probe[Any]]
) -> None:
    """The API server of the first master was silent: ask all others that have a kubeconfig, once."""
    masters = {m.name: m for m in claim.others() if facts.get(m.name, Facts()).value(ADMIN_KUBECONFIG) is not None}

    def ask(host: str) -> None:
        try:
            claim.settle(host, wire.observe(connections.session(host), probes, masters[host].endpoint))
        except InfraError:
            claim.settle(host, None)

    in_threads(ask, masters)

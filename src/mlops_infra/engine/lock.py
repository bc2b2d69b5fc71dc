"""The run lock: one writer at a time, on a majority of the masters, dead as soon as the run is (architecture.md 3)."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlops_infra.core import Facts
from mlops_infra.engine.connect import Connections, in_threads
from mlops_infra.engine.errors import LockBusy, NoMajority
from mlops_infra.engine.observe import OBSERVE_COMMAND
from mlops_infra.engine.wire import Look, Wire, observe_deadline
from mlops_infra.errors import InfraError
from mlops_infra.transport.errors import TimedOut, TransportError
from mlops_infra.transport.session import Held

__all__ = ["HOLD_COMMAND", "Holder", "RunLock", "compile_holder", "this_holder"]

LOCK_DIRECTORY = "/run/mlops-infra"
HEARTBEAT = 10.0
SILENCE = 30
"""Seconds without a heartbeat after which a holder lets go: stock sshd keeps a vanished peer for two hours."""
ANSWER = 20.0
_SAID = "mlops-infra-lock"

HOLD_COMMAND = 'umask 077; read -r n m; s=$(head -c "$n"); eval "$s"'
"""Reads how long the holder's script and the observe script are, then the first, and becomes it.

Not `sh -s`: a shell may read its script ahead from a pipe, and would swallow what follows.
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, from where, since when, in words without line breaks."""

    who: str
    origin: str
    since: str
    run_id: str

    def line(self) -> str:
        said = f"{self.who} on {self.origin} since {self.since} (run {self.run_id})"
        return "".join(c if c.isprintable() else "?" for c in said)


def this_holder(run_id: str) -> Holder:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    try:
        who = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        who = f"uid {os.getuid()}"
    return Holder(who, f"{socket.gethostname()} pid {os.getpid()}", since, run_id)


def compile_holder(holder: Holder, observe: bytes, *, directory: str = LOCK_DIRECTORY, silence: int = SILENCE) -> bytes:
    """What is written to HOLD_COMMAND: take the lock, say so, observe, then live as long as heartbeats come.

    Descriptor 9 is closed for every child, so that the lock goes with the shell itself.
    """
    lock = shlex.quote(f"{directory}/run.lock")
    script = f"""
mkdir -p {shlex.quote(directory)} || {{ echo "{_SAID} failed"; exit 73; }}
exec 9>>{lock}
if ! flock -n 9; then
    printf '{_SAID} busy '; head -n 1 {lock}; echo
    exit 75
fi
printf '%s\\n' {shlex.quote(holder.line())} >{lock}
echo "{_SAID} held"
if [ "$m" -gt 0 ]; then head -c "$m" | ( {OBSERVE_COMMAND} ) 2>/dev/null 9>&-; fi
echo; echo "{_SAID} observed"
while timeout {silence} sh -c 'IFS= read -r beat' 9>&-; do :; done
: >{lock}
""".encode()
    return f"{len(script)} {len(observe)}\n".encode() + script + observe


class RunLock:
    """Holds the lock on several hosts through channels that stay open; `lost` is called once the majority is gone."""

    def __init__(
        self,
        connections: Connections,
        wire: Wire,
        holder: Holder,
        lost: Callable[[str], None],
        *,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._connections = connections
        self._wire = wire
        self._heartbeat = heartbeat
        self._holder = holder
        self._lost = lost
        self._held: dict[str, Held] = {}
        self._needed = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(self._held)

    def acquire(self, hosts: Sequence[str], *, of: int, looks: Mapping[str, Look]) -> Mapping[str, Facts]:
        """Lock `hosts`; a majority of `of` must be had. Returns what each observed once locked.

        The first that answers, in this order, decides between two runs; the others are locked together. Raises
        LockBusy where another run holds one of them, NoMajority where too few can be locked; nothing is held then.
        """
        self._needed = of // 2 + 1
        failed: dict[str, TransportError] = {}
        facts: dict[str, Facts] = {}

        def take(host: str) -> None:
            try:
                self._take(host, looks.get(host))
            except TransportError as error:
                failed[host] = error

        def look(host: str) -> None:
            try:
                facts[host] = self._read_look(host, looks[host])
            except TransportError as error:
                failed[host] = error
                self._held.pop(host).close()

        try:
            rest = iter(hosts)
            while not self._held and (first := next(rest, None)) is not None:
                take(first)
            in_threads(take, rest)
            self._check_majority(of, failed)
            in_threads(look, [h for h in hosts if h in self._held and h in looks])
            self._check_majority(of, failed)
        except BaseException:
            self.release()
            raise
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        return facts

    def release(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        for held in self._held.values():
            held.close()
        self._held.clear()

    # ------------------------------------------------------------------------------------------------------------

    def _take(self, host: str, look: Look | None) -> None:
        observe = self._wire.look_script(look) if look else b""
        held = self._connections.session(host).hold(HOLD_COMMAND, compile_holder(self._holder, observe))
        said = held.line(ANSWER)
        if said == f"{_SAID} held":
            self._held[host] = held
            return
        held.close()
        if said is not None and said.startswith(f"{_SAID} busy"):
            raise self._busy(host, said.removeprefix(f"{_SAID} busy").strip())
        raise TimedOut(
            f"{host} did not answer when asked for the run lock",
            host=host,
            details=said or "",
            cause="The host is very slow, or /run cannot be written to.",
            remedy=f"mlops-infra hosts exec --limit {host} -- ls -ld {LOCK_DIRECTORY}",
        )

    def _busy(self, host: str, who: str) -> LockBusy:
        return LockBusy(
            f"Another run is at work: {who or 'it did not say whose'}",
            host=host,
            cause="Only one run may write to a platform at a time; the lock goes when that run ends or its link dies.",
            remedy=f"Wait for it and run again. A dead run's lock is gone after {SILENCE} s.",
        )

    def _check_majority(self, of: int, failed: Mapping[str, InfraError]) -> None:
        if len(self._held) < self._needed:
            said = "; ".join(f"{host}: {error.brief}" for host, error in failed.items())
            raise NoMajority(
                f"Only {len(self._held)} of {of} hosts could be locked, {self._needed} are needed",
                details=said,
                cause="Without a majority nobody can say that no other run is writing.",
                remedy="Bring the missing masters back (`mlops-infra hosts ping`), then run again.",
            )

    def _read_look(self, host: str, look: Look) -> Facts:
        held, lines = self._held[host], []
        until = time.monotonic() + observe_deadline(look.probes)
        while (said := held.line(max(0.0, until - time.monotonic()))) != f"{_SAID} observed":
            if said is None:
                raise TimedOut(
                    f"{host} did not answer in time", host=host, remedy="Run again; `mlops-infra hosts ping` says more."
                )
            lines.append(said)
        if lines and not lines[-1]:
            lines.pop()
        answer = "".join(f"{line}\n" for line in lines)
        return self._wire.read_look(host, look, answer.encode("utf-8", "surrogateescape"))

    def _beat(self) -> None:
        while not self._stop.wait(self._heartbeat):
            for host, held in list(self._held.items()):
                try:
                    alive = held.alive()
                    if alive:
                        held.send(b"\n")
                except TransportError:
                    alive = False
                if not alive:
                    self._held.pop(host)
                    held.close()
            if len(self._held) < self._needed:
                self._lost(f"the run lock is held on {len(self._held)} hosts only, {self._needed} are needed")
                return

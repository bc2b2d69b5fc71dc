"""The run lock over real connections: it comes with what was observed, and goes with the link."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_infra.core import Stat, StatFact, System
from mlops_infra.engine.lock import HOLD_COMMAND, Holder, compile_holder
from mlops_infra.engine.observe import compile_observe
from mlops_infra.engine.parse import parse_answers
from mlops_infra.transport.session import Held
from mlops_infra.transport.ssh import SshSession

from .conftest import Site

NONCE = "0123456789abcdef"
ADA = Holder("ada", "desk7", "today", "r1")
HELD = "mlops-infra-lock held"


@pytest.fixture
def session(site: Site) -> Iterator[SshSession]:
    made = site.transport().connect(site.target)
    yield made
    made.close()


def hold(session: SshSession, directory: Path, observe: bytes = b"", silence: int = 30) -> Held:
    return session.hold(HOLD_COMMAND, compile_holder(ADA, observe, directory=str(directory), silence=silence))


def test_lock_and_look_share_one_channel_and_heartbeats_follow(session: SshSession, tmp_path: Path) -> None:
    probes = frozenset({Stat("/etc/passwd"), System()})
    held = hold(session, tmp_path, compile_observe(probes, NONCE), silence=2)
    assert held.line(10) == HELD
    lines = []
    while (said := held.line(10)) != "mlops-infra-lock observed":
        assert said is not None
        lines.append(said)
    assert lines.pop() == ""
    facts = parse_answers("".join(f"{line}\n" for line in lines).encode(), probes, NONCE)
    assert isinstance(facts.value(Stat("/etc/passwd")), StatFact)
    for _ in range(6):
        time.sleep(0.5)
        held.send(b"\n")
    assert held.alive() and session.channels == 1
    held.close()


def test_a_batch_runs_beside_the_lock_on_the_same_connection(session: SshSession, tmp_path: Path) -> None:
    held = hold(session, tmp_path)
    assert held.line(10) == HELD
    assert session.exchange("sh -s", b"echo beside", deadline=10).stdout == b"beside\n"
    assert held.alive()
    held.close()


def test_a_closed_connection_frees_the_lock_at_once(site: Site, session: SshSession, tmp_path: Path) -> None:
    held = hold(session, tmp_path)
    assert held.line(10) == HELD
    other = site.transport().connect(site.target)
    rival = hold(other, tmp_path)
    assert rival.line(10) == "mlops-infra-lock busy ada on desk7 since today (run r1)"
    session.close()
    until = time.monotonic() + 5
    said = None
    while said != HELD and time.monotonic() < until:
        time.sleep(0.1)
        rival = hold(other, tmp_path)
        said = rival.line(10)
    assert said == HELD
    rival.close()
    other.close()


def test_silence_frees_the_lock_although_the_connection_lives(session: SshSession, tmp_path: Path) -> None:
    held = hold(session, tmp_path, silence=1)
    assert held.line(10) == HELD
    until = time.monotonic() + 5
    while held.alive() and time.monotonic() < until:
        time.sleep(0.1)
    assert not held.alive()

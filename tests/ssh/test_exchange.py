"""One exchange over one channel, with a real sshd at the other end."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from mlops_infra.core import Stat, StatFact, System
from mlops_infra.engine.observe import OBSERVE_COMMAND, compile_observe
from mlops_infra.engine.parse import parse_answers
from mlops_infra.transport.errors import LinkLost, MissingTool, NoSpace, TimedOut, TruncatedAnswer, explain
from mlops_infra.transport.ssh import SshSession

from .conftest import Site

TEN = 10 * 1024 * 1024


@pytest.fixture
def session(site: Site) -> SshSession:
    return site.transport().connect(site.target)


def test_a_reply_has_status_stdout_and_stderr(session: SshSession) -> None:
    reply = session.exchange("sh -s", b"echo out; echo err >&2; exit 3", deadline=10)
    assert (reply.rc, reply.stdout, reply.stderr) == (3, b"out\n", "err\n")


def test_an_exchange_is_one_channel(session: SshSession) -> None:
    for _ in range(3):
        session.exchange("true", b"", deadline=10)
    assert session.channels == 3


def test_ten_megabytes_go_both_ways_at_once(session: SshSession) -> None:
    data = os.urandom(TEN)
    assert session.exchange("cat", data, deadline=30).stdout == data


def test_a_sink_takes_what_is_too_large_to_hold(session: SshSession) -> None:
    seen: list[bytes] = []
    reply = session.exchange("head -c 10485760 /dev/zero; exit 4", b"", deadline=30, sink=seen.append)
    assert (reply.rc, reply.stdout) == (4, b"")
    assert len(seen) > 1
    assert sum(len(piece) for piece in seen) == TEN


def test_what_a_sink_raises_ends_the_exchange(session: SshSession) -> None:
    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        session.exchange("yes", b"", deadline=30, sink=full)


def test_a_flood_on_stderr_neither_blocks_nor_fills_the_memory(session: SshSession) -> None:
    reply = session.exchange("sh -s", b"yes noise | head -c 30000000 >&2; echo done", deadline=30)
    assert reply.stdout == b"done\n"
    assert len(reply.stderr) < 200_000
    assert "bytes left out" in reply.stderr


def test_a_command_that_ignores_its_input_does_not_block_us(session: SshSession) -> None:
    assert session.exchange("sh -c 'echo early; exit 7'", b"x" * TEN, deadline=30).rc == 7


def test_lines_are_given_as_they_come(session: SshSession) -> None:
    seen: list[tuple[str, float]] = []
    session.exchange(
        "sh -s",
        b"echo one; sleep 0.5; echo two; printf three",
        deadline=10,
        on_line=lambda line: seen.append((line, time.monotonic())),
    )
    assert [line for line, _ in seen] == ["one", "two", "three"]
    assert seen[1][1] - seen[0][1] > 0.3


def test_a_deadline_ends_the_command_on_the_host_too(session: SshSession, tmp_path: Path) -> None:
    started = time.monotonic()
    mark = tmp_path / "still-alive"
    with pytest.raises(TimedOut, match="did not finish within 1 s") as caught:
        session.exchange("sh -s", f"echo hello >&2; sleep 3; touch {mark}".encode(), deadline=1)
    assert time.monotonic() - started < 3.5
    assert "hello" in caught.value.details
    time.sleep(max(0.0, 3.6 - (time.monotonic() - started)))
    assert not mark.exists()
    assert session.exchange("echo after", b"", deadline=5).stdout == b"after\n"


def test_a_daemon_that_holds_stdout_open_does_not_hold_us(session: SshSession) -> None:
    started = time.monotonic()
    reply = session.exchange("sh -s", b"sleep 20 & echo left", deadline=15)
    assert reply.stdout == b"left\n"
    assert time.monotonic() - started < 5


def test_a_peer_that_dies_in_the_middle_is_a_lost_link(site: Site, session: SshSession) -> None:
    killer = threading.Timer(0.5, site.daemon.kill_sessions)
    killer.start()
    started = time.monotonic()
    with pytest.raises(LinkLost, match="broke"):
        session.exchange("sh -s", b"echo begun; sleep 20", deadline=30)
    assert time.monotonic() - started < 5
    killer.join()
    with pytest.raises(LinkLost):
        session.exchange("true", b"", deadline=5)


def test_a_command_that_dies_of_a_signal_is_a_reply(session: SshSession) -> None:
    assert session.exchange("sh -c 'kill -9 $$'", b"", deadline=5).rc in (137, 255)


def test_an_answer_cut_short_on_the_host_is_a_fault_of_the_way(session: SshSession) -> None:
    probes = [System(), Stat("/etc")]
    script = compile_observe(probes, "abcdef123456").replace(b'held="${held}END', b'flush; exit 0; held="${held}END')
    reply = session.exchange(OBSERVE_COMMAND, script, deadline=10)
    with pytest.raises(TruncatedAnswer):
        parse_answers(reply.stdout, probes, "abcdef123456")


def test_a_host_is_observed_in_one_channel(session: SshSession) -> None:
    probes = [System(), Stat("/etc")]
    reply = session.exchange(OBSERVE_COMMAND, compile_observe(probes, "abcdef123456"), deadline=10)
    facts = parse_answers(reply.stdout, probes, "abcdef123456")
    assert session.channels == 1
    etc = facts.value(Stat("/etc"))
    assert isinstance(etc, StatFact)
    assert etc.kind == "directory"


def test_a_full_disk_is_named(session: SshSession) -> None:
    reply = session.exchange("sh -s", b"cat /etc/passwd > /dev/full", deadline=5)
    problem = explain(reply, "h1")
    assert isinstance(problem, NoSpace)
    assert "df -h" in problem.remedy


def test_a_missing_tool_is_named(session: SshSession) -> None:
    problem = explain(session.exchange("no-such-tool", b"", deadline=5), "h1")
    assert isinstance(problem, MissingTool)
    assert "no-such-tool" in problem.brief


def test_what_the_login_shell_prints_first_is_not_part_of_the_answer(site: Site, tmp_path: Path) -> None:
    site.daemon.stop()
    lines = site.daemon.lines
    try:
        site.daemon.lines = (*lines, 'ForceCommand echo Welcome; echo noise >&2; eval "$SSH_ORIGINAL_COMMAND"')
        site.daemon.start()
        session = site.transport().connect(site.target)
        assert session.exchange("echo answer", b"", deadline=10).stdout == b"answer\n"
    finally:
        site.daemon.stop()
        site.daemon.lines = lines
        site.daemon.start()


def test_a_held_channel_lives_beside_exchanges_and_ends_when_closed(session: SshSession, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    held = session.hold(f"sh -c 'echo locked; while read x; do echo got $x; done; touch {ended}'", b"")
    assert held.line(5) == "locked"
    assert session.exchange("echo beside", b"", deadline=5).stdout == b"beside\n"
    held.send(b"beat\n")
    assert held.line(5) == "got beat"
    assert held.line(0.2) is None
    assert held.alive()
    held.close()
    for _ in range(50):
        if ended.exists():
            break
        time.sleep(0.1)
    assert ended.exists()
    assert session.channels == 2


def test_a_held_channel_tells_that_its_host_died(site: Site, session: SshSession) -> None:
    held = session.hold("sh -c 'echo locked; cat'", b"")
    assert held.line(5) == "locked"
    site.daemon.kill_sessions()
    for _ in range(50):
        if not held.alive():
            break
        time.sleep(0.1)
    assert not held.alive()
    assert list(held.lines()) == []
    with pytest.raises(LinkLost):
        held.send(b"x")

"""The lock holder's real sh, on directories of the test, and the bookkeeping of a majority."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.engine.connect import Connections
from mlops_infra.engine.lock import HOLD_COMMAND, Holder, RunLock, compile_holder
from mlops_infra.testing.platform import FakePlatform, FakeWire

ADA = Holder("ada", "desk7 pid 12", "2026-01-01 10:00:00 UTC", "r1")
BOB = Holder("bob", "desk8 pid 13", "2026-01-01 10:00:01 UTC", "r2")


class Shell:
    """The holder as sshd would start it, in a shell of choice."""

    def __init__(self, shell: str, payload: bytes) -> None:
        argv = [*shell.split(), "-c", HOLD_COMMAND]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdin and self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.stdin.write(payload)
        self.stdin.flush()

    def line(self) -> str:
        return self.stdout.readline().decode().rstrip("\n")

    def close(self) -> None:
        if not self.stdin.closed:
            self.stdin.close()
        self.process.wait(10)
        self.stdout.close()
        assert self.process.stderr
        self.process.stderr.close()


def available() -> list[str]:
    found = [s for s in ("dash", "bash") if any(Path(p, s).exists() for p in os.environ["PATH"].split(":"))]
    return found or ["sh"]


@pytest.fixture(params=available())
def start(request: Any, tmp_path: Path) -> Iterator[Any]:
    started: list[Shell] = []

    def begin(holder: Holder, observe: bytes = b"", silence: int = 30) -> Shell:
        shell = Shell(request.param, compile_holder(holder, observe, directory=str(tmp_path / "run"), silence=silence))
        started.append(shell)
        return shell

    yield begin
    for shell in started:
        shell.close()


def test_the_second_holder_is_told_who_the_first_is_and_goes_away(start: Any) -> None:
    first = start(ADA)
    assert first.line() == "mlops-infra-lock held"
    second = start(BOB)
    assert second.line() == "mlops-infra-lock busy ada on desk7 pid 12 since 2026-01-01 10:00:00 UTC (run r1)"
    assert second.process.wait(5) == 75


def test_the_lock_goes_with_the_channel_and_leaves_no_name_behind(start: Any, tmp_path: Path) -> None:
    first = start(ADA)
    assert first.line() == "mlops-infra-lock held"
    first.close()
    assert (tmp_path / "run" / "run.lock").read_text() == ""
    assert start(BOB).line() == "mlops-infra-lock held"


def test_a_holder_that_hears_nothing_lets_go_and_one_that_is_spoken_to_stays(start: Any) -> None:
    silent = start(ADA, silence=1)
    assert silent.line() == "mlops-infra-lock held"
    began = time.monotonic()
    silent.process.wait(5)
    assert time.monotonic() - began < 4
    heard = start(BOB, silence=1)
    assert heard.line() == "mlops-infra-lock held"
    for _ in range(6):
        time.sleep(0.3)
        heard.stdin.write(b"\n")
        heard.stdin.flush()
    assert heard.process.poll() is None


def test_the_lock_does_not_outlive_a_holder_that_is_killed(start: Any) -> None:
    first = start(ADA)
    assert first.line() == "mlops-infra-lock held"
    first.process.kill()
    first.process.wait(5)
    assert start(BOB).line() == "mlops-infra-lock held"


def test_what_is_observed_comes_through_the_same_channel_after_the_lock_was_taken(start: Any) -> None:
    observe = b"cat <<'X'\none answer\nX\nexit 3\n" + b"# filler\n" * 5000
    shell = start(ADA, observe)
    assert [shell.line() for _ in range(2)] == ["mlops-infra-lock held", "one answer"]
    assert [shell.line() for _ in range(2)] == ["", "mlops-infra-lock observed"]
    shell.stdin.write(b"\n")
    shell.stdin.flush()
    assert shell.process.poll() is None


def test_a_name_with_line_breaks_and_quotes_cannot_break_out_of_the_script(start: Any, tmp_path: Path) -> None:
    evil = Holder("o'neil\n$(touch /x)", "`id`", "now", "r")
    assert start(evil).line() == "mlops-infra-lock held"
    said = (tmp_path / "run" / "run.lock").read_text()
    assert said == "o'neil?$(touch /x) on `id` since now (run r)\n"


def _lock(platform: FakePlatform, lost: Any, beat: float) -> RunLock:
    connections = Connections(platform, platform.targets(), lambda event: None)
    return RunLock(connections, FakeWire(platform), ADA, lost, heartbeat=beat)


def test_losing_the_majority_is_told_once_and_losing_a_minority_is_not() -> None:
    platform = FakePlatform("m1", "m2", "m3")
    told: list[str] = []
    gone = threading.Event()

    def lost(why: str) -> None:
        told.append(why)
        gone.set()

    lock = _lock(platform, lost, 0.01)
    lock.acquire(["m1", "m2", "m3"], of=3, looks={})
    platform.hosts["m1"].down = True
    time.sleep(0.1)
    assert not told and set(lock.hosts) == {"m2", "m3"}
    platform.hosts["m2"].down = True
    assert gone.wait(5)
    lock.release()
    assert told == ["the run lock is held on 1 hosts only, 2 are needed"]


def test_every_held_channel_hears_a_heartbeat() -> None:
    platform = FakePlatform("m1", "m2")
    lock = _lock(platform, lambda why: None, 0.01)
    lock.acquire(["m1", "m2"], of=2, looks={})
    time.sleep(0.1)
    lock.release()
    assert all(held.beats >= 2 for held in platform.helds)
    assert not any(held.open for held in platform.helds)

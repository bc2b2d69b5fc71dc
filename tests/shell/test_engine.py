"""The engine and its generated sh together: three sandboxed hosts, real locks, real batches, a detached operation."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox import Sandbox, needs_root

from mlops_infra.core import (
    Facts,
    Handler,
    Input,
    Inputs,
    Operation,
    OperationState,
    Outcome,
    Phase,
    Probe,
    Script,
    Standing,
    Stat,
    Step,
    StepId,
)
from mlops_infra.engine.connect import Master
from mlops_infra.engine.errors import LockBusy
from mlops_infra.engine.run import Engine, Settings
from mlops_infra.errors import ExitCode
from mlops_infra.resources import Directory, File, GuardedCommand
from mlops_infra.transport import Reply, Target
from mlops_infra.transport.errors import LinkLost

pytestmark = needs_root

HOSTS = ("m1", "w1")


class BoxHeld:
    """A channel that stays open to a sandbox."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes) -> None:
        self.process = process
        self.send(stdin)

    def line(self, timeout: float) -> str | None:
        del timeout
        assert self.process.stdout is not None
        said = self.process.stdout.readline().decode()
        return said.rstrip("\n") if said else None

    def lines(self) -> Iterator[str]:
        while (said := self.line(0)) is not None:
            yield said

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.process.wait(10)


class BoxSession:
    def __init__(self, transport: BoxTransport, name: str) -> None:
        self.transport, self.name, self.channels = transport, name, 0

    def exchange(
        self, command: str, stdin: bytes, *, deadline: float, on_line: Callable[[str], None] | None = None
    ) -> Reply:
        del deadline
        self._count(command)
        if self.transport.cut.get(self.name) and "mktemp" in command:
            return self._cut_off(command, stdin)
        reply = self.transport.boxes[self.name].exchange(command, stdin)
        for line in reply.stdout.decode("utf-8", "replace").splitlines() if on_line else ():
            on_line(line)  # type: ignore[misc]
        return reply

    def hold(self, command: str, stdin: bytes) -> BoxHeld:
        self._count(command)
        return BoxHeld(self.transport.boxes[self.name].start(command), stdin)

    def close(self) -> None:
        """Nothing is kept open."""

    def _count(self, command: str) -> None:
        self.channels += 1
        self.transport.channels[self.name] += 1

    def _cut_off(self, command: str, stdin: bytes) -> Reply:
        """The peer is gone while the batch is at work: it goes on there."""
        self.transport.cut[self.name] -= 1
        process = self.transport.boxes[self.name].start(command)
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(stdin)
        process.stdin.close()
        time.sleep(0.5)
        process.stdout.close()
        process.stderr.close()
        threading.Thread(target=process.wait, daemon=True).start()
        raise LinkLost("cut", host=self.name)


class BoxTransport:
    def __init__(self) -> None:
        self.boxes = {name: Sandbox("dash") for name in HOSTS}
        self.channels = dict.fromkeys(HOSTS, 0)
        self.cut: dict[str, int] = {}

    def connect(self, target: Target) -> BoxSession:
        return BoxSession(self, target.name)

    def close(self) -> None:
        for box in self.boxes.values():
            box.close()


@pytest.fixture
def transport() -> Iterator[BoxTransport]:
    made = BoxTransport()
    yield made
    made.close()


def join(seconds: float = 0) -> Operation:
    done = Stat("/var/lib/joined")

    def standing(facts: Facts) -> Standing:
        there = facts.value(done) is not None
        return Standing(OperationState.DONE if there else OperationState.PENDING, "" if there else "not joined")

    def script(inputs: Inputs) -> Script:
        # Counts its runs and fails without its input, which is a secret and comes by no command line.
        return Script(
            f"sleep {seconds}\necho ran >>/var/lib/join.runs\n[ '{inputs['token'].reveal()}' = s3cret-t0ken ]\n"
            "echo joining\n: >/var/lib/joined\n"
        )

    probes: frozenset[Probe[Any]] = frozenset({done})
    return Operation("join", "join w1", probes, standing, script, (Input("m1", "echo token=s3cret-t0ken"),))


def platform(seconds: float = 0) -> tuple[Phase, ...]:
    base = tuple(
        Step("base", h, (Directory("/etc/demo"), File("/etc/demo/one", f"hello {h}\n", mode=0o640))) for h in HOSTS
    )
    joining = Step("join", "w1", (), (join(seconds),), needs=frozenset({StepId("base", "m1"), StepId("base", "w1")}))
    return Phase("base", "base", base), Phase("join", "join", (joining,))


def engine(transport: BoxTransport, runs: Path, phases: tuple[Phase, ...], **more: Any) -> Engine:
    targets = {name: Target(name, "192.0.2.1") for name in HOSTS}
    settings = Settings("demo", (Master("m1", "192.0.2.1"),), runs)
    return Engine(transport, targets, phases, settings, **more)


def test_a_platform_is_built_and_the_second_run_finds_nothing_to_do(transport: BoxTransport, tmp_path: Path) -> None:
    with engine(transport, tmp_path, platform()) as first:
        plan = first.plan()
        result = first.apply(expected=plan.digest())
    assert result.exit_code is ExitCode.DONE, result.failed
    assert {r.outcome for r in result.results} == {Outcome.CHANGED}
    assert transport.boxes["w1"].run("cat /etc/demo/one; stat -c %a /etc/demo/one") == "hello w1\n640\n"
    said = json.loads(transport.boxes["w1"].run("cat /var/lib/mlops-infra/manifest.json"))
    assert said["last_run"] == result.run_id and "file:/etc/demo/one" in said["owned"]
    for file in result.directory.iterdir():
        assert "s3cret" not in file.read_text()
    assert "joining" in (result.directory / "output.log").read_text()

    before = dict(transport.channels)
    with engine(transport, tmp_path, platform()) as second:
        assert second.plan().is_empty
        assert not second.apply().changed
    assert {h: n - before[h] for h, n in transport.channels.items()} == dict.fromkeys(HOSTS, 1)


def test_drift_by_hand_is_shown_and_mended(transport: BoxTransport, tmp_path: Path) -> None:
    with engine(transport, tmp_path, platform()) as first:
        assert first.apply().exit_code is ExitCode.DONE
    transport.boxes["m1"].run("echo tampered >/etc/demo/one")
    with engine(transport, tmp_path, platform()) as second:
        (step,) = second.plan().steps
        assert step.id == StepId("base", "m1")
        assert "-tampered" in step.changes[0].diff and "+hello m1" in step.changes[0].diff
        assert second.apply().exit_code is ExitCode.DONE
    assert transport.boxes["m1"].run("cat /etc/demo/one") == "hello m1\n"


def test_an_operation_goes_on_when_the_link_breaks_and_is_run_once(transport: BoxTransport, tmp_path: Path) -> None:
    with engine(transport, tmp_path, platform()[:1]) as first:
        assert first.apply().exit_code is ExitCode.DONE
    transport.cut = {"w1": 1}
    with engine(transport, tmp_path, platform(seconds=1.5)) as second:
        result = second.apply()
    assert result.exit_code is ExitCode.DONE, result.failed
    assert transport.boxes["w1"].run("cat /var/lib/join.runs") == "ran\n"


def test_a_batch_whose_link_breaks_is_waited_for_and_proved(transport: BoxTransport, tmp_path: Path) -> None:
    transport.cut = {"m1": 1, "w1": 1}
    with engine(transport, tmp_path, platform()[:1]) as run:
        result = run.apply()
    assert result.exit_code is ExitCode.DONE, result.failed


def test_two_runs_at_once_the_second_says_who_holds_the_lock(transport: BoxTransport, tmp_path: Path) -> None:
    errors: list[LockBusy] = []
    with engine(transport, tmp_path / "a", platform()[:1]) as first:
        assert first.apply().exit_code is ExitCode.DONE

    def rival() -> None:
        with engine(transport, tmp_path / "b", platform(seconds=1)) as second:
            try:
                second.apply()
            except LockBusy as error:
                errors.append(error)

    with engine(transport, tmp_path / "a", platform(seconds=1.5)) as first:
        thread = threading.Thread(target=rival)
        threading.Timer(0.7, thread.start).start()
        assert first.apply().exit_code is ExitCode.DONE
        thread.join(10)
    assert errors and " since " in errors[0].brief and "pid" in errors[0].brief
    assert transport.boxes["w1"].run("cat /var/lib/join.runs") == "ran\n"


def test_a_restart_that_a_failed_batch_put_off_is_done_by_the_next_run(transport: BoxTransport, tmp_path: Path) -> None:
    note = Handler("note", "echo reloaded >>/var/lib/notes\n")

    def phases(wall: str) -> tuple[Phase, ...]:
        noted = File("/etc/noted", "x\n", notifies=(note,))
        broken = GuardedCommand("wall", "test -e /var/lib/wall", wall)
        return (Phase("base", "base", (Step("base", "m1", (noted, broken)), Step("base", "w1"))),)

    with engine(transport, tmp_path, phases("exit 9")) as first:
        assert first.apply().exit_code is ExitCode.PARTLY
    transport.boxes["m1"].run("[ ! -e /var/lib/notes ]")
    with engine(transport, tmp_path, phases(": >/var/lib/wall")) as second:
        assert "pending-handlers" in {c.resource for s in second.plan().steps for c in s.changes}
        assert second.apply().exit_code is ExitCode.DONE
    assert transport.boxes["m1"].run("cat /var/lib/notes") == "reloaded\n"

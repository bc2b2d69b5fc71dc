"""The command line as a whole: table, common options, exit codes, errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer

from mlops_infra.cli import main as cli
from mlops_infra.cli.options import Options, options_of
from mlops_infra.errors import ConfigError, ExitCode, InfraError


class Probe:
    """A command module that stands in for `status` and for the group `lb`, and records what it was called with."""

    def __init__(self) -> None:
        self.seen: list[Options] = []
        self.error: BaseException | None = None
        self.answer: int | None = None
        self.status = ModuleType("mlops_infra.cli.status")
        self.status.app = typer.Typer()  # type: ignore[attr-defined]
        self.group = ModuleType("mlops_infra.cli.lb")
        self.group.app = typer.Typer(help="Balancers.")  # type: ignore[attr-defined]

        @self.status.app.command()  # type: ignore[untyped-decorator]
        def status(ctx: typer.Context, word: str = typer.Argument("")) -> int | None:
            """Shows it."""
            return self._called(ctx)

        @self.group.app.command("apply")  # type: ignore[untyped-decorator]
        def apply(ctx: typer.Context) -> int | None:
            """Applies it."""
            return self._called(ctx)

    def _called(self, ctx: typer.Context) -> int | None:
        self.seen.append(options_of(ctx))
        if self.error:
            raise self.error
        return self.answer


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Probe]:
    made = Probe()
    monkeypatch.setitem(sys.modules, "mlops_infra.cli.status", made.status)
    monkeypatch.setitem(sys.modules, "mlops_infra.cli.lb", made.group)
    yield made


def test_common_options_are_taken_before_and_after_the_command(probe: Probe) -> None:
    assert cli.run(["-c", "a.yaml", "--json", "status", "-y", "-v"]) == 0
    assert cli.run(["status", "word", "--config", "a.yaml", "--json", "--yes", "-v"]) == 0
    assert probe.seen == [Options(config=Path("a.yaml"), json=True, yes=True, verbose=1)] * 2


def test_common_options_are_taken_between_group_and_command(probe: Probe) -> None:
    assert cli.run(["lb", "--limit", "m1", "apply", "--limit", "m2"]) == 0
    assert probe.seen == [Options(limit=("m1", "m2"))]


def test_limit_and_verbosity_add_up_and_the_later_config_wins(probe: Probe) -> None:
    cli.run(["-c", "a", "-v", "--limit", "x", "status", "-c", "b", "-vv", "--limit", "y", "--limit", "x"])
    assert probe.seen == [Options(config=Path("b"), verbose=3, limit=("x", "y"))]


def test_the_environment_speaks_where_the_command_line_does_not(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_INFRA_CONFIG", "env.yaml")
    cli.run(["status"])
    cli.run(["-c", "line.yaml", "status"])
    assert [o.config for o in probe.seen] == [Path("env.yaml"), Path("line.yaml")]


def test_the_lab_is_entered_before_a_command_that_speaks_to_hosts_runs(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    enter = ModuleType("mlops_infra.lab.enter")
    enter.enter_lab_network = lambda: order.append(f"entered after {len(probe.seen)} commands")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlops_infra.lab.enter", enter)
    cli.run(["status"])
    assert order == []
    monkeypatch.setenv("MLOPS_INFRA_LAB", "1")
    cli.run(["status"])
    assert order == ["entered after 1 commands"]
    assert probe.seen[-1].lab


def test_a_command_may_answer_with_its_exit_code(probe: Probe) -> None:
    probe.answer = ExitCode.CHANGES
    assert cli.run(["status"]) == 2


@pytest.mark.parametrize("line", [["nonsense"], ["--nonsense"], ["status", "--nonsense"], ["status", "a", "b"], []])
def test_wrong_usage_exits_64(probe: Probe, line: list[str]) -> None:
    assert cli.run(line) == 64


def test_a_wrong_value_in_the_environment_is_wrong_usage(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_INFRA_LAB", "perhaps")
    assert cli.run(["status"]) == 64


def test_a_misspelt_command_is_answered_with_the_likely_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["vlaidate"]) == 64
    assert "Did you mean 'validate'?" in capsys.readouterr().err


def test_an_error_is_shown_with_cause_and_remedy_and_no_traceback(
    probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    probe.error = InfraError("it broke", host="m1", details="rc 3", cause="a cable", remedy="plug it in")
    assert cli.run(["status"]) == 1
    assert capsys.readouterr().err == "error: m1: it broke\n  rc 3\nwhy: a cable\ntry: plug it in\n"


def test_a_configuration_error_exits_5(probe: Probe) -> None:
    probe.error = ConfigError("no such key")
    assert cli.run(["status"]) == 5


def test_with_json_an_error_is_an_object_on_standard_output(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    probe.error = InfraError("it broke", host="m1")
    assert cli.run(["status", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["brief"], error["host"], error["exit_code"]) == ("it broke", "m1", 1)


def test_a_fault_of_the_program_leaves_its_trace_in_a_file_and_says_where(
    probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    probe.error = ZeroDivisionError("oh")
    assert cli.run(["status"]) == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    path = Path(shown.split("The full trace is in ")[1].split(";")[0])
    assert "ZeroDivisionError: oh" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_ctrl_c_exits_130(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    probe.error = KeyboardInterrupt()
    assert cli.run(["status"]) == 130
    assert "Traceback" not in capsys.readouterr().err


WAITING = """
import threading, time
from mlops_infra.cli import main as cli

def interrupted(arguments):
    threading.Thread(target=time.sleep, args=(60,)).start()
    print("kept")
    return 130

cli.run = interrupted
cli.main()
"""


def test_after_ctrl_c_nothing_waits_for_a_thread_that_waits_for_a_host() -> None:
    done = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "kept\n", "")


def test_a_command_whose_module_is_missing_says_so_and_leaves_the_help_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "status", cli.Entry("not-there", "", "The platform"))
    assert cli.run(["status"]) == 1
    assert "not part of this installation" in capsys.readouterr().err
    assert cli.run(["--help"]) == 0


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"\n  {name} " in shown


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == "mlops-infra 0.1.0\n"


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_of_the_table_loads_and_has_help_and_all_common_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([name, "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("--config", "--lab", "--json", "--yes", "--verbose", "--limit"):
        assert option in shown


@pytest.mark.parametrize(
    ("words", "position", "expected"),
    [("mlops-infra val", "1", "validate"), ("mlops-infra status --lim", "2", "--limit")],
)
def test_the_shell_completes_commands_and_options(
    probe: Probe,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    position: str,
    expected: str,
) -> None:
    monkeypatch.setenv("_MLOPS_INFRA_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", position)
    with pytest.raises(SystemExit):
        cli.run([])
    assert capsys.readouterr().out.split() == [expected]

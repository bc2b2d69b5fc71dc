"""How a command line becomes root's, and what refusals mean."""

from __future__ import annotations

import subprocess
import sys
from typing import Literal

import pytest

from mlops_infra.core import Secret
from mlops_infra.transport import Reply, Target
from mlops_infra.transport.errors import MissingTool, NoSpace, SudoDenied, TransportError, explain
from mlops_infra.transport.privilege import denial, way_of, wrap


def target(user: str = "ops", sudo: str = "auto") -> Target:
    return Target("h1", "10.0.0.1", user=user, sudo=sudo)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("user", "sudo", "way"),
    [
        ("root", "auto", "root"),
        ("ops", "auto", "ask"),
        ("ops", "root", "root"),
        ("ops", "nopasswd", "nopasswd"),
        ("ops", "password", "ask"),
        ("root", "password", "ask"),
    ],
)
def test_the_way_to_root_follows_user_and_setting(user: str, sudo: str, way: str) -> None:
    assert way_of(target(user, sudo)) == way


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_a_wrapped_command_says_ready_and_keeps_its_quotes_and_status(shell: str) -> None:
    words = wrap("printf '%s|' 'a  b' \"it's\"; exit 5", "root", 10)
    done = subprocess.run([*shell.split(), "-c", words.line], capture_output=True, check=False)
    assert done.returncode == 5
    assert done.stdout == words.ready + b"\na  b|it's|"


@pytest.mark.parametrize("way", ["root", "nopasswd", "ask"])
def test_a_script_on_standard_input_costs_no_shell_in_between(way: Literal["root", "nopasswd", "ask"]) -> None:
    line = wrap("sh -s", way, 10).line
    assert line.count("sh -c") == (0 if way == "root" else 1)
    assert "timeout -k 5 10 sh -s" in line


def test_words_differ_from_call_to_call_and_a_prompt_is_awaited_only_where_one_can_come() -> None:
    one, other = wrap("true", "ask", 1), wrap("true", "ask", 1)
    assert one.ready != other.ready
    assert one.prompt != other.prompt
    assert one.prompt.decode() in one.line
    assert wrap("true", "root", 1).prompt == b""


@pytest.mark.parametrize(
    ("said", "rc", "kind", "word"),
    [
        ("sudo: a password is required", 1, SudoDenied, "NOPASSWD"),
        ("sudo: sorry, you must have a tty to run sudo", 1, SudoDenied, "requiretty"),
        ("ops is not in the sudoers file.", 1, SudoDenied, "sudoers.d"),
        ("sudo: 1 incorrect password attempt", 1, SudoDenied, "sudo_password"),
        ("env: 'sudo': No such file or directory", 127, MissingTool, "install sudo"),
    ],
)
def test_each_refusal_has_its_remedy(said: str, rc: int, kind: type[TransportError], word: str) -> None:
    problem = denial(target(), said, rc, "ask")
    assert type(problem) is kind
    assert word in problem.remedy
    assert problem.host == "h1"


def test_a_good_reply_needs_no_explanation_and_an_unclear_one_gets_none() -> None:
    assert explain(Reply(0, b"", "No space left on device"), "h1") is None
    assert explain(Reply(1, b"", "whatever"), "h1") is None
    assert isinstance(explain(Reply(1, b"", "tar: x: No space left on device"), "h1"), NoSpace)


@pytest.mark.parametrize(
    ("stderr", "tool"),
    [
        ("sh: 3: kubeadm: not found", "kubeadm"),
        ("bash: line 1: tar: command not found", "tar"),
        ("sh: base64: not found", "base64"),
    ],
)
def test_missing_tools_are_named(stderr: str, tool: str) -> None:
    problem = explain(Reply(127, b"", stderr), "h1")
    assert isinstance(problem, MissingTool)
    assert problem.brief.startswith(f"{tool} is missing")


def test_a_password_is_never_shown() -> None:
    assert "hunter2" not in f"{Secret('hunter2')!r} {Secret('hunter2')}"


def test_the_vocabulary_of_transport_imports_neither_fabric_nor_paramiko() -> None:
    code = (
        "import sys, mlops_infra.transport.ssh, mlops_infra.engine.parse, mlops_infra.testing;"
        "sys.exit(any(m.split('.')[0] in ('fabric', 'paramiko') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

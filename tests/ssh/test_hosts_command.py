"""`hosts ping|list|trust|exec` from the command line to a real sshd and back."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.cli.main import run
from mlops_infra.transport.known_hosts import HostKey, read_known_hosts

from .conftest import Site
from .sshd import Sshd, keygen

CLUSTER = """\
name: demo
ssh: {{user: root, port: {port}, identity: {identity}, connect_timeout: 3}}
network: {{node_cidr: 127.0.0.0/8}}
hosts:
  lb: [{{name: lb-1, address: 127.0.0.1{lb_ssh}}}]
  masters: [{{name: master-1, address: 127.0.0.2}}]
"""


@pytest.fixture
def place(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a cluster.yaml: lb-1 is the private sshd, nobody listens at master-1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, sshd)
    return tmp_path


def write(place: Path, sshd: Sshd, lb_ssh: str = "") -> None:
    text = CLUSTER.format(port=sshd.port, identity=sshd.user_key, lb_ssh=lb_ssh)
    (place / "cluster.yaml").write_text(text)


def known(place: Path) -> dict[str, Any]:
    return read_known_hosts(place / ".mlops-infra/site/known_hosts")


def fingerprint(sshd: Sshd) -> str:
    return HostKey(*sshd.public).fingerprint


def trusted(place: Path, sshd: Sshd) -> None:
    assert run(["hosts", "trust", "lb-1", "--yes", "--fingerprint", fingerprint(sshd)]) == 0


def test_yes_alone_pins_nothing(place: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hosts", "trust", "lb-1", "--yes"]) == 64
    assert fingerprint(sshd) in capsys.readouterr().out
    assert known(place) == {}


def test_a_fingerprint_known_from_elsewhere_pins_the_key_for_the_owner_only(place: Path, sshd: Sshd) -> None:
    trusted(place, sshd)
    assert known(place) == {f"[127.0.0.1]:{sshd.port}": (HostKey(*sshd.public),)}
    assert stat.S_IMODE((place / ".mlops-infra/site/known_hosts").stat().st_mode) == 0o600


def test_another_fingerprint_than_the_given_one_is_not_pinned(place: Path, sshd: Sshd) -> None:
    assert run(["hosts", "trust", "lb-1", "--yes", "--fingerprint", "SHA256:" + "A" * 43]) == 64
    assert known(place) == {}


def test_a_fingerprint_in_the_file_needs_no_question(place: Path, sshd: Sshd) -> None:
    write(place, sshd, f', ssh: {{host_key: "{fingerprint(sshd)}"}}')
    assert run(["hosts", "trust", "lb-1"]) == 0
    assert known(place)


def test_a_changed_key_is_taken_only_with_replace(
    place: Path, sshd: Sshd, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    trusted(place, sshd)
    file = place / ".mlops-infra/site/known_hosts"
    kind, blob, *_ = Path(f"{keygen(place / 'other')}.pub").read_text().split()
    file.write_text(f"[127.0.0.1]:{sshd.port} {kind} {blob}\n")
    assert run(["hosts", "ping", "--limit", "lb-1"]) == 4
    assert "hosts trust --replace lb-1" in capsys.readouterr().out
    given = ["--yes", "--fingerprint", fingerprint(sshd)]
    assert run(["hosts", "trust", "lb-1", *given]) == 1
    assert known(place)[f"[127.0.0.1]:{sshd.port}"][0].blob == blob
    assert run(["hosts", "trust", "--replace", "lb-1", *given]) == 0
    assert known(place)[f"[127.0.0.1]:{sshd.port}"] == (HostKey(*sshd.public),)


def test_ping_before_trust_names_the_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hosts", "ping", "--limit", "lb-1"]) == 4
    assert "mlops-infra hosts trust lb-1" in capsys.readouterr().out


def test_ping_tells_who_answers_and_why_others_do_not(
    place: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]
) -> None:
    trusted(place, sshd)
    capsys.readouterr()
    assert run(["hosts", "ping", "--json"]) == 3
    lb, master = json.loads(capsys.readouterr().out)["hosts"]
    assert (lb["name"], lb["ok"], lb["way"]) == ("lb-1", True, "root")
    assert lb["round_trip_ms"] > 0
    assert master["ok"] is False
    assert "refuses" in master["error"]["brief"]
    assert run(["hosts", "ping", "--limit", "lb-1"]) == 0


def test_list_asks_nobody(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hosts", "list", "--json"]) == 0
    assert [h["role"] for h in json.loads(capsys.readouterr().out)["hosts"]] == ["lb", "master"]


def test_exec_puts_the_name_in_front_and_gives_the_exit_code(
    place: Path, sshd: Sshd, capsys: pytest.CaptureFixture[str]
) -> None:
    trusted(place, sshd)
    capsys.readouterr()
    assert run(["hosts", "exec", "--limit", "lb-1", "--", "echo", "a  b", "$HOME"]) == 0
    assert capsys.readouterr().out == "lb-1 | a  b $HOME\n"
    assert run(["hosts", "exec", "--limit", "lb-1", "--", "echo one; echo two >&2; exit 9"]) == 1
    said = capsys.readouterr()
    assert "lb-1 | one" in said.out
    assert "lb-1 | two" in said.err
    assert "exit code 9" in said.err
    assert run(["hosts", "exec", "--json", "--", "true"]) == 3
    assert json.loads(capsys.readouterr().out)["hosts"][0]["rc"] == 0


def test_a_host_that_is_not_in_the_file_is_wrong_usage(place: Path) -> None:
    assert run(["hosts", "ping", "--limit", "nobody"]) == 64

"""The firewall's script on a host of its own: real nftables in a network namespace, with a neighbour that calls."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.firewall import rules
from mlops_infra.render import render

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("nft") or not shutil.which("ip"), reason="needs root, nft and iproute2"
)
HOST, NODE, OPERATOR, STRANGER = "10.99.0.1", "10.99.0.2", "10.99.0.3", "10.99.0.4"
SYSTEMD = """\
#!/bin/sh
# Stand-in: notes what systemd would be told.
echo "${0##*/} $*" >>@LOG@
"""
ASK = """\
import socket, sys
s = socket.socket(); s.settimeout(0.4); s.bind((sys.argv[1], 0))
try:
    s.connect(("10.99.0.1", int(sys.argv[2])))
except ConnectionRefusedError:
    print("reached")
except OSError:
    print("silent")
"""


class Wall:
    """A host with the script, and three addresses of a neighbour."""

    def __init__(self, base: Path) -> None:
        word = uuid.uuid4().hex[:6]
        self.host, self.other = f"fw-{word}-h", f"fw-{word}-o"
        self.base = base
        self.log = base / "systemd.log"
        self.log.touch()
        tools = base / "bin"
        tools.mkdir()
        for name in ("systemctl", "systemd-run"):
            (tools / name).write_text(SYSTEMD.replace("@LOG@", str(self.log)))
            (tools / name).chmod(0o755)
        self.trial, self.kept, self.people = base / "run/rules.nft", base / "etc/rules.nft", base / "etc/operators"
        self.trial.parent.mkdir()
        script = render(
            "firewall/firewall.sh.j2",
            run=str(self.trial.parent), trial=str(self.trial), kept=str(self.kept), people=str(self.people),
            seconds=30, most_people=2,
        )  # fmt: skip
        self.script = base / "firewall"
        self.script.write_text(script.replace("PATH=/usr/sbin", f"PATH={tools}:/usr/sbin", 1))
        self.script.chmod(0o755)
        for line in (
            f"netns add {self.host}",
            f"netns add {self.other}",
            f"-n {self.host} link add eth0 type veth peer name eth0 netns {self.other}",
            f"-n {self.host} addr add {HOST}/24 dev eth0",
            *(f"-n {self.other} addr add {a}/24 dev eth0" for a in (NODE, OPERATOR, STRANGER)),
            *(f"-n {n} link set {link} up" for n in (self.host, self.other) for link in ("lo", "eth0")),
        ):
            subprocess.run(["ip", *line.split()], check=True)

    def close(self) -> None:
        for name in (self.host, self.other):
            subprocess.run(["ip", "netns", "del", name], check=False)

    def run(self, word: str, came_from: str = OPERATOR, rc: int = 0) -> str:
        env = {"PATH": os.environ["PATH"], "SSH_CONNECTION": f"{came_from} 50000 {HOST} 22"}
        # As sudo and `timeout` do: the variable is a parent's, not the script's own.
        command = ["ip", "netns", "exec", self.host, "sh", "-c", f"env -u SSH_CONNECTION {self.script} {word}; exit $?"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == rc, (done.stdout, done.stderr)
        return done.stdout + done.stderr

    def asks(self, source: str, port: int) -> str:
        command = ["ip", "netns", "exec", self.other, "python3", "-c", ASK, source, str(port)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def table(self) -> str:
        command = ["ip", "netns", "exec", self.host, "nft", "list", "tables"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def wall(tmp_path: Path) -> Iterator[Wall]:
    made = Wall(tmp_path)
    yield made
    made.close()


def text(**security: object) -> str:
    hosts = {
        "lb": [{"name": "l", "address": "10.99.0.9"}],
        "masters": [{"name": "m", "address": HOST}],
        "workers": [{"name": "w", "address": NODE}],
    }
    site = {"name": "site", "ssh": {"user": "ops"}, "hosts": hosts, "security": {"firewall": True, **security}}
    cluster = Cluster.model_validate(site)
    return rules(cluster, cluster.hosts.masters[0])


def test_each_port_answers_those_who_need_it_and_the_operator(wall: Wall) -> None:
    wall.trial.write_text(text())
    assert wall.asks(STRANGER, 2379) == "reached", "before"
    wall.run("try")
    assert [wall.asks(who, 2379) for who in (NODE, OPERATOR, STRANGER)] == ["silent", "reached", "silent"]
    assert [wall.asks(who, 10250) for who in (NODE, OPERATOR, STRANGER)] == ["reached", "reached", "silent"]
    assert [wall.asks(who, 30900) for who in (NODE, OPERATOR, STRANGER)] == ["reached", "reached", "silent"]
    assert [wall.asks(STRANGER, port) for port in (22, 6443, 8080)] == ["reached"] * 3


def test_the_way_back_is_ready_before_the_first_rule_and_keeping_cancels_it(wall: Wall) -> None:
    wall.trial.write_text(text())
    wall.run("try")
    (armed,) = [line for line in wall.log.read_text().splitlines() if line.startswith("systemd-run")]
    assert "--on-active=30" in armed
    assert armed.endswith(f"{wall.script} back")
    assert "trial " in wall.run("state")
    wall.log.write_text("")
    wall.run("keep")
    assert "systemctl stop mlops-infra-firewall-back.timer" in wall.log.read_text()
    assert wall.kept.read_text() == text()
    assert "trial " not in wall.run("state")
    wall.run("back")
    assert wall.asks(STRANGER, 2379) == "silent", "too late to go back"


def test_nobody_came_the_first_time_and_nothing_is_left(wall: Wall) -> None:
    wall.trial.write_text(text())
    wall.run("try")
    assert "were taken back" in wall.run("back")
    assert wall.asks(STRANGER, 2379) == "reached"
    assert "mlops_infra" not in wall.table()
    assert "nobody came within 30 s" in wall.run("keep", rc=1)
    assert not wall.kept.exists()


def test_nobody_came_to_new_rules_and_the_old_ones_are_back(wall: Wall) -> None:
    wall.trial.write_text(text())
    wall.run("try")
    wall.run("keep")
    wall.trial.write_text(text(allow_from=[f"{STRANGER}/32"]))
    wall.run("try")
    assert wall.asks(STRANGER, 2379) == "reached"
    wall.run("back")
    assert wall.asks(STRANGER, 2379) == "silent"
    assert "loaded yes" in wall.run("state")


def test_rules_that_are_none_are_refused_before_anything_is_armed(wall: Wall) -> None:
    wall.trial.write_text("table inet mlops_infra { chain }\n")
    wall.run("try", rc=1)
    assert "systemd-run" not in wall.log.read_text()
    assert "mlops_infra" not in wall.table()


def test_state_tells_a_hand_in_the_table_and_an_operator_from_elsewhere(wall: Wall) -> None:
    wall.trial.write_text(text())
    wall.run("try")
    wall.run("keep")
    said = wall.run("state")
    assert "loaded yes" in said
    assert "outside" not in said
    assert f"outside {STRANGER}" in wall.run("state", came_from=STRANGER)
    subprocess.run(
        ["ip", "netns", "exec", wall.host, "nft", "flush", "chain", "inet", "mlops_infra", "arriving"], check=True
    )
    assert "loaded no" in wall.run("state")
    wall.run("load")
    assert "loaded yes" in wall.run("state")
    assert wall.asks(STRANGER, 2379) == "silent"


def test_operators_are_remembered_the_newest_ones_and_over_a_reboot(wall: Wall) -> None:
    for who in ("192.0.2.1", STRANGER, OPERATOR, STRANGER):
        wall.trial.write_text(text(allow_from=["10.99.0.0/30"]))
        wall.run("try", came_from=who)
        wall.run("keep", came_from=who)
    assert wall.people.read_text().split() == [OPERATOR, STRANGER]
    wall.run("stop")
    assert wall.asks("10.99.0.3", 2379) == "reached"
    wall.run("load")
    assert wall.asks(STRANGER, 2379) == "reached"
    assert "outside 192.0.2.1" in wall.run("state", came_from="192.0.2.1")


def test_what_is_no_address_is_never_put_into_a_rule(wall: Wall) -> None:
    wall.trial.write_text(text())
    wall.run("try", came_from="}; flush ruleset; {")
    assert not wall.people.exists()

"""The firewall on real hosts: who is kept out, what goes on working, and rules that would lock everybody out.

The tests of this module are chapters: each takes the platform as the one before left it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from platform_lab import HOSTS, INSTANCE, PlatformLab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500), pytest.mark.long]

OPERATOR, STRANGER = "10.110.190.1", "10.110.190.200"
ASK = """\
import socket, sys
s = socket.socket(); s.settimeout(2); s.bind((sys.argv[1], 0))
try:
    s.connect((sys.argv[2], int(sys.argv[3]))); print("open")
except OSError as error:
    print("refused" if isinstance(error, ConnectionRefusedError) else "silent")
"""
TABLE = "nft list table inet mlops_infra"


def asked(source: str, host: str, port: int) -> str:
    words = ["ip", "netns", "exec", f"lab{INSTANCE}-net", sys.executable, "-c", ASK, source, host, str(port)]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@pytest.fixture(scope="module")
def walled(platform: PlatformLab) -> Iterator[PlatformLab]:
    """The platform with the firewall on, and a second address on the lab's bridge that nobody knows."""
    before = platform.config.read_text()
    net = f"lab{INSTANCE}-net"
    told = subprocess.run(["ip", "-n", net, "-j", "addr"], capture_output=True, text=True, check=True).stdout
    bridge = next(i["ifname"] for i in json.loads(told) if any(a["local"] == OPERATOR for a in i["addr_info"]))
    subprocess.run(["ip", "-n", net, "addr", "add", f"{STRANGER}/24", "dev", bridge], check=True)
    platform.config.write_text(before.replace("firewall: false", "firewall: true"))
    try:
        platform.up()
        yield platform
    finally:
        platform.config.write_text(before)
        subprocess.run(["ip", "-n", net, "addr", "del", f"{STRANGER}/24", "dev", bridge], check=False)
        platform.up()


def test_strangers_reach_what_is_everybodys_and_operators_reach_all(walled: PlatformLab) -> None:
    closed = [("10.110.190.22", 2379), ("10.110.190.22", 10250), ("10.110.190.22", 10257), ("10.110.190.25", 32624)]
    closed += [("10.110.190.25", 10250), ("10.110.190.21", 8404)]
    for host, port in closed:
        assert asked(OPERATOR, host, port) == "open", (host, port)
        assert asked(STRANGER, host, port) == "silent", (host, port)
    for host, port in (("10.110.190.22", 22), ("10.110.190.22", 6443), ("10.110.190.21", 80), ("10.110.190.21", 6443)):
        assert asked(STRANGER, host, port) == "open", (host, port)


def test_everything_goes_on_working_and_there_is_nothing_left_to_do(walled: PlatformLab) -> None:
    assert walled.json("smoke")["ok"]
    assert walled.json("plan")["empty"]


def test_a_hand_in_the_table_is_drift_and_is_mended(walled: PlatformLab) -> None:
    walled.on("worker-2", "nft flush chain inet mlops_infra arriving")
    assert asked(STRANGER, "10.110.190.26", 10250) == "open"
    plan = walled.json("plan", rc=2)
    assert walled.changes(plan)["worker-2", "firewall:rules"] == "the table in the kernel is not as it was loaded"
    walled.up()
    assert asked(STRANGER, "10.110.190.26", 10250) == "silent"


def test_the_rules_are_there_after_a_power_cut(walled: PlatformLab) -> None:
    walled("lab", "fail", "power", "worker-3")
    walled("lab", "heal", "worker-3")
    wait_for(lambda: "only_nodes" in walled.on("worker-3", TABLE, check=False), 60, 1)
    wait_for(lambda: all(walled.nodes().values()), 180, 3)


def test_rules_that_lock_out_are_taken_back_by_the_host_itself(walled: PlatformLab) -> None:
    """Rules with a mistake in them: they close SSH to new connections the moment they are loaded."""
    script, kept = "/usr/local/lib/mlops-infra/mlops-infra-firewall", "/etc/mlops-infra/firewall.nft"
    before = walled.on("worker-1", f"cat {kept}")
    rule = "add rule inet mlops_infra arriving tcp dport 22 ct state new drop"
    walled.on("worker-1", f"{{ cat {kept}; echo {rule}; }} > /run/mlops-infra/firewall/rules.nft")
    began = time.monotonic()
    walled.on("worker-1", f"{script} try")
    assert asked(OPERATOR, "10.110.190.25", 22) == "silent"
    wait_for(lambda: asked(OPERATOR, "10.110.190.25", 22) == "open", 60, 1)
    assert time.monotonic() - began > 20, "not before its time"
    assert walled.on("worker-1", f"cat {kept}") == before
    assert walled.json("plan")["empty"]


def test_switched_off_nothing_of_it_stays(walled: PlatformLab) -> None:
    walled.config.write_text(walled.config.read_text().replace("firewall: true", "firewall: false"))
    walled.up()
    for host in HOSTS:
        left = walled.on(host, f"{TABLE} 2>/dev/null; ls /etc/mlops-infra/firewall* 2>/dev/null; :")
        assert left == "", host
    assert asked(STRANGER, "10.110.190.22", 10250) == "open"

"""Real hosts: they boot, they fail in real ways, they heal, and nothing of them stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from instances import state_of
from small_lab import INSTANCE, SmallLab, traces

pytestmark = pytest.mark.lab

STATE = state_of(INSTANCE)


def test_hosts_run_systemd_as_a_site_has_them(small_lab: SmallLab) -> None:
    hosts = small_lab.hosts()
    assert {name: host["system"] for name, host in hosts.items()} == {
        "small-master": "running",
        "small-worker": "running",
    }
    assert small_lab.on("small-master", "cat /proc/1/comm").strip() == "systemd"
    assert small_lab.on("small-worker", "hostname").strip() == "small-worker"


def test_two_releases_of_debian_are_real(small_lab: SmallLab) -> None:
    assert "trixie" in small_lab.on("small-master", "cat /etc/os-release")
    assert "bookworm" in small_lab.on("small-worker", "cat /etc/os-release")


def test_hosts_are_bare_and_without_any_source_of_packages(small_lab: SmallLab) -> None:
    programs = "python3 containerd kubelet haproxy conntrack curl"
    assert small_lab.on("small-master", f"command -v {programs}; true").strip() == ""
    assert small_lab.on("small-master", "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null; true") == ""
    assert small_lab.on("small-master", "cat /etc/ssh/sshd_config.d/* 2>/dev/null; true") == "", "sshd is stock"


def test_the_ssh_user_has_the_labs_key_and_sudo_without_password(small_lab: SmallLab) -> None:
    assert small_lab.on("small-master", "su ubuntu -c 'sudo -n id -un'").strip() == "root"
    overlay = small_lab.config.parent / ".mlops-infra/lab/overlay.yaml"
    assert "http://10.119.7.1:8080/apt/{codename}" in overlay.read_text()
    known = (small_lab.config.parent / ".mlops-infra/lab/known_hosts").read_text()
    assert known.count("10.119.7.11 ") == 2


def test_the_machine_id_of_each_host_is_its_own(small_lab: SmallLab) -> None:
    ids = {small_lab.on(name, "cat /etc/machine-id").strip() for name in small_lab.hosts()}
    assert len(ids) == 2
    assert all(len(text) == 32 for text in ids)


def test_up_again_boots_nothing_anew(small_lab: SmallLab) -> None:
    before = {name: host["pid"] for name, host in small_lab.hosts().items()}
    small_lab("up", "--no-mirror")
    assert {name: host["pid"] for name, host in small_lab.hosts().items()} == before


def test_a_host_sees_its_own_cards_and_none_of_the_machines(small_lab: SmallLab) -> None:
    seen = small_lab.on("small-worker", "ls /sys/class/net").split()
    assert seen == small_lab.on("small-worker", "ip -br link | sed 's/[@ ].*//' | sort").split() != []


def test_a_power_cut_kills_at_once_and_healing_boots_with_the_disk_kept(small_lab: SmallLab) -> None:
    small_lab.on("small-worker", "echo kept > /root/note; echo member > /var/lib/etcd/note")
    small_lab("fail", "power", "small-worker")
    assert small_lab.hosts()["small-worker"]["power"] == "cut"
    assert not list(Path("/sys/fs/cgroup").glob(f"*/mlops-infra-lab{INSTANCE}/small-worker"))
    assert small_lab("status", rc=2)
    small_lab("heal", "small-worker")
    assert small_lab.on("small-worker", "cat /root/note /var/lib/etcd/note") == "kept\nmember\n"
    assert small_lab.hosts()["small-worker"]["system"] == "running"


def test_a_host_that_was_shut_down_from_inside_is_off_and_up_boots_it(small_lab: SmallLab) -> None:
    small_lab.on("small-worker", "systemctl poweroff", rc=None)
    wait_for(lambda: small_lab.hosts()["small-worker"]["power"] == "off")
    small_lab("up", "--no-mirror")
    assert small_lab.hosts()["small-worker"]["system"] == "running"


def test_a_reboot_from_inside_comes_back_by_itself(small_lab: SmallLab) -> None:
    before = small_lab.hosts()["small-master"]["pid"]
    small_lab.on("small-master", "systemctl reboot", rc=None)

    def is_back() -> bool:
        host = small_lab.hosts()["small-master"]
        return host["pid"] not in (None, before) and host["system"] == "running"

    wait_for(is_back)


def test_a_pulled_cable_cuts_the_network_and_not_the_host(small_lab: SmallLab) -> None:
    pid = small_lab.hosts()["small-worker"]["pid"]
    small_lab("fail", "cable", "small-worker")
    assert small_lab("exec", "small-worker", "--", "true", rc=255)
    host = small_lab.hosts()["small-worker"]
    assert (host["cable"], host["system"], host["pid"]) == (False, "running", pid)
    small_lab("heal")
    assert small_lab.on("small-worker", "echo back").strip() == "back"


def test_a_frozen_host_answers_nothing_until_it_thaws(small_lab: SmallLab) -> None:
    small_lab("fail", "freeze", "small-worker")
    assert small_lab.hosts()["small-worker"]["power"] == "frozen"
    assert small_lab("exec", "small-worker", "--", "true", rc=255)
    small_lab("heal", "small-worker")
    assert small_lab.on("small-worker", "echo thawed").strip() == "thawed"


def test_a_full_disk_is_full_for_one_host_only(small_lab: SmallLab) -> None:
    small_lab("fail", "disk-full", "small-worker")
    said = small_lab.on("small-worker", "dd if=/dev/zero of=/var/lib/etcd/x bs=64k count=1", rc=1)
    assert "No space left on device" in said
    assert "No space left on device" in small_lab.on("small-worker", "dd if=/dev/zero of=/root/x bs=64k count=1", rc=1)
    small_lab.on("small-master", "dd if=/dev/zero of=/root/x bs=64k count=1 && rm /root/x")
    small_lab("heal", "small-worker")
    small_lab.on("small-worker", "dd if=/dev/zero of=/root/x bs=64k count=1 && rm -f /root/x")


def test_reset_makes_a_bare_host_with_the_same_host_keys(small_lab: SmallLab) -> None:
    small_lab.on("small-worker", "echo gone > /root/note; echo gone > /var/lib/kubelet/note")
    machine_id = small_lab.on("small-worker", "cat /etc/machine-id")
    small_lab("reset", "--yes", "small-worker")
    assert small_lab.on("small-worker", "ls /root /var/lib/kubelet | grep note; true") == ""
    assert small_lab.on("small-worker", "cat /etc/machine-id") != machine_id


def test_a_host_added_to_the_file_is_booted_and_the_others_are_left_alone(small_lab: SmallLab) -> None:
    before = small_lab.hosts()
    with small_lab.config.open("a") as file:
        file.write("    - {name: small-worker-with-a-long-name, address: 10.119.7.13}\n")
    small_lab("up", "--no-mirror")
    after = small_lab.hosts()
    assert after["small-worker-with-a-long-name"]["system"] == "running"
    assert {name: after[name]["pid"] for name in before} == {name: before[name]["pid"] for name in before}


def test_the_lab_of_another_file_is_named_and_left_alone(small_lab: SmallLab, tmp_path: Path) -> None:
    other = tmp_path / "cluster.yaml"
    other.write_text(small_lab.config.read_text().replace("name: small\n", "name: other\n"))
    for command in (("up", "--no-mirror"), ("down",), ("reset", "--yes")):
        assert str(small_lab.config) in SmallLab(other)(*command, rc=1)
    assert all(host["power"] == "running" for host in small_lab.hosts().values())


def test_a_command_that_joins_the_labs_network_reaches_the_hosts(small_lab: SmallLab) -> None:
    script = (
        "import os, socket\n"
        "from mlops_infra.lab.enter import enter_lab_network\n"
        "before = os.readlink('/proc/self/ns/net')\n"
        "enter_lab_network()\n"
        "assert os.readlink('/proc/self/ns/net') != before\n"
        "with socket.create_connection(('10.119.7.11', 22), timeout=5) as peer: print(peer.recv(7).decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "MLOPS_INFRA_LAB_INSTANCE": INSTANCE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "SSH-2.0\n", done.stderr
    assert small_lab.hosts()


def test_down_leaves_nothing_even_after_a_crash_with_the_state_lost(small_lab: SmallLab) -> None:
    there = traces()
    assert all(there.values()), f"these should be there while the lab is up: {there}"
    small_lab("fail", "freeze", "small-worker")
    os.kill(small_lab.hosts()["small-master"]["pid"], signal.SIGKILL)  # its systemd dies, not its cgroups
    (STATE / "lab.json").unlink()
    small_lab("down")
    assert not any(traces().values()), traces()
    small_lab("down")
    small_lab("status", rc=1)


def wait_for(condition, seconds: float = 30) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.3)

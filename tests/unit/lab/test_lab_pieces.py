"""Cgroups, disks, keys, state and limits: what can be said about them without root."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlops_infra.lab import clients, disk, keys, machine, requirements, rootfs, state
from mlops_infra.lab.cgroup import Hierarchies, discover
from mlops_infra.lab.errors import LabError
from mlops_infra.lab.paths import CGROUP, HOSTS
from mlops_infra.lab.twin import Twin, TwinHost

V1 = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/freezer cgroup rw,freezer 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
cgroup /var/lib/other/cgroup cgroup rw,pids 0 0
"""
V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n/dev/sda / ext4 rw 0 0\n"


def host(name: str = "m1", address: str = "10.7.0.22", port: int = 22) -> TwinHost:
    return TwinHost(name, (f"{address}/24",), "eth0", "10.7.0.1", "ubuntu", port, "trixie")


def test_on_cgroup_v1_a_host_has_a_directory_in_every_hierarchy_of_the_machine_itself() -> None:
    found = discover(V1)
    assert not found.unified
    assert found.directories("m1") == tuple(
        Path("/sys/fs/cgroup") / name / CGROUP / "m1" for name in ("cpu,cpuacct", "freezer", "systemd", "unified")
    )


def test_on_cgroup_v2_there_is_one_tree() -> None:
    found = discover(V2, systemd=False)
    assert (found.unified, found.delegated) == (True, False)
    assert found.directories("m1") == (Path("/sys/fs/cgroup") / CGROUP / "m1",)


def test_where_systemd_rules_the_one_tree_hosts_live_below_a_delegated_unit() -> None:
    found = discover(V2, systemd=True)
    assert found.delegated
    assert found.directories("m1") == (Path("/sys/fs/cgroup/system.slice") / f"{CGROUP}.service" / "m1",)
    assert not discover(V1, systemd=True).delegated, "v1 controllers are anybody's"


def test_a_machine_without_cgroups_is_refused() -> None:
    with pytest.raises(LabError, match="no cgroup hierarchy"):
        discover("/dev/sda / ext4 rw 0 0\n")


def test_hosts_and_their_processes_are_found_in_any_hierarchy_at_any_depth(tmp_path: Path) -> None:
    for place, pids in (("freezer/X/m1", "7\n8\n"), ("cpu/X/m1/kubepods/pod1", "9\n8\n"), ("cpu/X/m2", "")):
        directory = tmp_path / place.replace("X", CGROUP)
        directory.mkdir(parents=True)
        (directory / "cgroup.procs").write_text(pids)
    found = Hierarchies((tmp_path / "cpu", tmp_path / "freezer"), unified=False)
    assert found.names() == ("m1", "m2")
    assert found.processes("m1") == (7, 8, 9)
    assert found.processes("nobody") == ()


def test_cpuset_directories_get_their_processors_before_any_process(tmp_path: Path) -> None:
    root = tmp_path / "cpuset"
    root.mkdir()
    (root / "cpuset.cpus").write_text("0-1\n")
    (root / "cpuset.mems").write_text("0\n")
    (directory,) = Hierarchies((root,), unified=False).create("m1")
    assert (directory / "cpuset.cpus").read_text() == "0-1\n"
    assert (directory.parent / "cpuset.mems").read_text() == "0\n"


def test_cgroup_v2_hands_each_controller_down_to_the_hosts(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    (tmp_path / CGROUP).mkdir()
    (tmp_path / CGROUP / "cgroup.controllers").write_text("memory\n")
    Hierarchies((tmp_path,), unified=True).create("m1")
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"  # the last one written
    assert (tmp_path / CGROUP / "cgroup.subtree_control").read_text() == "+memory"
    assert (tmp_path / CGROUP / "m1").is_dir()


@pytest.mark.parametrize(
    ("file", "text", "frozen"),
    [("freezer.state", "FROZEN\n", True), ("freezer.state", "FREEZING\n", True), ("freezer.state", "THAWED\n", False)],
)
def test_a_frozen_host_is_told_from_a_running_one(tmp_path: Path, file: str, text: str, frozen: bool) -> None:
    directory = tmp_path / CGROUP / "m1"
    directory.mkdir(parents=True)
    (directory / file).write_text(text)
    assert Hierarchies((tmp_path,), unified=False).is_frozen("m1") is frozen


def test_memory_leaves_out_the_cache_that_can_be_dropped(tmp_path: Path) -> None:
    directory = tmp_path / CGROUP / "m1"
    directory.mkdir(parents=True)
    (directory / "memory.usage_in_bytes").write_text("1000\n")
    (directory / "memory.stat").write_text("cache 500\ntotal_inactive_file 300\n")
    assert Hierarchies((tmp_path,), unified=False).memory("m1") == 700
    assert Hierarchies((tmp_path,), unified=False).memory("m2") is None


def test_only_the_labs_mounts_are_its_own_and_the_innermost_comes_first() -> None:
    lines = (
        "/dev/sda / ext4 rw 0 0",
        f"/dev/loop0 {HOSTS}/m1/disk ext4 rw 0 0",
        f"overlay {HOSTS}/m1/root/x overlay rw 0 0",
    )
    assert disk.mounts("\n".join(lines)) == (HOSTS / "m1/root/x", HOSTS / "m1/disk")


def test_known_hosts_names_the_port_only_where_it_is_not_the_usual_one() -> None:
    text = keys.known_hosts_text(
        [(host(), "ssh-ed25519 AAAA root@m1\n"), (host("m2", "10.7.0.23", 2222), "ssh-ed25519 BBBB root@m2\n")]
    )
    assert text == "10.7.0.22 ssh-ed25519 AAAA\n[10.7.0.23]:2222 ssh-ed25519 BBBB\n"


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_the_labs_key_is_made_once_private_and_kept(tmp_path: Path) -> None:
    key = keys.ensure_identity(tmp_path / "lab")
    first = key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600
    key.with_suffix(".pub").unlink()
    assert keys.ensure_identity(tmp_path / "lab").read_text() == first
    assert key.with_suffix(".pub").read_text().startswith("ssh-ed25519 ")


def test_the_state_comes_back_as_it_was_written(tmp_path: Path) -> None:
    lab = state.LabState(Path("/srv/cluster.yaml"), Twin("demo", ("10.7.0.1/24",), (host(),)))
    state.save(lab, tmp_path / "deep" / "lab.json")
    assert state.load(tmp_path / "deep" / "lab.json") == lab


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config": "/x"}', '{"config": "/x", "twin": {"name": 1}}'])
def test_a_state_file_that_cannot_be_read_is_no_lab_and_no_crash(tmp_path: Path, text: str) -> None:
    (tmp_path / "lab.json").write_text(text)
    assert state.load(tmp_path / "lab.json") is None


def test_two_commands_that_change_the_lab_do_not_run_at_once(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with state.locked(lock), pytest.raises(LabError, match="another command"), state.locked(lock):
        pytest.fail("the lock was given twice")
    with state.locked(lock):
        assert lock.exists()


def test_shared_limits_are_raised_and_never_lowered(tmp_path: Path) -> None:
    directory = tmp_path / "fs/inotify"
    directory.mkdir(parents=True)
    (directory / "max_user_instances").write_text("128\n")
    (directory / "max_user_watches").write_text("99999999\n")
    machine.raise_limits(tmp_path)
    assert (directory / "max_user_instances").read_text() == "8192\n"
    assert (directory / "max_user_watches").read_text() == "99999999\n"


def test_missing_programs_are_named_by_their_packages() -> None:
    there = {"ip": "/sbin/ip", "curl": "/usr/bin/curl"}
    missing = requirements.missing_packages(there.get)
    assert "systemd-container" in missing
    assert "iproute2" not in missing
    assert "curl" not in missing


def test_each_release_has_its_own_recipe() -> None:
    assert rootfs.recipe_digest(rootfs.DEBIAN_12) != rootfs.recipe_digest(rootfs.DEBIAN_13)
    assert rootfs.rootfs_path(rootfs.DEBIAN_13).name.startswith("rootfs-trixie-")


def test_several_words_reach_a_host_as_they_are_and_one_word_is_a_shell_line() -> None:
    def last(*words: str) -> str:
        return clients.ssh_command(host(), Path("/srv/cluster.yaml"), words, as_root=True)[-1]

    assert last("sh", "-c", "echo a  b") == "sh -c 'echo a  b'"
    assert last("ps aux | wc -l") == "ps aux | wc -l"


def test_ssh_to_a_lab_host_uses_only_the_labs_key_and_its_pinned_host_keys() -> None:
    command = clients.ssh_command(host(), Path("/srv/cluster.yaml"))
    assert command[:4] == ["ip", "netns", "exec", "lab-net"]
    assert "UserKnownHostsFile=/srv/.mlops-infra/lab/known_hosts" in command
    assert "StrictHostKeyChecking=yes" in command
    assert command[-1] == "ubuntu@10.7.0.22"


def test_curl_knows_the_control_planes_name_as_the_nodes_do() -> None:
    command = clients.curl_command(["-k", "https://api.demo.internal:6443/"], "api.demo.internal", "10.7.0.21")
    assert command[-4:] == ["--connect-to", "api.demo.internal::10.7.0.21:", "-k", "https://api.demo.internal:6443/"]
    assert "--connect-to" not in clients.curl_command(["http://10.7.0.21"], "10.7.0.21", "10.7.0.21")

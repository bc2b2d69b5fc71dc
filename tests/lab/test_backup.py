"""Backups of a real platform: proved, refused when damaged, and taken also while the API is down."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from platform_lab import PlatformLab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

MASTERS = ("master-1", "master-2", "master-3")


def backup(lab: PlatformLab, *more: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(lab("--lab", "backup", "etcd", "--json", *more))
    return answer


def bundles(lab: PlatformLab) -> set[str]:
    directory = lab.state / "backups"
    return {p.name for p in directory.iterdir()} if directory.exists() else set()


def has_leader(lab: PlatformLab, master: str) -> bool:
    """What the member on this master says, by its metrics."""
    asking = "exec 3<>/dev/tcp/127.0.0.1/2381; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    return "\netcd_server_has_leader 1" in lab.on(master, f'bash -c "{asking}"', check=False)


def leftovers(lab: PlatformLab) -> str:
    """What a backup may have left on the masters."""
    look = (
        "ls -d /var/lib/mlops-infra/backup.* /var/lib/etcd/mlops-infra-snapshot* 2>/dev/null; "
        "ctr -n k8s.io containers ls -q | grep mlops-infra-trial; :"
    )
    return "".join(lab.on(master, look) for master in MASTERS)


@pytest.fixture(scope="module")
def made(platform: PlatformLab) -> dict[str, Any]:
    return backup(platform)


def test_a_backup_is_proved_and_complete(platform: PlatformLab, made: dict[str, Any]) -> None:
    assert made["etcd"]["trial_restore"] is True
    assert made["etcd"]["live_keys"] > 200
    assert made["api"] is True
    assert (made["missing"], made["skipped"]) == ([], "")
    shown = platform.json("backup", "show")
    names = {f["path"] for f in shown["files"]}
    host = f"hosts/{made['host']}"
    for path in (
        "etcd/snapshot.db", "api/kubeadm-config.yaml", "api/kubelet-config.yaml", "cluster/cluster.yaml",
        f"{host}/etc/kubernetes/pki/ca.key", f"{host}/etc/kubernetes/pki/sa.key",
        f"{host}/etc/kubernetes/pki/front-proxy-ca.key", f"{host}/etc/kubernetes/pki/etcd/ca.key",
        f"{host}/etc/containerd/config.toml", f"{host}/var/lib/kubelet/config.yaml",
        "hosts/lb-1/etc/haproxy/haproxy.cfg",
    ):  # fmt: skip
        assert path in names
    assert leftovers(platform) == ""


def test_it_is_taken_from_a_follower(platform: PlatformLab, made: dict[str, Any]) -> None:
    asking = (
        "exec 3<>/dev/tcp/127.0.0.1/2381; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; "
        "grep -a '^etcd_server_is_leader ' <&3"
    )
    said = {master: platform.on(master, f'bash -c "{asking}"').split() for master in MASTERS}
    assert {words[-1] for words in said.values()} == {"0", "1"}, said
    assert said[made["host"]][-1] == "0"


def test_whole_bundles_verify_and_damaged_ones_are_refused(
    platform: PlatformLab, made: dict[str, Any], tmp_path: Path
) -> None:
    whole = Path(made["bundle"]).read_bytes()
    assert platform.json("backup", "verify")["ok"] is True
    middle = len(whole) // 2
    damaged = {
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "cut": whole[:-4096],
        "no-bundle": b"something else" * 100,
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        refused = platform.run("--lab", "backup", "verify", str(tmp_path / name))
        assert refused.returncode == 1, f"{name}: {refused.stdout}{refused.stderr}"
        assert "damaged" in refused.stderr, f"{name}: {refused.stderr}"


def test_a_wrong_key_and_another_cluster_are_refused(
    platform: PlatformLab, made: dict[str, Any], tmp_path: Path
) -> None:
    import pyrage

    (tmp_path / "key").write_text(f"{pyrage.x25519.Identity.generate()}\n")
    refused = platform.run("--lab", "backup", "verify", "--key", str(tmp_path / "key"))
    assert refused.returncode == 1
    assert "cannot be opened with this key" in refused.stderr
    kubeconfig = platform.state / "kubeconfig"
    kept = kubeconfig.read_text()
    try:
        lines = [x.split(": ")[0] + ": bm9wZQ==" if "certificate-authority-data" in x else x for x in kept.splitlines()]
        kubeconfig.write_text("\n".join(lines) + "\n")
        refused = platform.run("--lab", "backup", "verify")
        assert refused.returncode == 1
        assert "another cluster" in refused.stderr
    finally:
        kubeconfig.write_text(kept)


def test_a_full_disk_here_leaves_nothing(platform: PlatformLab, made: dict[str, Any]) -> None:
    directory = platform.state / "backups"
    before = bundles(platform)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)], check=True)
    try:
        refused = platform.run("--lab", "backup", "etcd")
        assert refused.returncode == 1
        assert "no space is left" in refused.stderr
        assert bundles(platform) == set()
    finally:
        subprocess.run(["umount", str(directory)], check=True)
    assert bundles(platform) == before
    wait_for(lambda: leftovers(platform) == "", 30)


@pytest.mark.parametrize("step", ["checking it", "trial restore"])
def test_ctrl_c_leaves_nothing_here_or_there(platform: PlatformLab, made: dict[str, Any], step: str) -> None:
    before = bundles(platform)
    child = platform.start("--lab", "backup", "etcd")
    assert child.stderr is not None
    for line in child.stderr:
        if step in (line if isinstance(line, str) else line.decode()):
            break
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == 130
    assert bundles(platform) == before
    wait_for(lambda: leftovers(platform) == "", 60)


@pytest.mark.long
def test_without_a_quorum_and_without_an_api_it_is_taken_all_the_same(platform: PlatformLab) -> None:
    platform("lab", "fail", "power", "master-2", "master-3")
    try:
        # Until its election timeout has passed the last member still believes in the leader that it had.
        wait_for(lambda: not has_leader(platform, "master-1"), 60)
        done = backup(platform)
        assert done["host"] == "master-1"
        assert done["api"] is False
        assert "no leader" in done["notes"][0]
    finally:
        platform("lab", "heal")
    assert platform.run("--lab", "backup", "verify").returncode == 0
    # Hosts that have booted are no platform yet: the next chapter begins with one that serves.
    assert platform.up()["exit_code"] == 0
    for master in MASTERS:
        wait_for(lambda m=master: has_leader(platform, m), 120)  # type: ignore[misc]
    wait_for(lambda: all(platform.nodes().values()), 120)


def test_the_key_is_kept_and_opens_the_bundle_with_age_alone(
    platform: PlatformLab, made: dict[str, Any], tmp_path: Path
) -> None:
    copy = tmp_path / "key.txt"
    platform("--lab", "backup", "key", "export", str(copy))
    assert json.loads(platform("--lab", "backup", "key", "path", "--json"))["safe"] is True
    if shutil.which("age") is None:
        pytest.skip("the age program is not installed")
    opened = subprocess.run(["age", "-d", "-i", str(copy), made["bundle"]], capture_output=True, check=True)
    listed = subprocess.run(["tar", "-t"], input=opened.stdout, capture_output=True, check=True).stdout.decode()
    assert listed.startswith("manifest.json\n")

"""The doctor's other ways on real hosts: what is new since the last look, mending by itself, watching, the bundle."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from platform_lab import MAIN, PlatformLab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

WRONG = "echo 0 >/proc/sys/net/ipv4/ip_forward"
PORTS = "/proc/sys/net/ipv4/ip_local_reserved_ports"
PLANTED = "planted0secret1value2"


@pytest.fixture
def healthy(platform: PlatformLab) -> PlatformLab:
    """Of which the last look is remembered."""
    wait_for(lambda: platform.run("--lab", "doctor").returncode == 0, 240, 3)
    return platform


def test_what_is_new_is_told_once_and_mended_when_asked(healthy: PlatformLab) -> None:
    # A fault that nothing follows from: what follows later brings its cause back on the list (ip_forward did).
    healthy.on("worker-1", f"echo 30000-32766 >{PORTS}")
    try:
        told = healthy.json("doctor", "--since-last", rc=2)
        assert [(f["check"], f["host"]) for f in told["findings"]] == [("host.sysctl", "worker-1")]
        again = json.loads(healthy.run("--lab", "--json", "doctor", "--since-last").stdout)
        assert "host.sysctl" not in {f["check"] for f in again["findings"]}
        assert again["known"] >= 1
        done = healthy.run("--lab", "--json", "doctor", "--fix", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        mended = json.loads(done.stdout)
        assert [r["outcome"] for r in mended["repaired"]["results"]] == ["changed"]
        assert mended["findings"] == []
        assert healthy.on("worker-1", f"cat {PORTS}").strip() == "30000-32767"
        last = json.loads(healthy.run("--lab", "--json", "doctor", "--since-last").stdout)
        assert "host.sysctl" in {one["check"] for one in last["gone"]}
    finally:
        healthy.on("worker-1", f"echo 30000-32767 >{PORTS}")


def test_a_fault_appears_on_the_screen_of_one_who_watches(healthy: PlatformLab) -> None:
    ours, theirs = pty.openpty()
    watch = subprocess.Popen(
        [sys.executable, "-c", MAIN, "--lab", "doctor", "--watch", "--interval", "2"],
        env={**healthy.environment, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    screen = b""

    def shows(what: bytes) -> bool:
        nonlocal screen
        try:
            while part := os.read(ours, 65536):
                screen += part
        except OSError:
            pass
        return what in screen

    try:
        wait_for(lambda: shows(b"Ctrl-C"), 60)
        assert not shows(b"ip_forward")
        healthy.on("worker-1", WRONG)
        wait_for(lambda: shows(b"ip_forward"), 60)
        watch.send_signal(signal.SIGINT)
        wait_for(lambda: shows(b"\n") and watch.poll() is not None, 30)
        assert watch.returncode == 130
        assert b"Traceback" not in screen
    finally:
        watch.kill()
        watch.wait()
        os.close(ours)
        healthy.on("worker-1", WRONG.replace("0", "1", 1))


def test_the_bundle_has_every_host_and_no_secret(healthy: PlatformLab, tmp_path: Path) -> None:
    """A token and a password in the journal, a Secret; and the secrets that every platform has."""
    healthy.on("worker-1", f"logger -t kubelet 'Authorization: Bearer {PLANTED}'; logger 'password={PLANTED}'")
    healthy.kubectl(f"create secret generic planted --from-literal=password={PLANTED}")
    hidden = {
        "the balancer's password": healthy.on("lb-1", "sed -n 's/.*stats auth [^:]*://p' /etc/haproxy/haproxy.cfg"),
        "the authority's key": healthy.on("master-1", "sed -n 2p /etc/kubernetes/pki/ca.key"),
        "the administrator's key": healthy.on(
            "master-1", "sed -n 's/.*client-key-data: //p' /etc/kubernetes/admin.conf | cut -c1-60"
        ),
        "what was planted": PLANTED,
    }
    file = tmp_path / "bundle.tar.gz"
    try:
        healthy("--lab", "doctor", "bundle", "--out", str(file))
    finally:
        healthy.kubectl("delete secret planted")
    with tarfile.open(file) as archive:
        texts = {one.name: archive.extractfile(one).read().decode() for one in archive if one.isfile()}  # type: ignore[union-attr]
    assert any(name.endswith("index.html") for name in texts)
    for host in ("lb-1", "master-3", "worker-2"):
        assert any(f"/hosts/{host}/" in f"/{name}" for name in texts), host
    for what, secret in hidden.items():
        assert len(secret.strip()) > 7, what
        assert not [name for name, text in texts.items() if secret.strip() in text], what

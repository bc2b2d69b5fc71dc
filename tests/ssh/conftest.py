"""A private sshd, throw-away users with real sudo, and transports to them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlops_infra.core import Secret
from mlops_infra.transport import Target
from mlops_infra.transport.known_hosts import HostKey, write_known_hosts
from mlops_infra.transport.ssh import SshTransport

from .sshd import SSHD, Sshd

PASSWORD = "correct horse battery"
SUDOERS = Path("/etc/sudoers.d/mlops-infra-test")
USERS = {"mlt-free": "NOPASSWD: ALL", "mlt-asks": "ALL", "mlt-none": ""}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.ssh)
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(scope="session")
def sshd_factory() -> Iterator[Callable[..., Sshd]]:
    """Starts an sshd with more lines of configuration; all are ended with the session."""
    if not Path(SSHD).exists():
        pytest.skip("no sshd: apt-get install openssh-server")
    if os.geteuid() != 0:
        pytest.skip("sshd for several users needs root")
    started: list[Sshd] = []

    def make(*lines: str, kind: str = "ed25519") -> Sshd:
        # Not below pytest's directory, which another pytest makes unreadable for our throw-away users.
        directory = Path(tempfile.mkdtemp(prefix="mlops-infra-sshd-"))
        directory.chmod(0o755)
        daemon = Sshd(directory, lines=("PermitRootLogin yes", *lines), host_key_kind=kind)
        started.append(daemon)
        return daemon.start()

    yield make
    for daemon in started:
        daemon.stop()
        shutil.rmtree(daemon.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def sshd(sshd_factory: Callable[..., Sshd]) -> Sshd:
    return sshd_factory()


class Site:
    """Targets of one sshd, with its key pinned."""

    def __init__(self, daemon: Sshd, directory: Path) -> None:
        self.daemon = daemon
        self.known_hosts = directory / "known_hosts"
        self.transports: list[SshTransport] = []
        self.target = Target(
            "h1", "127.0.0.1", port=daemon.port, user="root", identity=daemon.user_key, connect_timeout=5.0
        )
        self.pin(self.target, daemon)

    def pin(self, target: Target, daemon: Sshd) -> None:
        write_known_hosts(self.known_hosts, {target.key_name: [HostKey(*daemon.public)]})

    def transport(self, password: str | None = None) -> SshTransport:
        made = SshTransport(self.known_hosts, (lambda: Secret(password)) if password else None, ssh_config=None)
        self.transports.append(made)
        return made

    def as_user(self, user: str, sudo: str = "auto") -> Target:
        return replace(self.target, user=user, sudo=sudo)  # type: ignore[arg-type]


@pytest.fixture
def site(sshd: Sshd, tmp_path: Path) -> Iterator[Site]:
    made = Site(sshd, tmp_path)
    yield made
    for transport in made.transports:
        transport.close()


@pytest.fixture(scope="session")
def users() -> Iterator[None]:
    """`mlt-free` (NOPASSWD), `mlt-asks` (a password) and `mlt-none` (no sudo at all), removed afterwards."""
    if os.geteuid() != 0 or shutil.which("sudo") is None or shutil.which("useradd") is None:
        pytest.skip("needs root and sudo: apt-get install sudo")
    # The names are the machine's: two test runs take turns, and what a killed one left is removed first.
    turn = Path("/run/mlops-infra-test-users.lock").open("w")  # noqa: SIM115  # held as long as the users are there
    fcntl.flock(turn, fcntl.LOCK_EX)
    try:
        for user in USERS:
            subprocess.run(["userdel", "-r", "-f", user], check=False, capture_output=True)
            subprocess.run(["useradd", "-m", "-s", "/bin/sh", user], check=True, capture_output=True)
            subprocess.run(["chpasswd"], input=f"{user}:{PASSWORD}\n", text=True, check=True)
        SUDOERS.write_text("".join(f"{user} ALL=(ALL) {what}\n" for user, what in USERS.items() if what))
        SUDOERS.chmod(0o440)
        yield
    finally:
        SUDOERS.unlink(missing_ok=True)
        for user in USERS:
            subprocess.run(["userdel", "-r", "-f", user], check=False, capture_output=True)
        turn.close()

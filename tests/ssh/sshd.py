"""A private sshd for tests: own host key, own port, own configuration, ended with the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)], check=True)
    return path


@dataclass
class Sshd:
    """One sshd on loopback; `lines` are added to its configuration."""

    directory: Path
    port: int = field(default_factory=free_port)
    lines: tuple[str, ...] = ()
    host_key_kind: str = "ed25519"
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.host_key = keygen(self.directory / "host_key", self.host_key_kind)
        self.user_key = keygen(self.directory / "user_key")
        self.authorized = self.directory / "authorized_keys"
        shutil.copy(f"{self.user_key}.pub", self.authorized)
        self.authorized.chmod(0o644)
        # Throw-away users must be able to read it.
        self.log = self.directory / "sshd.log"

    @property
    def public(self) -> tuple[str, str]:
        kind, blob, *_ = Path(f"{self.host_key}.pub").read_text().split()
        return kind, blob

    def start(self) -> Sshd:
        Path("/run/sshd").mkdir(exist_ok=True)
        config = self.directory / "sshd_config"
        config.write_text(
            "\n".join(
                (
                    f"Port {self.port}",
                    "ListenAddress 127.0.0.1",
                    f"HostKey {self.host_key}",
                    f"PidFile {self.directory}/pid",
                    f"AuthorizedKeysFile {self.authorized}",
                    "StrictModes no",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "UsePAM no",
                    # bash reads .bashrc for every command of sshd: that of this machine is none of our business.
                    f"SetEnv HOME={self.directory}",
                    "LogLevel VERBOSE",
                    *self.lines,
                )
            )
            + "\n"
        )
        self.process = subprocess.Popen([SSHD, "-D", "-f", str(config), "-E", str(self.log)], stdin=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"sshd did not start: {self.log.read_text()}")

    def sessions(self) -> list[int]:
        """Process ids of the connections it serves now: its descendants."""
        assert self.process
        found: list[int] = []
        queue = [self.process.pid]
        while queue:
            pid = queue.pop()
            try:
                text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except OSError:
                continue
            children = [int(word) for word in text.split()]
            found += children
            queue += children
        return found

    def kill_sessions(self) -> None:
        """As a power cut: every process of every connection at once, without a goodbye."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def stop(self) -> None:
        if self.process is not None:
            self.kill_sessions()
            self.process.terminate()
            self.process.wait(10)
            self.process = None

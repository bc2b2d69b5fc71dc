"""The mirror's two processes: files over HTTP on 8080, images by docker-registry on 5000. They outlive the command."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mlops_infra.lab.mirror.progress import MirrorError

__all__ = ["FILES_PORT", "REGISTRY_PORT", "MirrorServer"]

FILES_PORT = 8080
REGISTRY_PORT = 5000
LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class _Process:
    """A daemon of ours by its pid file, which also holds when the process started: a reused pid is never ours."""

    pid_file: Path

    def pid(self) -> int | None:
        try:
            noted = json.loads(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        return int(noted["pid"]) if _started(int(noted["pid"])) == noted["started"] else None

    def start(self, command: list[str], log: Path) -> int:
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out, Path(os.devnull).open("rb") as nothing:
            # Not Popen: the process is meant to outlive this object, and this command.
            pid = os.posix_spawnp(
                command[0],
                command,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, out.fileno(), 2),
                ],
                setsid=True,
            )
        self.pid_file.write_text(json.dumps({"pid": pid, "started": _started(pid)}))
        return pid

    def stop(self, patience: float = 5) -> None:
        if pid := self.pid():
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                deadline = time.monotonic() + patience
                while self.pid() and time.monotonic() < deadline:
                    _reap(pid)
                    time.sleep(0.02)
                if not self.pid():
                    break
        self.pid_file.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class MirrorServer:
    """Serves a built mirror on `address`, inside the network namespace `namespace` when one is named.

    `state` is where pid files, logs and the registry's configuration go; by default `run/` in the mirror's directory.
    """

    directory: Path
    address: str
    namespace: str | None = None
    state: Path | None = None
    files_port: int = FILES_PORT
    registry_port: int = REGISTRY_PORT

    @property
    def home(self) -> Path:
        return self.state or self.directory / "run"

    @property
    def files_url(self) -> str:
        return f"http://{self.address}:{self.files_port}"

    @property
    def registry_url(self) -> str:
        return f"http://{self.address}:{self.registry_port}"

    def start(self, patience: float = 15) -> None:
        """Starts what is not running and returns when both ports listen. Raises MirrorError with the process's last
        words when one does not within `patience` seconds."""
        if shutil.which("docker-registry") is None:
            raise MirrorError("docker-registry is not installed", remedy="apt-get install docker-registry")
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "registry.json").write_text(json.dumps(self._registry_config(), indent=1))
        for name, port, command in self._daemons():
            process = _Process(self.home / f"{name}.pid")
            log = self.home / f"{name}.log"
            pid = process.pid() or process.start([*self._inside(), *command], log)
            self._wait(name, pid, port, log, patience)

    def stop(self) -> None:
        """Ends both processes; nothing happens when they do not run."""
        for name, _, _ in self._daemons():
            _Process(self.home / f"{name}.pid").stop()

    def wait(self) -> None:
        """Returns when one of the processes has ended; raises MirrorError then, for neither ends by itself."""
        while self.running():
            time.sleep(0.5)
        raise MirrorError("one of the mirror's processes ended", remedy=f"look at the logs in {self.home}")

    def running(self) -> bool:
        return all(_Process(self.home / f"{name}.pid").pid() for name, _, _ in self._daemons())

    def pids(self) -> dict[str, int]:
        found = {name: _Process(self.home / f"{name}.pid").pid() for name, _, _ in self._daemons()}
        return {name: pid for name, pid in found.items() if pid}

    def _inside(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace] if self.namespace else []

    def _daemons(self) -> tuple[tuple[str, int, list[str]], ...]:
        module = "mlops_infra.lab.mirror.httpd"
        http = [sys.executable, "-m", module, str(self.directory), self.address, str(self.files_port)]
        registry = ["docker-registry", "serve", str(self.home / "registry.json")]
        return (("httpd", self.files_port, http), ("registry", self.registry_port, registry))

    def _registry_config(self) -> dict[str, object]:
        """JSON is YAML. Nobody writes through the registry, so it checks nothing and remembers what it has seen."""
        return {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.directory.resolve() / "registry")},
                "maintenance": {"uploadpurging": {"enabled": False}, "readonly": {"enabled": True}},
                "cache": {"blobdescriptor": "inmemory"},
            },
            "http": {"addr": f"{self.address}:{self.registry_port}"},
        }

    def _wait(self, name: str, pid: int, port: int, log: Path, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not _listens(pid, port):
            ended = _reap(pid) or not Path(f"/proc/{pid}").exists()
            if ended or time.monotonic() > deadline:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:]) if log.exists() else ""
                raise MirrorError(
                    f"the mirror's {name} does not listen on {self.address}:{port}",
                    details=tail,
                    cause="the port is taken, or the address is not on this machine"
                    if ended
                    else "it is slow to start",
                    remedy=f"look at {log}",
                )
            time.sleep(0.05)


def _reap(pid: int) -> bool:
    """Whether a child of ours with that pid has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None for one that is not there or has ended unreaped."""
    try:
        after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after[0] == "Z" else int(after[19])


def _listens(pid: int, port: int) -> bool:
    """Whether anything listens on the port in the network namespace of that process, by the kernel's own table."""
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            return False
        for line in lines:
            _, local, _, state = line.split()[:4]
            if state == LISTEN and int(local.rpartition(":")[2], 16) == port:
                return True
    return False

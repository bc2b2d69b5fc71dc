"""A lab of two hosts, beside whatever lab is up on this machine, and all that it leaves traces of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instances import free_instance

INSTANCE = free_instance("t")


@dataclass(frozen=True)
class SmallLab:
    """The command line, with a cluster.yaml and a lab of its own."""

    config: Path

    def __call__(self, *arguments: str, rc: int | None = 0, timeout: float = 300) -> str:
        """Standard output of `mlops-infra lab …`; the exit code is asserted unless it is None."""
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from mlops_infra.cli.main import main; main()",
                "lab",
                "-c",
                str(self.config),
                *arguments,
            ],
            env={**os.environ, "MLOPS_INFRA_LAB_INSTANCE": INSTANCE},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if rc is not None:
            assert done.returncode == rc, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if rc == 0 else done.stdout + done.stderr

    def hosts(self) -> dict[str, dict[str, Any]]:
        return {h["name"]: h for h in json.loads(self("status", "--json", rc=None))["hosts"]}

    def on(self, host: str, command: str, rc: int | None = 0) -> str:
        return self("exec", host, "--", command, rc=rc)


def traces() -> dict[str, list[str]]:
    """Everything on this machine that a lab of this instance consists of."""
    mark = f"mlops-infra-lab{INSTANCE}"
    processes = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            # A zombie runs no more, it waits for the machine's own PID 1 to take note of its end.
            ended = (path.parent / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            if f"/{mark}/" in path.read_text() and not ended:
                processes.append(path.parent.name)
        except OSError:
            continue
    return {
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if f"/{mark}/" in line],
        "namespaces": sorted(path.name for path in Path("/run/netns").glob(f"lab{INSTANCE}-*")),
        "cgroups": [str(path) for depth in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{depth}{mark}*")],
        "processes": processes,
        "loop devices": [
            p.read_text() for p in Path("/sys/block").glob("loop*/loop/backing_file") if mark in p.read_text()
        ],
        "state": [str(path) for path in Path("/var/lib").glob(mark)],
    }

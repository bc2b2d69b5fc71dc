"""A real S3-compatible store for tests: versitygw over a directory, on the loopback address.

Built once through the Go module proxy, kept in ~/.cache/mlops-infra/tools.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlops-infra" / "tools"
ACCESS, SECRET = "backup-writer", "a-secret-of-the-store"


@dataclass(frozen=True)
class Store:
    """Where it listens, and the directory that holds its buckets."""

    endpoint: str
    root: Path


def gateway() -> Path:
    """The program, built where it is missing; the test is skipped where that cannot be."""
    program = TOOLS / "versitygw"
    if not program.exists():
        if shutil.which("go") is None:
            pytest.skip("versitygw is not built, and there is no Go to build it with")
        TOOLS.mkdir(parents=True, exist_ok=True)
        command = ["nice", "-n", "15", "go", "install", MODULE]
        environment = {**os.environ, "GOBIN": str(TOOLS)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"versitygw could not be built: {done.stderr[-300:]}")
    return program


@contextmanager
def store(directory: Path, address: str = "127.0.0.1") -> Iterator[Store]:
    """Runs until the block ends."""
    program = gateway()
    root = directory / "buckets"
    root.mkdir()
    with socket.socket() as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET}
    log = (directory / "versitygw.log").open("wb")
    words = [str(program), "--port", f"{address}:{port}", "posix", "--sidecar", str(directory / "meta"), str(root)]
    (directory / "meta").mkdir()
    child = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 30
        while True:
            assert child.poll() is None and time.monotonic() < end, (directory / "versitygw.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex((address, port)) == 0:
                    break
            time.sleep(0.05)
        yield Store(f"http://{address}:{port}", root)
    finally:
        child.terminate()
        child.wait(20)
        log.close()

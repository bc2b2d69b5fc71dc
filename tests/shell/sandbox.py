"""A host for generated scripts: this machine's files under a tmpfs overlay, in a mount and network namespace.

Scripts run with their real paths, as root, under the shell that is asked for; nothing of it outlives the test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mlops_infra.core import Change, Facts, Probe, Resource, Script
from mlops_infra.engine.observe import OBSERVE_COMMAND, compile_observe
from mlops_infra.engine.parse import parse_answers
from mlops_infra.engine.payload import (
    BATCH_COMMAND,
    RESULT_COMMAND,
    Batch,
    BatchResult,
    compile_batch,
    compile_result_query,
    parse_batch,
)
from mlops_infra.transport.session import Reply

NONCE = "0123456789abcdef"
SHELLS = tuple(s for s in ("dash", "bash", "busybox") if shutil.which(s))

_SETUP = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" "$1/root"
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
rm -rf "$1/root/run" && mkdir "$1/root/run"
mount -t tmpfs tmpfs "$1/root/tmp"
rm -f "$1/root/bin/sh" && ln -s "$(command -v "$2")" "$1/root/bin/sh"
echo ready
exec cat
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="an overlay of / needs root")


class Sandbox:
    """One such host. `run` is a shell on it, `send` a batch, `observe` an observation."""

    def __init__(self, shell: str) -> None:
        self._dir = Path(tempfile.mkdtemp(prefix="mlops-sandbox-"))
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", _SETUP, "sh", str(self._dir), shell],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self.batches = 0
        self._started: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait(60)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None and not pipe.closed:
                    pipe.close()
        assert self._holder.stdin is not None and self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait(60)
        self._dir.rmdir()

    def argv(self, command: str) -> list[str]:
        inside = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--net=/proc/{self._holder.pid}/ns/net"]
        return [*inside, "chroot", str(self._dir / "root"), "sh", "-c", command]

    def start(self, command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self.argv(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._started.append(process)
        return process

    def exchange(self, command: str, stdin: bytes = b"") -> Reply:
        done = subprocess.run(self.argv(command), input=stdin, capture_output=True, timeout=60, check=False)
        return Reply(done.returncode, done.stdout, done.stderr.decode())

    def run(self, command: str) -> str:
        reply = self.exchange(command)
        assert reply.rc == 0, reply.stderr
        return reply.stdout.decode()

    def observe(self, probes: Iterable[Probe[Any]]) -> Facts:
        asked = frozenset(probes)
        reply = self.exchange(OBSERVE_COMMAND, compile_observe(asked, NONCE))
        return parse_answers(reply.stdout, asked, NONCE)

    def batch(self, *changes: Change, verify: Iterable[Probe[Any]] = (), script: Script | None = None) -> Batch:
        self.batches += 1
        return Batch(f"b{self.batches}", NONCE, changes, script, frozenset(verify), deadline=20)

    def send(self, batch: Batch) -> BatchResult:
        return parse_batch(self.exchange(BATCH_COMMAND, compile_batch(batch)), batch)

    def result(self, batch: Batch) -> BatchResult:
        return parse_batch(self.exchange(RESULT_COMMAND, compile_result_query(batch)), batch)

    def diff(self, resource: Resource) -> Change | None:
        return resource.diff(self.observe(resource.probes()))

    def converge(self, resource: Resource) -> Change | None:
        """Applies what `resource` proposes, if anything, and demands that it then proposes nothing."""
        change = self.diff(resource)
        if change is None:
            return None
        result = self.send(self.batch(change, verify=resource.probes()))
        assert result.ok, result.failure
        assert resource.diff(result.facts) is None
        return change

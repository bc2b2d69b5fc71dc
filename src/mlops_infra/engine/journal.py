"""The record of a run: what was sent and what came of it, one JSON object a line. Never contents, never secrets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from mlops_infra.core import Change, PutFile

__all__ = ["Journal", "change_digest", "new_run_id", "prune"]

KEEP = 50


def new_run_id() -> str:
    """UTC time and four random bytes: sorts by age, never meets another."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}"


def change_digest(change: Change) -> str:
    """Twelve hex digits over what a change would write; salted by its id, so that equal secrets do not show."""
    digest = hashlib.sha256(change.resource.encode())
    for action in change.actions:
        if isinstance(action, PutFile):
            if action.sensitive:
                continue
            digest.update(repr((action.path, action.mode, action.owner, action.group)).encode())
            digest.update(action.content)
        else:
            digest.update(action.script.encode())
    return digest.hexdigest()[:12]


class Journal:
    """`<runs>/<run id>/journal.jsonl`, plan.json and output.log, all 0600 in a 0700 directory.

    Threads may write at once. `sync` at the edges of batches: what was sent must be known even after a power cut here.
    """

    def __init__(self, runs: Path, run_id: str) -> None:
        self.directory = runs / run_id
        self.run_id = run_id
        self.directory.mkdir(mode=0o700, parents=True)
        self._lock = threading.Lock()
        self._journal = _open_private(self.directory / "journal.jsonl")
        self._output = _open_private(self.directory / "output.log")

    def record(self, what: str, *, sync: bool = False, **fields: Any) -> None:
        line = json.dumps({"at": round(time.time(), 3), "what": what, **fields}, default=str)
        with self._lock:
            if self._journal.closed:
                return
            self._journal.write(line + "\n")
            self._journal.flush()
            if sync:
                os.fsync(self._journal.fileno())

    def output(self, host: str, line: str) -> None:
        """Keep a line of a host's output. The caller has already masked it."""
        with self._lock:
            if not self._output.closed:
                self._output.write(f"{time.strftime('%H:%M:%S')} {host}: {line}\n")

    def batch_sent(self, host: str, batch: str, changes: Iterable[Change]) -> None:
        listed = [[c.resource, change_digest(c)] for c in changes]
        self.record("batch_sent", sync=True, host=host, batch=batch, resources=listed)

    def save(self, name: str, text: str) -> None:
        with _open_private(self.directory / name) as file:
            file.write(text)

    def close(self) -> None:
        with self._lock:
            for file in (self._journal, self._output):
                if not file.closed:
                    file.flush()
                    os.fsync(file.fileno())
                    file.close()


def prune(runs: Path, keep: int = KEEP) -> None:
    """Remove the oldest runs beyond `keep`. Names sort by age."""
    with contextlib.suppress(FileNotFoundError):
        for old in sorted(p for p in runs.iterdir() if p.is_dir())[:-keep]:
            shutil.rmtree(old, ignore_errors=True)


def _open_private(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8")

"""Encrypting what comes over the wire as it comes: it never lies unencrypted on this machine's disk."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from mlops_infra.errors import InfraError

__all__ = ["Encryptor"]


class Encryptor:
    """Writes an age file from pieces. `finish` must be called at the end; without it the file is not whole."""

    def __init__(self, path: Path, recipients: Sequence[object]) -> None:
        self._path = path
        self._recipients = recipients
        self._trouble: list[BaseException] = []
        reading, self._writing = os.pipe()
        self._open = True
        self._thread = threading.Thread(target=self._encrypt, args=(reading,), name="encrypt", daemon=True)

    def __enter__(self) -> Encryptor:
        self._thread.start()
        return self

    def write(self, data: bytes) -> None:
        """Raises InfraError when the file cannot be written any more."""
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._writing, view) :]
        except BrokenPipeError:
            self._close()
            raise self._problem() from None

    def finish(self) -> None:
        """Waits until all is written. Raises InfraError when it could not be."""
        self._close()
        if self._trouble:
            raise self._problem()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._writing)
        self._thread.join()

    def _encrypt(self, reading: int) -> None:
        import pyrage  # noqa: PLC0415 - a shared library that few commands need

        try:
            with os.fdopen(reading, "rb") as plain, self._path.open("wb") as out:
                pyrage.encrypt_io(cast(Any, plain), cast(Any, out), cast(Any, self._recipients))
                out.flush()
                os.fsync(out.fileno())
        except BaseException as error:
            self._trouble.append(error)

    def _problem(self) -> InfraError:
        text = str(self._trouble[0]) if self._trouble else "it ended early"
        full = f"Errno {errno.ENOSPC}" in text or f"Errno {errno.EDQUOT}" in text
        return InfraError(
            f"the bundle could not be written to {self._path.parent}" + (": no space is left there" if full else ""),
            details=text,
            cause="The disk of this machine is full." if full else "The disk of this machine, or its permissions.",
            remedy=f"df -h {self._path.parent}   then make room, or name another place in cluster.yaml "
            "(backup.directory). Nothing was kept of this attempt.",
        )

"""Files in a tar, as hosts unpack them and backups keep them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

__all__ = ["tar_of"]


def tar_of(files: Mapping[str, bytes], *, mtime: int = 0) -> bytes:
    """By path, for their owner alone (0600); `mtime` is in seconds since 1970."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.mtime = len(content), 0o600, mtime
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()

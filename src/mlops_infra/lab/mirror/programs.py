"""Running the programs that a build needs, and saying which of them are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlops_infra.lab.mirror.progress import MirrorError

__all__ = ["missing_programs", "run"]

PACKAGE_OF = {
    "gpg": "gnupg",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "mmdebstrap": "mmdebstrap",
    "gcc": "gcc libc6-dev",
    "docker-registry": "docker-registry",
    "ip": "iproute2",
}
"""The Debian package that brings each program."""


def missing_programs(*names: str) -> tuple[str, ...]:
    """The Debian packages to install so that all of `names` are on PATH."""
    return tuple(PACKAGE_OF.get(name, name) for name in names if shutil.which(name) is None)


def run(
    command: Sequence[str | Path],
    *,
    what: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    deadline: float = 3600,
) -> bytes:
    """Standard output of `command`. Raises MirrorError with the end of its messages when it fails.

    `what` completes "could not …"; `deadline` is in seconds; `env` is added to this process's environment.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            timeout=deadline,
            check=False,
        )
    except FileNotFoundError as error:
        raise MirrorError(
            f"could not {what}: {words[0]} is not installed",
            remedy=f"apt-get install {PACKAGE_OF.get(words[0], words[0])}",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise MirrorError(f"could not {what}: no end after {deadline:.0f} s", details=" ".join(words)) from error
    if done.returncode:
        tail = "\n".join((done.stderr + done.stdout[-4000:]).decode(errors="replace").splitlines()[-25:])
        raise MirrorError(f"could not {what} (exit {done.returncode})", details=f"$ {' '.join(words)}\n{tail}")
    return done.stdout

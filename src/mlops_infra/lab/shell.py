"""Programs of this machine, run with lists of arguments."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlops_infra.lab.errors import LabError

__all__ = ["run", "succeeds"]


def run(
    arguments: Sequence[str | Path],
    *,
    stdin: str | None = None,
    timeout: float = 60,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Standard output of a program. Raises LabError with the program's own words when it fails or takes too long."""
    words = [str(word) for word in arguments]
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, env=environment
        )
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed", remedy="mlops-infra lab up --install") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(words)}` did not end within {timeout:g} s") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise LabError(
            f"`{' '.join(words)}` failed with status {done.returncode}: {said[-1] if said else 'no message'}",
            details="\n".join(said[-20:]),
        )
    return done.stdout


def succeeds(arguments: Sequence[str | Path], *, timeout: float = 60) -> bool:
    """Whether the program ended with 0; what it says is dropped."""
    try:
        run(arguments, timeout=timeout)
    except LabError:
        return False
    return True

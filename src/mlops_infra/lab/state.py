"""What the lab remembers between commands, and the lock that keeps two of them apart."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlops_infra.lab.errors import LabError
from mlops_infra.lab.paths import LOCK, STATE_FILE
from mlops_infra.lab.twin import Twin

__all__ = ["LabState", "load", "locked", "save"]


@dataclass(frozen=True, slots=True)
class LabState:
    """`config` is the cluster.yaml of this lab, absolute."""

    config: Path
    twin: Twin


def save(state: LabState, path: Path = STATE_FILE) -> None:
    """Write the state; old or new, never a mix."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = {"config": str(state.config), "twin": state.twin.as_data()}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(data, indent=1))
    fresh.rename(path)


def load(path: Path = STATE_FILE) -> LabState | None:
    """The lab that is up (or was, before a crash); None when there is none or its file cannot be read."""
    try:
        data = json.loads(path.read_text())
        return LabState(config=Path(data["config"]), twin=Twin.from_data(data["twin"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def locked(path: Path = LOCK) -> Iterator[None]:
    """Held while a command changes the lab. Raises LabError when another one does so already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError("another command is changing the lab at this moment", remedy="wait for it to end") from error
        yield

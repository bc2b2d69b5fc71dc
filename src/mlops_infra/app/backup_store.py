"""Where bundles lie: their names, the list of them, and what retention takes away."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops_infra.errors import InfraError
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.site import Site

__all__ = [
    "OBJECTS", "SUFFIX", "Stored", "bundles", "directory_of", "expired", "new_name", "newest", "newest_first", "remove",
    "staged", "stored_of",
]  # fmt: skip

_NAME = re.compile(r"(?P<cluster>[a-z0-9-]+)-(?P<stamp>\d{8}T\d{6}Z)(?:-\d+)?(?P<suffix>\.tar\.age|\.objects\.age)")
SUFFIX = ".tar.age"
OBJECTS = ".objects.age"
"""What `backup resources` writes."""
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Stored:
    """A bundle by its name alone; whether it is whole only `verify` tells. `size` in bytes."""

    path: Path
    cluster: str
    created: datetime
    size: int


def directory_of(cluster: Cluster, site: Site) -> Path:
    named = cluster.backup.directory
    # The lab has the platform's names: its bundles never lie among the platform's own.
    if named is None or site.lab:
        return site.directory / "backups"
    return site.config.parent / Path(named).expanduser()


def bundles(directory: Path, cluster: str | None = None, suffix: str = SUFFIX) -> tuple[Stored, ...]:
    """All bundles, or those of the cluster with this name, newest first; with OBJECTS saved objects instead."""
    found = []
    for path in directory.glob(f"*{suffix}") if directory.is_dir() else ():
        one = stored_of(path, path.stat().st_size, suffix) if path.is_file() else None
        if one is not None and cluster in (None, one.cluster):
            found.append(one)
    return newest_first(found)


def stored_of(path: Path, size: int, suffix: str = SUFFIX) -> Stored | None:
    """What its name says; None for a name that is none of these."""
    match = _NAME.fullmatch(path.name)
    if match is None or match["suffix"] != suffix:
        return None
    created = datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=UTC)
    return Stored(path, match["cluster"], created, size)


def newest_first(found: Iterable[Stored]) -> tuple[Stored, ...]:
    return tuple(sorted(found, key=lambda b: (b.created, b.path.name), reverse=True))


def newest(cluster: Cluster, site: Site) -> Stored | None:
    """The latest bundle of this cluster, for reports and for doctor."""
    found = bundles(directory_of(cluster, site), cluster.name)
    return found[0] if found else None


def new_name(cluster: str, now: datetime, nth: int = 0, suffix: str = SUFFIX) -> str:
    return f"{cluster}-{now.astimezone(UTC).strftime(_STAMP)}{f'-{nth}' if nth else ''}{suffix}"


def expired(found: Sequence[Stored], good: Path, *, keep: int, keep_days: int, now: datetime) -> tuple[Stored, ...]:
    """What is to go now that `good` was made and proved: it is never among them, whatever the clock says."""
    others = [b for b in found if b.path != good]
    oldest = now - timedelta(days=keep_days)
    return tuple(b for nth, b in enumerate(others, start=1) if nth >= keep or b.created < oldest)


def remove(found: Sequence[Stored]) -> tuple[Path, ...]:
    """Raises nothing: a bundle that cannot be removed stays, and is not among the answers."""
    gone = []
    for bundle in found:
        with suppress(OSError):
            bundle.path.unlink()
            gone.append(bundle.path)
    return tuple(gone)


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """An empty file (0600) under a name that does not count; gone at the end unless it was renamed.

    Raises InfraError when the directory cannot be written to.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(directory)
        path = directory / f".backup-{os.getpid()}-{os.urandom(4).hex()}.part"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InfraError(
            f"nothing can be written to {directory}: {error.strerror}",
            cause="The disk is full, or the directory belongs to somebody else.",
            remedy="Make room, or name another directory in cluster.yaml (backup.directory).",
        ) from error
    try:
        # Held as long as this process lives: what nobody holds was left by one that died.
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _sweep(directory: Path) -> None:
    for left in directory.glob(".backup-*.part"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()

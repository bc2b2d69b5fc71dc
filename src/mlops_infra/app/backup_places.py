"""Other places for bundles: a directory on another host, a bucket. A bundle is encrypted before it goes anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from mlops_infra.app.backup_s3 import Bucket
from mlops_infra.app.backup_store import Stored, expired, newest_first, stored_of
from mlops_infra.app.context import SiteContext
from mlops_infra.app.secrets import resolve
from mlops_infra.errors import InfraError, UsageError
from mlops_infra.model.backup import Place, SshPlace
from mlops_infra.model.named import beside
from mlops_infra.transport import Session, Target, Transport
from mlops_infra.transport.errors import explain

__all__ = ["Sent", "Shelf", "copy_to_all", "fingerprint", "open_shelf", "prunable", "shelf_named"]

PIECE = 16 * 1024 * 1024
_DEADLINE = 300.0

_LIST = 'read -r d; cd "$d" 2>/dev/null || exit 0; for f in *.tar.age; do [ ! -f "$f" ] || stat -c "%s %n" "$f"; done'
_PUT = (
    'umask 077; read -r d n offset; mkdir -p "$d" && cd "$d" || exit 1; f=".$n.part"; [ "$offset" != 0 ] || : >"$f"; '
    'have=$(stat -c %s "$f") && [ "$have" -ge "$offset" ] && truncate -s "$offset" "$f" && cat >>"$f"'
)
_COMMIT = (
    'read -r d n sum; cd "$d" || exit 1; [ "$(sha256sum ".$n.part" | cut -d " " -f 1)" = "$sum" ] || '
    '{ rm -f ".$n.part"; exit 3; }; sync; mv -f ".$n.part" "$n"'
)
_GET = 'read -r d n; exec cat "$d/$n"'
_REMOVE = 'read -r d; cd "$d" || exit 1; while read -r n; do case $n in */*) ;; *) rm -f "./$n" ;; esac; done'


class Shelf(Protocol):
    """A place that bundles can be put to and taken from. Everything raises InfraError naming the place."""

    name: str

    def names(self) -> list[tuple[str, int]]:
        """Name and size of every file there that could be a bundle."""
        ...

    def put(self, path: Path, digest: str) -> None:
        """Copies a file there under its name; proved before it has that name. `digest`: its sha256."""
        ...

    def get(self, name: str, target: Path) -> None: ...

    def remove(self, names: Sequence[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one copy: `problem` is None where it went well."""

    place: str
    problem: InfraError | None = None


class Directory:
    """A directory on another host, by SSH."""

    def __init__(self, name: str, place: SshPlace, transport: Transport, base: Path) -> None:
        self.name = name
        self._place = place
        self._transport = transport
        self._target = Target(
            f"copy:{name}", place.address, place.port, place.user,
            identity=beside(base, place.identity), agent=False, sudo="root",
            host_key=fingerprint(place.host_key),
        )  # fmt: skip
        self._session: Session | None = None

    def names(self) -> list[tuple[str, int]]:
        text = self._ask(_LIST, f"{self._place.directory}\n".encode()).decode("utf-8", "replace")
        pairs = (line.partition(" ") for line in text.splitlines())
        return [(name, int(size)) for size, _, name in pairs if size.isdigit()]

    def put(self, path: Path, digest: str) -> None:
        offset = 0
        with path.open("rb") as file:
            while (piece := file.read(PIECE)) or offset == 0:
                self._ask(_PUT, f"{self._place.directory} {path.name} {offset}\n".encode() + piece)
                offset += len(piece)
                if not piece:
                    break
        self._ask(_COMMIT, f"{self._place.directory} {path.name} {digest}\n".encode())

    def get(self, name: str, target: Path) -> None:
        with target.open("wb") as out:
            self._ask(_GET, f"{self._place.directory} {name}\n".encode(), out.write)

    def remove(self, names: Sequence[str]) -> None:
        self._ask(_REMOVE, "\n".join([self._place.directory, *names, ""]).encode())

    def _ask(self, command: str, stdin: bytes, sink: object = None) -> bytes:
        if self._session is None:
            self._session = self._transport.connect(self._target)
        taken = sink if callable(sink) else None
        reply = self._session.exchange(command, stdin, deadline=_DEADLINE, sink=taken)
        if reply.rc != 0:
            raise explain(reply, self._target.name) or InfraError(
                f"{self._place.directory} on {self._place.address} cannot be used",
                host=self._target.name,
                details=reply.stderr[-600:],
                cause=f"{self._place.user} may not write there, or its disk is full.",
                remedy=f"ssh {self._place.user}@{self._place.address} df -h {self._place.directory}",
            )
        return reply.stdout


def fingerprint(public_key: str) -> str:
    """`SHA256:…` of a public key line, as `ssh-keygen -lf` prints it."""
    blob = base64.b64decode(public_key.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def open_shelf(place: Place, context: SiteContext, transport: Transport) -> Shelf:
    """Raises ConfigError where a secret is not there."""
    base = context.site.config.parent
    if place.ssh is not None:
        return Directory(place.name, place.ssh, transport, base)
    if place.s3 is None:
        raise AssertionError("the model demands one of them")
    keys = [
        resolve(source, f"backup-{place.name}-{word}", context.site)
        for word, source in (("access-key", place.s3.access_key), ("secret-key", place.s3.secret_key))
    ]
    return Bucket(place.name, place.s3, keys[0], keys[1], base)


def shelf_named(name: str, context: SiteContext, transport: Transport) -> Shelf:
    """Raises UsageError where cluster.yaml knows no such place."""
    for place in context.cluster.backup.copies:
        if place.name == name:
            return open_shelf(place, context, transport)
    there = ", ".join(p.name for p in context.cluster.backup.copies)
    raise UsageError(
        f"there is no place {name!r} for copies",
        remedy=f"There are {there}." if there else "Name some in cluster.yaml (backup.copies).",
    )


def copy_to_all(path: Path, context: SiteContext, transport: Transport) -> tuple[Sent, ...]:
    """One place that fails keeps no other from its copy. What is there already under this name and size stays."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    done = []
    for place in context.cluster.backup.copies:
        try:
            shelf = open_shelf(place, context, transport)
            if (path.name, path.stat().st_size) not in shelf.names():
                shelf.put(path, digest)
            done.append(Sent(place.name))
        except InfraError as error:
            done.append(Sent(place.name, error))
    return tuple(done)


def prunable(
    names: Iterable[tuple[str, int]], context: SiteContext, good: str | None, now: datetime
) -> tuple[Stored, ...]:
    """What retention takes from a place. `good`: the name of a bundle that was proved; it stays, as the newest does."""
    settings, cluster = context.cluster.backup, context.cluster.name
    found = newest_first(s for n, size in names if (s := stored_of(Path(n), size)) and s.cluster == cluster)
    if not found:
        return ()
    kept = next((s.path for s in found if s.path.name == good), found[0].path)
    gone = expired(found, kept, keep=settings.keep, keep_days=settings.keep_days, now=now)
    return tuple(s for s in gone if s.path != found[0].path)

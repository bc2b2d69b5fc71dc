"""Opening a bundle: what it says of itself, and whether every byte of it is what was put in."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from mlops_infra.app.kubeconfig import ca_digest
from mlops_infra.errors import InfraError
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.site import Site

__all__ = [
    "KEYS", "SNAPSHOT", "BundleError", "Identity", "Manifest", "extract", "identity_of", "opened", "read_manifest",
    "verify",
]  # fmt: skip

MANIFEST = "manifest.json"
SNAPSHOT = "etcd/snapshot.db"
KEYS = "etcd/keys"
"""The keys at the snapshot's revision, as etcdctl lists them; bundles of format 1 made before it lack it."""
_LARGEST_MANIFEST = 64 * 1024 * 1024
_PIECE = 1024 * 1024
_TRAILER = 32


class BundleError(InfraError):
    """The file is no bundle that can be used, and why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which cluster: its name and the sha256 of its CA's file; None where this machine does not know the CA."""

    name: str
    ca_sha256: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself. `files` maps a path to its size and sha256."""

    cluster: Identity
    host: str
    created: str
    tool: str
    etcd: Mapping[str, Any]
    versions: Mapping[str, str]
    api: bool
    skipped: str
    files: Mapping[str, tuple[int, str]]


def identity_of(cluster: Cluster, site: Site) -> Identity:
    """This site's cluster. The CA is known from the kubeconfig that `up` fetched."""
    try:
        digest = ca_digest(site.kubeconfig.read_text())
    except OSError:
        digest = ""
    return Identity(cluster.name, digest or None)


def read_manifest(path: Path, identities: Sequence[Any]) -> Manifest:
    """The manifest alone, without reading the rest. Raises BundleError."""
    with opened(path, identities, whole=False) as tar:
        return _manifest(path, tar, tar.next())


def verify(path: Path, identities: Sequence[Any], expected: Identity | None = None) -> Manifest:
    """Reads all of it: decrypts, compares each file with the manifest, and the snapshot with its own checksum.

    `expected`: whose it has to be. Raises BundleError, naming what is wrong.
    """
    with opened(path, identities) as tar:
        manifest = _manifest(path, tar, tar.next())
        _check_identity(path, manifest.cluster, expected)
        seen: set[str] = set()
        while (member := tar.next()) is not None:
            if not member.isdir():
                _check_member(path, tar, member, manifest)
                seen.add(member.name)
    missing = sorted(set(manifest.files) - seen)
    if missing:
        raise _damaged(path, f"missing: {', '.join(missing[:5])}")
    if SNAPSHOT not in seen:
        raise _damaged(path, "it holds no snapshot of etcd")
    return manifest


def extract(path: Path, identities: Sequence[Any], wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The files whose names are wanted, held in memory. Raises BundleError."""
    found: dict[str, bytes] = {}
    with opened(path, identities) as tar:
        while (member := tar.next()) is not None:
            source = tar.extractfile(member) if member.isreg() and wanted(member.name) else None
            if source is not None:
                found[member.name] = source.read()
    return found


def _check_member(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, manifest: Manifest) -> None:
    source = tar.extractfile(member) if member.isreg() else None
    if source is None or member.name not in manifest.files:
        raise _damaged(path, f"{member.name} is not in its manifest")
    whole, last = hashlib.sha256(), b""
    body = hashlib.sha256()
    while piece := source.read(_PIECE):
        whole.update(piece)
        last += piece
        body.update(last[:-_TRAILER])
        last = last[-_TRAILER:]
    size, digest = manifest.files[member.name]
    if (member.size, whole.hexdigest()) != (size, digest):
        raise _damaged(path, f"{member.name} is not what was put in")
    if member.name == SNAPSHOT and (size % 512 != _TRAILER or body.digest() != last):
        raise _damaged(path, "the snapshot of etcd does not fit its own checksum")


def _check_identity(path: Path, found: Identity, expected: Identity | None) -> None:
    if expected is None:
        return
    if found.name != expected.name:
        raise BundleError(
            f"{path} is a backup of another cluster: {found.name}, not {expected.name}",
            remedy="Name the cluster.yaml it belongs to with -c, or another bundle (`mlops-infra backup list`).",
        )
    if expected.ca_sha256 is not None and found.ca_sha256 != expected.ca_sha256:
        raise BundleError(
            f"{path} is a backup of another cluster that was called {found.name} too",
            details=f"its CA   {found.ca_sha256}\nthis CA  {expected.ca_sha256}",
            cause="The platform was built anew since, or its CA was replaced.",
            remedy="For what the platform is now: mlops-infra backup etcd",
        )


def _manifest(path: Path, tar: tarfile.TarFile, first: tarfile.TarInfo | None) -> Manifest:
    source = tar.extractfile(first) if first is not None and first.name == MANIFEST and first.isreg() else None
    if source is None or first is None or first.size > _LARGEST_MANIFEST:
        raise _damaged(path, "it does not begin with a manifest")
    try:
        said = json.loads(source.read())
        if said["format"] != 1:
            raise BundleError(
                f"{path} has the format {said['format']}, which this version does not know",
                remedy="Use the version of mlops-infra that made it, or a newer one.",
            )
        return Manifest(
            Identity(str(said["cluster"]["name"]), str(said["cluster"]["ca_sha256"])),
            str(said["host"]),
            str(said["created"]),
            str(said["tool"]),
            dict(said["etcd"]),
            dict(said["versions"]),
            bool(said["api"]),
            str(said["skipped"]),
            {str(f["path"]): (int(f["size"]), str(f["sha256"])) for f in said["files"]},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"its manifest makes no sense ({error})") from error


@contextmanager
def opened(path: Path, identities: Sequence[Any], *, whole: bool = True) -> Iterator[tarfile.TarFile]:
    """The tar inside, read as it is decrypted by a thread: nothing of it touches the disk.

    Where `whole`, what is behind the end of the tar is decrypted too: a byte flipped there must not go unseen.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read: {error.strerror}", remedy="`mlops-infra backup list` shows the bundles there are."
        ) from error
    reading, writing = os.pipe()
    trouble: list[Exception] = []
    thread = threading.Thread(target=_decrypt, args=(file, writing, identities, trouble), daemon=True)
    with os.fdopen(reading, "rb") as plain:
        thread.start()
        try:
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                yield tar
            while whole and plain.read(_PIECE):
                pass
        except (tarfile.TarError, EOFError) as error:
            while plain.read(_PIECE):
                pass
            thread.join()
            raise (_explain(path, trouble[0]) if trouble else _damaged(path, str(error))) from error
        except BundleError:
            # The first sign of damage may be a wrong word in the text; why the text is wrong tells more.
            plain.close()
            thread.join()
            if real := _not_ours(trouble):
                raise _explain(path, real) from None
            raise
    thread.join()
    if real := _not_ours(trouble):
        raise _explain(path, real)


def _not_ours(trouble: Sequence[Exception]) -> Exception | None:
    """What went wrong, unless it is that we had read enough."""
    return next((t for t in trouble if "roken pipe" not in str(t)), None)


def _decrypt(file: IO[bytes], writing: int, identities: Sequence[Any], trouble: list[Exception]) -> None:
    import pyrage  # noqa: PLC0415 - a shared library that few commands need

    with file, suppress(BrokenPipeError), os.fdopen(writing, "wb") as out:
        try:
            pyrage.decrypt_io(cast(Any, file), cast(Any, out), identities)
        except Exception as error:  # told apart by `_explain`
            trouble.append(error)


def _explain(path: Path, error: Exception) -> BundleError:
    text = str(error)
    if "No matching keys" in text:
        return BundleError(
            f"{path} cannot be opened with this key",
            cause="It was made for another key, or its first lines are damaged.",
            remedy="Name the right key with --key FILE; `age-keygen -y FILE` shows which public key it belongs to.",
        )
    if "Header" in text or "header" in text or "fill whole" in text:
        return BundleError(
            f"{path} is damaged at its beginning, or is no backup",
            details=text,
            remedy="Take another copy of it; `mlops-infra backup list` shows the bundles there are.",
        )
    if "truncated" in text:
        return _damaged(path, "its end is missing")
    if "decryption" in text:
        return _damaged(path, "a part of it was changed, or its end is missing")
    return _damaged(path, text)


def _damaged(path: Path, how: str) -> BundleError:
    return BundleError(
        f"{path} is damaged: {how}",
        cause="It was cut or changed after it was made: a full disk, a broken copy, a bad medium.",
        remedy="Take another copy, or an older bundle (`mlops-infra backup list`); a new one while the cluster lives.",
    )

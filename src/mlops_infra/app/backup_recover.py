"""A lost workstation: a bundle and a private key bring back what lay beside cluster.yaml."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_infra.app.backup_bundle import extract, verify
from mlops_infra.app.backup_key import key_path
from mlops_infra.errors import InfraError, UsageError
from mlops_infra.model.site import Site

__all__ = ["Recovered", "recover_site"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was written, in order."""

    cluster: str
    files: tuple[Path, ...]


def recover_site(bundle: Path, key_files: Sequence[Path], identities: Sequence[Any], site: Site) -> Recovered:
    """Writes cluster.yaml, and below `.mlops-infra` the secrets, known host keys and the key itself, from the bundle.

    Only where no cluster.yaml is; what is there is never written over. Raises BundleError, UsageError, InfraError.
    """
    if site.config.exists():
        raise UsageError(f"{site.config} is there: only what is lost is taken out of a bundle")
    manifest = verify(bundle, identities)
    found = extract(bundle, identities, lambda name: name.startswith("cluster/"))
    if "cluster/cluster.yaml" not in found:
        raise InfraError(
            f"{bundle} holds no cluster.yaml",
            cause="It was made on a master, before the configuration had been copied there.",
            remedy="Write cluster.yaml with `mlops-infra init`, then restore.",
        )
    site.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = []
    for name, content in sorted(found.items(), key=lambda item: item[0] == "cluster/cluster.yaml"):
        target = _target(name, site)
        if target is not None and not target.exists():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(target, content)
            written.append(target)
    own = key_path(site)
    if key_files and not own.exists():
        _write(own, key_files[0].read_bytes())
        written.append(own)
    return Recovered(manifest.cluster.name, tuple(written))


def _target(name: str, site: Site) -> Path | None:
    """Where a file of the bundle belongs; None for what has no place here."""
    parts = PurePosixPath(name).parts[1:]
    if ".." in parts or not parts:
        return None
    match parts:
        case ("cluster.yaml",):
            return site.config
        case ("overlay.yaml",):
            return site.overlay if site.lab else None
        case ("known_hosts",):
            return site.known_hosts
        case ("secrets", secret):
            return site.secrets / secret
        case ("files", *rest):
            return site.config.parent.joinpath(*rest)
    return None


def _write(target: Path, content: bytes) -> None:
    try:
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise InfraError(
            f"{target} cannot be written: {error.strerror}", remedy="Make room, or choose another directory."
        ) from error

"""What the masters' backup timer is given: public keys, keys of the places for copies, the workstation's files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlops_infra.app.backup_files import site_archive
from mlops_infra.app.backup_key import ensure_key, key_state
from mlops_infra.app.context import SiteContext
from mlops_infra.app.secrets import resolve
from mlops_infra.core import Secret
from mlops_infra.errors import ConfigError
from mlops_infra.model.named import beside
from mlops_infra.phases.context import BackupInputs

__all__ = ["scheduled_inputs"]


def scheduled_inputs(context: SiteContext, generated: Iterable[str]) -> BackupInputs:
    """Makes the site's key pair where there is none: the masters get its public half, and never the private one.

    `generated`: names of secrets that were made here, and that bundles have to hold.

    Raises ConfigError where a file or a secret is not there.
    """
    cluster, site = context.cluster, context.site
    base = site.config.parent
    ensure_key(site)
    state = key_state(cluster, site)
    recipients = tuple(dict.fromkeys((*([state.public] if state.public else []), *cluster.backup.recipients)))
    secrets: dict[str, Secret] = {}
    texts: dict[str, str] = {}
    for place in cluster.backup.copies:
        if place.ssh is not None:
            secrets[f"{place.name}/identity"] = Secret(_read(beside(base, place.ssh.identity), place.name))
        if place.s3 is not None:
            for word, source in (("access-key", place.s3.access_key), ("secret-key", place.s3.secret_key)):
                secrets[f"{place.name}/{word}"] = resolve(source, f"backup-{place.name}-{word}", site)
            if place.s3.ca_file:
                texts[f"{place.name}/ca"] = _read(beside(base, place.s3.ca_file), place.name)
    return BackupInputs(recipients, secrets, texts, site_archive(context, generated))


def _read(path: Path, place: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"backup.copies[{place}]: {path} cannot be read: {reason}",
            cause="The masters' timer needs its own copy of this file.",
            remedy="Put it there, or correct cluster.yaml.",
        ) from error

"""What the phases are given beside cluster.yaml: secrets, release manifests, signing keys, copies for the cluster."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import urllib.request
from functools import cache
from pathlib import Path

from mlops_infra.app.context import SiteContext
from mlops_infra.app.secrets import resolve
from mlops_infra.core import Secret
from mlops_infra.errors import ConfigError, InfraError
from mlops_infra.phases.context import AptKey, PhaseContext
from mlops_infra.phases.openpgp import check_key
from mlops_infra.render.catalogue import artifact, fetch
from mlops_infra.render.parsed import as_json

__all__ = ["STATS_PASSWORD", "cache_directory", "phase_context"]

STATS_PASSWORD = "lb-stats"  # noqa: S105 - the name of the secret, and of its file
_DEADLINE = 30.0


def cache_directory() -> Path:
    """Where downloads that anybody may have are kept: `~/.cache/mlops-infra`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlops-infra"


def phase_context(context: SiteContext, seed: str | None = None) -> PhaseContext:
    """Resolves secrets now; manifests and keys are fetched when a phase asks, once."""
    cluster, site = context.cluster, context.site
    password = resolve(cluster.lb.stats.password, STATS_PASSWORD, site)

    @cache
    def manifest(name: str) -> bytes:
        item = artifact(name, getattr(cluster.versions, name))
        return as_json(fetch(item, cluster.mirrors, cache_directory() / "artifacts"), cache_directory() / "parsed")

    @cache
    def apt_key(key: AptKey) -> bytes:
        return check_key(_key(key, site.config.parent), key.fingerprint, key.source)

    copies = {
        "cluster.yaml": Secret(site.config.read_text()),
        "secrets.json": Secret(json.dumps({STATS_PASSWORD: password.reveal()}) + "\n"),
    }
    return PhaseContext(password, manifest, apt_key, copies, seed)


def _key(key: AptKey, base: Path) -> bytes:
    if not key.source.startswith("https://"):
        path = base / Path(key.source).expanduser()
        try:
            return path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"The signing key {path} cannot be read: {error.strerror}",
                remedy="Put the mirror's public key there, or correct `key_file` in cluster.yaml.",
            ) from error
    kept = cache_directory() / "keys" / hashlib.sha256(f"{key.source} {key.fingerprint}".encode()).hexdigest()
    if kept.is_file():
        return kept.read_bytes()
    content = check_key(_download(key.source), key.fingerprint, key.source)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent, prefix=".key-", delete=False) as staged:
        staged.write(content)
    Path(staged.name).replace(kept)
    return content


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_DEADLINE) as reply:  # noqa: S310 - https only, checked above
            return bytes(reply.read())
    except (OSError, ValueError) as error:
        raise InfraError(
            f"Could not fetch the signing key {url}",
            details=str(getattr(error, "reason", error)),
            cause="There is no way out of this network, or the repository is down.",
            remedy="Make the address reachable from here, or name a mirror under `mirrors.apt` in cluster.yaml.",
        ) from error

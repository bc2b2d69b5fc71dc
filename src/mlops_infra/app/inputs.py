"""What the phases are given beside cluster.yaml: secrets, release manifests, signing keys, copies for the cluster."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import urllib.request
from functools import cache
from pathlib import Path

from mlops_infra.app.backup_inputs import scheduled_inputs
from mlops_infra.app.context import SiteContext
from mlops_infra.app.secrets import resolve
from mlops_infra.core import Secret
from mlops_infra.errors import ConfigError, InfraError
from mlops_infra.model.base import FileName
from mlops_infra.model.named import beside
from mlops_infra.model.site import Site
from mlops_infra.phases.alertmanager import secret_name
from mlops_infra.phases.context import AptKey, BackupInputs, MonitoringInputs, PhaseContext
from mlops_infra.phases.openpgp import check_key
from mlops_infra.render.catalogue import artifact, fetch
from mlops_infra.render.parsed import as_json

__all__ = ["GRAFANA_PASSWORD", "STATS_PASSWORD", "cache_directory", "phase_context"]

STATS_PASSWORD = "lb-stats"  # noqa: S105 - the name of the secret, and of its file
GRAFANA_PASSWORD = "grafana-admin"  # noqa: S105 - as above
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

    kept, monitoring = {STATS_PASSWORD: password.reveal()}, MonitoringInputs()
    sources = {STATS_PASSWORD: cluster.lb.stats.password}
    if cluster.monitoring.enabled:
        monitoring = _monitoring(context)
        kept[GRAFANA_PASSWORD] = monitoring.grafana_password.reveal()
        sources[GRAFANA_PASSWORD] = cluster.monitoring.grafana.password
    copies = {
        "cluster.yaml": Secret(site.config.read_text()),
        "secrets.json": Secret(json.dumps(kept) + "\n"),
    }
    generated = [name for name, source in sources.items() if source.generate]
    backup = scheduled_inputs(context, generated) if cluster.backup.schedule.enabled else BackupInputs()
    return PhaseContext(password, manifest, apt_key, copies, seed, monitoring, backup)


def _monitoring(context: SiteContext) -> MonitoringInputs:
    """Secrets and the user's own files. Raises ConfigError where one is not there, or is not what it should be."""
    settings, site = context.cluster.monitoring, context.site
    secrets = {}
    for receiver in settings.receivers:
        ways = {
            "email": receiver.email.password if receiver.email else None,
            "slack": receiver.slack.url if receiver.slack else None,
            "webhook": receiver.webhook.url if receiver.webhook else None,
            "pagerduty": receiver.pagerduty.routing_key if receiver.pagerduty else None,
        }
        for way, source in ways.items():
            if source is not None:
                name = secret_name(receiver, way)
                secrets[name] = resolve(source, name, site)
    return MonitoringInputs(
        resolve(settings.grafana.password, GRAFANA_PASSWORD, site),
        secrets,
        {path.name: _text(path, "monitoring.rules") for path in _paths(site, settings.rules)},
        {path.name: _dashboard(path) for path in _paths(site, settings.dashboards)},
    )


def _paths(site: Site, names: tuple[FileName, ...]) -> list[Path]:
    return [beside(site.config.parent, name) for name in names]


def _text(path: Path, key: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"{path} cannot be read: {reason}", remedy=f"Correct `{key}` in cluster.yaml, or put the file there."
        ) from error


def _dashboard(path: Path) -> str:
    text = _text(path, "monitoring.dashboards")
    try:
        json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path} is no dashboard: {error}", remedy="Export it anew from Grafana, as JSON.") from error
    return text


def _key(key: AptKey, base: Path) -> bytes:
    if not key.source.startswith("https://"):
        path = beside(base, FileName(key.source))
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

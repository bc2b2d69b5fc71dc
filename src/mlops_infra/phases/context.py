"""What phases need to know beyond cluster.yaml: secrets, fetched artifacts, and which master the cluster grows from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mlops_infra.core import Secret

__all__ = ["AptKey", "BackupInputs", "MonitoringInputs", "PhaseContext"]


@dataclass(frozen=True, slots=True)
class AptKey:
    """A repository's signing key: `source` is an https URL, or a path relative to cluster.yaml.

    `fingerprint` is 40 hex digits, or None where the user pins none for a mirror of their own.
    """

    source: str
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class MonitoringInputs:
    """What monitoring is given beside cluster.yaml: the texts of the user's files by name, and secrets.

    `secrets` are the receivers', by `phases.alertmanager.secret_name`.
    """

    grafana_password: Secret = field(default_factory=lambda: Secret(""))
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    dashboards: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BackupInputs:
    """What scheduled backups are given: public keys of age, and by `PLACE/what` secrets and texts of places.

    `site` is a tar of cluster.yaml and of what belongs to it, for the bundles that are made without the workstation.
    """

    recipients: tuple[str, ...] = ()
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    site: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class PhaseContext:
    """Values resolved by `app` before the phases are made; making them does no I/O but through the two callables."""

    stats_password: Secret
    manifest: Callable[[str], bytes]
    """A release manifest by its name in the artifact catalogue (`flannel`), already checked against its sha256: for
    `render.parse_documents`."""
    apt_key: Callable[[AptKey], bytes]
    """The ASCII-armoured key; implementations pass it through `phases.openpgp.check_key`."""
    copies: Mapping[str, Secret] = field(default_factory=dict)
    """Files of the cluster's own copy of its configuration, by name (`cluster.yaml`, `secrets.json`), kept 0600 in
    /var/lib/mlops-infra on every master: losing the workstation must not lose the cluster."""
    seed: str | None = None
    """The master that the others join through: the first of the file, unless `phases.seed.choose_seed` found, from
    facts, that the cluster already lives on another."""
    monitoring: MonitoringInputs = field(default_factory=MonitoringInputs)
    backup: BackupInputs = field(default_factory=BackupInputs)

"""The configuration as it takes effect: every default filled in, secrets masked; and checks that only look."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from mlops_infra.app.context import SiteContext, open_site
from mlops_infra.model.base import Noun
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.model.secret import MASK, SecretSource

__all__ = ["effective", "effective_yaml", "schema_text", "valid_shape"]


def effective(cluster: Cluster) -> dict[str, Any]:
    """The cluster as plain values in the file's own shape: what is unset is left out, secrets in clear are masked."""
    shown: dict[str, Any] = _plain(cluster)
    shown["control_plane_endpoint"] = cluster.endpoint_name
    return {name: shown[name] for name in Cluster.model_fields if name in shown}


def effective_yaml(config: Path, lab: bool = False) -> tuple[str, SiteContext]:  # noqa: FBT001, FBT002 - `--lab`
    """What `config show` prints. It can be read again as a cluster.yaml. Raises ConfigError as `open_site` does."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - not needed to check a file

    site = open_site(config, lab)
    yaml = YAML(typ="rt")
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(effective(site.cluster), out)
    return out.getvalue(), site


def schema_text() -> str:
    """What `config schema` prints."""
    from mlops_infra.model import schema  # noqa: PLC0415 - not needed to check a file

    return schema.schema_text()


def _plain(value: Any) -> Any:
    if isinstance(value, SecretSource):
        said = {k: v for k, v in value.model_dump().items() if v not in (None, False)}
        return {**said, "value": MASK} if "value" in said else said
    if isinstance(value, Noun):
        keys = zip(type(value).file_keys(), value, strict=True)
        said = {key: _plain(part) for key, (_, part) in keys if part is not None}
        # A host that says nothing of its own about SSH or labels need not say so.
        return {k: v for k, v in said.items() if v != {}} if isinstance(value, Host) else said
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value


def valid_shape(site: SiteContext) -> dict[str, Any]:
    """What `validate --json` prints for a file without mistakes."""
    hosts = site.cluster.hosts
    return {
        "valid": True,
        "file": str(site.loaded.path),
        "overlay": str(site.loaded.overlay) if site.loaded.overlay else None,
        "cluster": site.cluster.name,
        "hosts": {"lb": len(hosts.lb), "masters": len(hosts.masters), "workers": len(hosts.workers)},
        "warnings": [w.as_object() for w in site.warnings],
    }

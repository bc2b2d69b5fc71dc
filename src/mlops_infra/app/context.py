"""What every command begins with: the cluster that cluster.yaml describes, and where its state lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_infra.app.pinned import check_pinned
from mlops_infra.errors import ConfigError
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.load import Loaded, load_cluster
from mlops_infra.model.problem import Problem
from mlops_infra.model.site import Site

__all__ = ["SiteContext", "open_site"]


@dataclass(frozen=True, slots=True)
class SiteContext:
    """A platform and its place. `document` is what the file says, without defaults; `warnings` are to be shown."""

    cluster: Cluster
    site: Site
    warnings: tuple[Problem, ...]
    document: dict[str, Any]
    loaded: Loaded


def open_site(config: Path, lab: bool = False) -> SiteContext:  # noqa: FBT001, FBT002 - `--lab` as it is
    """Reads cluster.yaml, for the lab with its overlay. Writes nothing.

    Raises ConfigProblems where the file is wrong, ConfigError where the lab is asked for and was never brought up.
    """
    config = Path(config).absolute() if not Path(config).is_absolute() else Path(config)
    site = Site(config, lab)
    if lab and config.exists() and not site.overlay.exists():
        raise ConfigError(
            f"there is no lab for {_shown(config)} on this machine",
            cause=f"`--lab` reads {_shown(site.overlay)}, which `lab up` writes",
            remedy="mlops-infra lab up",
        )
    loaded = load_cluster(_shown(config), _shown(site.overlay) if lab else None, also=check_pinned)
    cluster = loaded.cluster
    if lab:
        from mlops_infra.lab.overlay import with_lab_credentials  # noqa: PLC0415 - the lab's alone

        cluster = with_lab_credentials(cluster)
    return SiteContext(cluster, site, loaded.warnings, loaded.document, loaded)


def _shown(path: Path) -> Path:
    """The path as messages show it: relative where the file is below the working directory."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path

"""Where a platform's local state lies: beside its cluster.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Site"]


@dataclass(frozen=True, slots=True)
class Site:
    """`.mlops-infra/site/` for production, `.mlops-infra/lab/` for its twin, which has the same names and addresses.

    A rehearsal never touches `site/`. Directories are made 0700 when first written to.
    """

    config: Path
    """cluster.yaml."""
    lab: bool = False

    @property
    def directory(self) -> Path:
        return self.config.parent / ".mlops-infra" / ("lab" if self.lab else "site")

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def runs(self) -> Path:
        return self.directory / "runs"

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def overlay(self) -> Path:
        """The lab's overlay over cluster.yaml, written by `lab up` (YAML); only where `lab`."""
        return self.directory / "overlay.yaml"

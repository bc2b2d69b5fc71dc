"""Where artifacts come from when not from their public homes."""

from __future__ import annotations

from pydantic import Field

from mlops_infra.model.base import FileName, Noun, Url, Word

__all__ = ["AptMirror", "Mirrors"]


class AptMirror(Noun):
    """A flat apt repository (`deb URL ./`). `{codename}` and `{arch}` in the URL are filled in per host.

    While any is named, the public Kubernetes and Docker repositories are not written.
    """

    name: Word = "mlops-infra"
    """Names the files below /etc/apt."""
    url: Url
    key_file: FileName
    """The ASCII-armoured public key, a path relative to cluster.yaml."""
    fingerprint: str | None = None
    """The key's fingerprint, checked before it is used."""


class Mirrors(Noun):
    apt: tuple[AptMirror, ...] = ()
    registries: dict[str, Url] = Field(default_factory=dict)
    """Upstream registry to mirror URL, e.g. `registry.k8s.io: http://10.0.0.5:5000/v2/registry.k8s.io`. A URL with a
    path below /v2 is written with `override_path` (containerd's hosts.toml)."""
    files: Url | None = None
    """Base URL under which release files lie by `<component>/<version>/<file>`."""

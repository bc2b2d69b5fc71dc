"""Where artifacts come from when not from their public homes."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, Field

from mlops_infra.model.base import FileName, Noun, Url, Word

__all__ = ["AptMirror", "Mirrors"]


PLACEHOLDERS = ("os", "codename", "arch")


def _placeholders(url: str) -> str:
    rest = url
    for name in PLACEHOLDERS:
        rest = rest.replace(f"{{{name}}}", "")
    if "{" not in rest and "}" not in rest:
        return url
    unknown = re.search(r"\{[^{}]*\}", rest)
    if unknown is None:
        raise ValueError(f"`{url}` has a brace without its pair")
    near = get_close_matches(unknown[0].strip("{}"), PLACEHOLDERS, n=1)
    known = ", ".join(f"`{{{name}}}`" for name in PLACEHOLDERS)
    raise ValueError(
        f"nothing fills in `{unknown[0]}`: {f'did you mean `{{{near[0]}}}`?' if near else f'there are {known}'}"
    )


class AptMirror(Noun):
    """A flat apt repository (`deb URL ./`). `{os}`, `{codename}` and `{arch}` in the URL are filled in per host.

    While any is named, the public Kubernetes and Docker repositories are not written.
    """

    name: Word = "mlops-infra"
    """Names the files below /etc/apt."""
    url: Annotated[Url, AfterValidator(_placeholders)]
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

"""The artifact catalogue: release files by name, version, public URL and sha256, and the one way to fetch them.

No upstream manifest is copied into this project: it is pinned here, fetched, checked, and patched where it must differ.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlops_infra.errors import ConfigError, InfraError

__all__ = ["ARTIFACTS", "Artifact", "ArtifactError", "FileMirror", "artifact", "fetch"]

DEADLINE = 30.0
"""Seconds without a byte after which a download is given up."""


class ArtifactError(InfraError):
    """A release file could not be had, or is not the one that was pinned."""


class FileMirror(Protocol):
    """What `mirrors:` of cluster.yaml is to this module."""

    @property
    def files(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Artifact:
    """`version` without a leading v; `sha256` in lower-case hex; `mirror_path` lies below `mirrors.files`."""

    name: str
    version: str
    url: str
    sha256: str
    mirror_path: str

    @property
    def filename(self) -> str:
        return self.mirror_path.rpartition("/")[2]


ARTIFACTS: tuple[Artifact, ...] = (
    Artifact(
        name="flannel",
        version="0.26.7",
        url="https://raw.githubusercontent.com/flannel-io/flannel/v0.26.7/Documentation/kube-flannel.yml",
        sha256="d3f539ef073032bdbd2d32900719400e0050a8ae1d00a9fef75d9d0f079c7d54",
        mirror_path="flannel/v0.26.7/kube-flannel.yml",
    ),
    Artifact(
        name="metallb",
        version="0.14.8",
        url="https://raw.githubusercontent.com/metallb/metallb/v0.14.8/config/manifests/metallb-native.yaml",
        sha256="11b5906021fde56040cf10d1bcbaf5c2b7a4206045ebb103915347dfcc533f0e",
        mirror_path="metallb/v0.14.8/metallb-native.yaml",
    ),
    *(
        # The manifest of 1.11.0 serves the whole minor: its patches change the image and labels, and the image is set
        # by the ingress phase.
        Artifact(
            name="ingress_nginx",
            version=version,
            url="https://raw.githubusercontent.com/kubernetes/ingress-nginx/controller-v1.11.0/deploy/static/provider/baremetal/deploy.yaml",
            sha256="e2cb62f3b871841ca60cd5a1c3cc5f9951253523166e935300a9b32c1d035f60",
            mirror_path="ingress-nginx/v1.11.0/deploy.yaml",
        )
        for version in ("1.11.1", "1.11.5")
    ),
)
"""Sums of the files at their tags, as the projects' Go modules hold them (the checksum database vouches for those)."""


def artifact(name: str, version: str, known: Iterable[Artifact] = ARTIFACTS) -> Artifact:
    """The pinned artifact. Raises ConfigError that names the versions there are."""
    versions = {item.version: item for item in known if item.name == name}
    if version not in versions:
        there = ", ".join(sorted(versions)) or "none"
        raise ConfigError(
            f"no manifest of {name} {version} is pinned",
            cause=f"pinned by sha256: {there}",
            remedy=f"set versions.{name} in cluster.yaml to a pinned one",
        )
    return versions[version]


def fetch(item: Artifact, mirrors: FileMirror | None, cache_dir: Path, *, deadline: float = DEADLINE) -> bytes:
    """The file's bytes, whose sha256 is the pinned one: from the cache, else the mirror when one is set, else upstream.

    A site with `mirrors.files` is taken at its word: upstream is not asked behind its back.
    Raises ArtifactError when it cannot be had or differs; a file that differs is never kept.
    """
    kept = cache_dir / item.sha256
    if kept.exists() and _sha256(content := kept.read_bytes()) == item.sha256:
        return content
    url = f"{mirrors.files.rstrip('/')}/{item.mirror_path}" if mirrors and mirrors.files else item.url
    content = _download(item, url, deadline)
    found = _sha256(content)
    if found != item.sha256:
        raise ArtifactError(
            f"{item.filename} of {item.name} {item.version} is not the pinned one",
            details=f"url    {url}\npinned {item.sha256}\nfound  {found}",
            cause="the file was changed on its way or at its home, or a mirror holds another version under this name",
            remedy=f"compare it with {item.url} and mend the mirror; do not go on with a file that nobody vouches for",
        )
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache_dir, prefix=".fetch-", delete=False) as staged:
        staged.write(content)
    Path(staged.name).replace(kept)
    return content


def _download(item: Artifact, url: str, deadline: float) -> bytes:
    import urllib.error  # noqa: PLC0415 - every command looks into the catalogue, and hardly one fetches
    import urllib.request  # noqa: PLC0415

    try:
        with urllib.request.urlopen(url, timeout=deadline) as reply:  # noqa: S310  (the model admits http(s) URLs only)
            return bytes(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            why = f"it answered {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        why = str(getattr(error, "reason", error))
    raise ArtifactError(
        f"could not fetch {item.filename} of {item.name} {item.version}",
        details=f"{url}: {why}",
        cause="no way out of this network, or the mirror lacks the file",
        remedy=f"make {url} reachable, or name a mirror that holds {item.mirror_path} under `mirrors.files`",
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

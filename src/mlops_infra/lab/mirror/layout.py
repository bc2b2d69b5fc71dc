"""Where things lie in a mirror's directory, and what is noted about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_infra.lab.mirror.apt_repository import FlatRepository, SigningKey
from mlops_infra.lab.mirror.cache import Cache
from mlops_infra.lab.mirror.oci import RegistryStore
from mlops_infra.lab.paths import cache

__all__ = ["MirrorLayout", "default_directory"]


def default_directory() -> Path:
    """`~/.cache/mlops-infra/lab/mirror` (or below XDG_CACHE_HOME): one mirror serves all labs of this machine."""
    return cache() / "mirror"


@dataclass(frozen=True, slots=True)
class MirrorLayout:
    """`apt/<codename>/`, `apt/key.asc`, `files/<component>/<version>/<file>` are served; `registry/` is the registry's
    storage; `private/` holds the signing key; `mirror.json` says what is there and where it came from."""

    root: Path

    @property
    def registry(self) -> RegistryStore:
        return RegistryStore(self.root / "registry")

    @property
    def files(self) -> Path:
        return self.root / "files"

    @property
    def key_file(self) -> Path:
        """The public key, ASCII-armoured."""
        return self.root / "apt" / "key.asc"

    @property
    def signing_key(self) -> SigningKey:
        return SigningKey(self.root / "private" / "gnupg")

    @property
    def products(self) -> Cache:
        """Build products lie beside the mirror and are shared by all mirrors of the same parent directory."""
        return Cache(self.root.parent / "products")

    def repository(self, codename: str) -> FlatRepository:
        return FlatRepository(self.root / "apt" / codename, codename)

    def publish(self, repository: FlatRepository) -> None:
        """Signs the repository with the mirror's key, made when there is none, and puts the public key beside it."""
        key = self.signing_key
        key.ensure()
        repository.sign(key)
        self.key_file.write_bytes(key.armoured())

    def note(self) -> dict[str, Any]:
        """What mirror.json says; empty when there is no finished mirror."""
        try:
            noted = json.loads((self.root / "mirror.json").read_text())
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def write_note(self, note: dict[str, Any]) -> None:
        staged = self.root / ".mirror.json.new"
        staged.write_text(json.dumps(note, indent=1, sort_keys=True) + "\n")
        staged.replace(self.root / "mirror.json")
